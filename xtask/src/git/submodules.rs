//! What of the declared submodules is on this machine: the facts that `git submodule status` tells, and whether somebody
//! works in them. Reads only; nothing here asks a network.

use std::path::Path;

use super::changes::Changes;
use super::modules_file::{self, Declared};
use super::names::Commit;
use super::parallel::each;
use super::repository::{Repository, Tree, follow_link};
use crate::failure::Failure;

/// How closely submodules are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At their commits alone, where that is all there is to know: one that is right is not searched for edits.
    Commits,
    /// At every file.
    Edits,
}

/// How a submodule stands to the commit that the checkout names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not here.
    Absent,
    /// Here, and not for git: `git submodule` was told to leave it alone.
    Inactive,
    /// At its commit.
    Right,
    /// At another commit.
    Other,
    /// The checkout itself is torn between several commits.
    Conflict,
    /// Declared, but the checkout names no commit.
    Unrecorded,
    /// Here, and not as a submodule of ours is laid out: it completes "`x` …".
    Strange(String),
}

/// A submodule of the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// What `.gitmodules` says.
    pub declared: Declared,
    /// Where its files and its repository are, or will be.
    pub tree: Tree,
    /// The commit that the checkout names.
    pub pinned: Option<Commit>,
    /// How it stands.
    pub state: State,
    /// What differs in it; `None` where that was not looked at.
    pub changes: Option<Changes>,
}

impl State {
    /// The word for people and programs.
    pub fn word(&self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Inactive => "inactive",
            State::Right => "right",
            State::Other => "other",
            State::Conflict => "conflict",
            State::Unrecorded => "unrecorded",
            State::Strange(_) => "strange",
        }
    }
}

impl Submodule {
    /// Whether there are files of it to work with.
    pub fn is_here(&self) -> bool {
        match self.state {
            State::Right | State::Other => true,
            State::Absent | State::Inactive | State::Conflict | State::Unrecorded | State::Strange(_) => false,
        }
    }

    /// Its name as text.
    pub fn name(&self) -> &str {
        self.declared.name.as_str()
    }

    /// What differs in it, in words; `-` where that is not known.
    pub fn changes_words(&self) -> String {
        self.changes.as_ref().map_or_else(|| String::from("-"), Changes::words)
    }

    /// The commit that is checked out in it.
    pub fn head(&self) -> Option<&Commit> {
        match &self.changes {
            Some(changes) => changes.head.as_ref(),
            None => self.pinned.as_ref().filter(|_| self.state == State::Right),
        }
    }

    /// The branch that is checked out in it.
    pub fn branch(&self) -> Option<&str> {
        self.changes.as_ref()?.branch.as_deref()
    }
}

/// What `.gitmodules` declares, with the user's own addresses.
fn declared(repository: &Repository) -> Result<Vec<Declared>, Failure> {
    let mut declared = modules_file::read(&repository.tree.folder, repository.locality)?;
    for one in &mut declared {
        if let Some(address) = repository.own_address(&one.name)? {
            one.address = address;
        }
    }
    Ok(declared)
}

/// Every submodule that is declared, looked at side by side.
pub fn all(repository: &Repository, look: Look) -> Result<Vec<Submodule>, Failure> {
    look_at_all(repository, declared(repository)?, look)
}

/// Those that `names` mean: by name, folder, or the folder's last part. All of them must be declared.
pub fn named(repository: &Repository, names: &[String], look: Look) -> Result<Vec<Submodule>, Failure> {
    let declared = declared(repository)?;
    let mut wanted: Vec<Declared> = Vec::new();
    for name in names {
        let found = declared.iter().find(|one| is_meant(one, name)).ok_or_else(|| unknown(name, &declared))?;
        if !wanted.contains(found) {
            wanted.push(found.clone());
        }
    }
    look_at_all(repository, wanted, look)
}

/// The same submodules, looked at once more.
pub fn again(repository: &Repository, submodules: &[Submodule]) -> Result<Vec<Submodule>, Failure> {
    look_at_all(repository, submodules.iter().map(|one| one.declared.clone()).collect(), Look::Edits)
}

fn is_meant(declared: &Declared, name: &str) -> bool {
    let path = declared.path.as_str();
    let name = name.trim_end_matches('/');
    declared.name.as_str() == name || path == name || path.rsplit('/').next() == Some(name)
}

fn unknown(name: &str, declared: &[Declared]) -> Failure {
    let known = declared.iter().map(|one| format!("{} ({})", one.name, one.path)).collect();
    let message = format!("there is no submodule `{name}`");
    Failure::usage(message).known(known).hint("cargo xtask git submodules list")
}

/// The commits that the index names, then each submodule by itself.
fn look_at_all(repository: &Repository, declared: Vec<Declared>, look: Look) -> Result<Vec<Submodule>, Failure> {
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    let mut call = repository.tree.call().args(["--literal-pathspecs", "ls-files", "--stage", "-z", "--"]);
    call = call.args(declared.iter().map(|one| one.path.as_str()));
    let entries = super::answer(&call)?.stdout;
    let links: Vec<Link> = entries.split(|byte| *byte == 0).filter_map(Link::parse).collect();
    each(&declared, |declared| look_at(repository, declared, &links, look)).into_iter().collect()
}

/// A line of the index that names a commit.
struct Link {
    commit: Commit,
    is_conflicted: bool,
    path: String,
}

impl Link {
    /// `160000 COMMIT STAGE<tab>PATH`.
    fn parse(entry: &[u8]) -> Option<Self> {
        let (facts, path) = std::str::from_utf8(entry).ok()?.split_once('\t')?;
        let mut facts = facts.split(' ');
        let (mode, commit, stage) = (facts.next()?, facts.next()?, facts.next()?);
        let is_link = mode == "160000";
        let commit = Commit::parse(commit)?;
        is_link.then(|| Self { commit, is_conflicted: stage != "0", path: path.to_owned() })
    }
}

fn look_at(repository: &Repository, declared: &Declared, links: &[Link], look: Look) -> Result<Submodule, Failure> {
    let tree = repository.submodule_tree(&declared.name, &declared.path);
    let link = links.iter().find(|link| link.path == declared.path.as_str());
    let pinned = link.filter(|link| !link.is_conflicted).map(|link| link.commit.clone());
    let mut submodule = Submodule { declared: declared.clone(), tree, pinned, state: State::Absent, changes: None };
    let found = presence(repository, &submodule)?;
    let is_here = matches!(found, Presence::Here);
    let is_right = is_here && look == Look::Commits && pinned_is_out(&submodule);
    if is_here && !is_right {
        submodule.changes = Some(match look {
            Look::Commits => submodule.tree.changes()?,
            Look::Edits => submodule.tree.changes_noted()?,
        });
    }
    submodule.state = match (link, found) {
        (_, Presence::Strange(reason)) => State::Strange(reason),
        (None, _) => State::Unrecorded,
        (Some(link), _) if link.is_conflicted => State::Conflict,
        (Some(_), Presence::Absent) => State::Absent,
        (Some(_), Presence::Here) if !repository.is_active(&declared.name, &declared.path) => State::Inactive,
        (Some(_), Presence::Here) if is_right || submodule.head() == submodule.pinned.as_ref() => State::Right,
        (Some(_), Presence::Here) => State::Other,
    };
    Ok(submodule)
}

/// Whether the pinned commit is checked out by itself: the one state that a repository tells without git.
fn pinned_is_out(submodule: &Submodule) -> bool {
    let head = std::fs::read_to_string(submodule.tree.git_dir.join("HEAD")).ok();
    head.and_then(|head| Commit::parse(head.trim_end())).is_some_and(|head| Some(&head) == submodule.pinned.as_ref())
}

enum Presence {
    Absent,
    Here,
    Strange(String),
}

/// Whether the submodule's folder holds what we would have put there. A folder that leads elsewhere is not entered.
fn presence(repository: &Repository, submodule: &Submodule) -> Result<Presence, Failure> {
    if let Some(link) = symlink_on(&repository.tree.folder, submodule.declared.path.as_str()) {
        return Ok(Presence::Strange(format!("is not entered: `{link}` is no folder")));
    }
    let modules = submodule.declared.name.as_str();
    if symlink_on(&repository.tree.git_dir.join("modules"), modules).is_some() {
        return Ok(Presence::Strange(format!("is not entered: `.git/modules/{modules}` is no folder")));
    }
    let git = submodule.tree.folder.join(".git");
    match std::fs::symlink_metadata(&git) {
        Ok(data) if data.is_file() => {}
        Ok(_) => {
            return Ok(Presence::Strange(String::from(
                "holds a repository of its own; `git submodule absorbgitdirs` moves it to its place",
            )));
        }
        Err(_) if is_empty(&submodule.tree.folder) => return Ok(Presence::Absent),
        Err(_) => return Ok(Presence::Strange(String::from("holds files, and is no submodule; move them away"))),
    }
    let expected = submodule.tree.git_dir.canonicalize().ok();
    match follow_link(&git) {
        Ok(target) if Some(&target) == expected.as_ref() => Ok(Presence::Here),
        _ => Ok(Presence::Strange(String::from("belongs to another repository, or to one that is gone; move it away"))),
    }
}

/// The first part of `path` below `base` that is there and is no folder.
pub fn symlink_on(base: &Path, path: &str) -> Option<String> {
    let mut folder = base.to_owned();
    for (index, part) in path.split('/').enumerate() {
        folder.push(part);
        match std::fs::symlink_metadata(&folder) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => return Some(path.split('/').take(index + 1).collect::<Vec<_>>().join("/")),
            Err(_) => return None,
        }
    }
    None
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}
