//! The working tree as git objects: what is committed, what is in the index, what lies in the folder.
//!
//! Neither index, HEAD nor any branch of this checkout is touched: an index of our own is filled, and what it holds is
//! named by a commit that nothing refers to. Sending it is `sync.rs`'s.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::far::plain_name;
use super::random_word;
use crate::failure::Failure;
use crate::git;
use crate::process::{Call, Group};
use crate::scratch::Scratch;

/// The same tree gives the same commit, whenever it is taken and by whom: nothing is sent twice.
const DATE: &str = "1000000000 +0000";
const PERSON: (&str, &str) = ("llorch", "llorch@localhost");

/// A snapshot that is taken while connections are made: whoever needs it first waits for it, and so does whoever gives up,
/// because git is at work in it.
pub struct Pending {
    taken: Arc<Taken>,
    thread: Option<JoinHandle<()>>,
}

struct Taken {
    root: PathBuf,
    snapshot: OnceLock<Result<Snapshot, Failure>>,
}

impl Taken {
    fn get(&self) -> &Result<Snapshot, Failure> {
        self.snapshot.get_or_init(|| Snapshot::take(&self.root))
    }
}

impl Pending {
    /// Begins.
    pub fn start(root: &Path) -> Self {
        let taken = Arc::new(Taken { root: root.to_owned(), snapshot: OnceLock::new() });
        let early = Arc::clone(&taken);
        let thread = std::thread::spawn(move || {
            // Whoever waits gets the failure.
            let _kept = early.get();
        });
        Self { taken, thread: Some(thread) }
    }

    /// The snapshot.
    ///
    /// # Errors
    /// See [`Snapshot::take`].
    pub fn wait(&self) -> Result<&Snapshot, Failure> {
        self.taken.get().as_ref().map_err(Clone::clone)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// A working tree at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Root of the checkout.
    pub root: PathBuf,
    /// What the copy is called on other hosts: this checkout's name and a number of its own.
    pub name: String,
    /// The branch, if one is checked out.
    pub branch: Option<String>,
    /// The commit that HEAD is.
    pub head: String,
    /// The tree of the index.
    pub index_tree: String,
    /// The tree of the folder: tracked and untracked files, without ignored ones.
    pub tree: String,
    /// The commit that holds both, on top of HEAD.
    pub commit: String,
    /// Repositories within the tree that are no submodules: of them only the folder goes along.
    pub left_out: Vec<String>,
    /// Commits whose parents are not here, if this is a shallow clone.
    pub shallow: Vec<String>,
}

impl Snapshot {
    /// Takes it.
    ///
    /// # Errors
    /// No commit yet, a merge with conflicts, files that cannot be read.
    pub fn take(root: &Path) -> Result<Self, Failure> {
        let asked = git::call(root).args([
            "rev-parse",
            "--git-path",
            "index",
            "--git-path",
            "llorch-tree-id",
            "--git-path",
            "shallow",
            "HEAD",
        ]);
        let asked = asked.args(["--symbolic-full-name", "HEAD"]);
        let text = git::answer(&asked)?.text();
        let lines: Vec<&str> = text.lines().collect();
        let [index, id, shallow, head, branch] = lines.as_slice() else {
            return Err(Failure::new(format!("`{asked}` printed something else than five lines")));
        };
        let scratch = Scratch::new("snapshot")?;
        let own_index = scratch.path().join("index");
        // With its knowledge of which files were read already.
        std::fs::copy(root.join(index), &own_index).map(drop).or_else(ignore_missing)?;
        let git = |arguments: &[&str]| {
            let call = with_index(root, &own_index).args(arguments);
            let call = call.env("GIT_AUTHOR_DATE", DATE).env("GIT_COMMITTER_DATE", DATE);
            let call = call.env("GIT_AUTHOR_NAME", PERSON.0).env("GIT_AUTHOR_EMAIL", PERSON.1);
            let call = call.env("GIT_COMMITTER_NAME", PERSON.0).env("GIT_COMMITTER_EMAIL", PERSON.1);
            git::answer(&call).map(|ended| ended.text())
        };
        let index_tree =
            git(&["write-tree"]).map_err(|failure| failure.hint("finish the merge first: `git status`"))?;
        clear_marks(root, &own_index)?;
        let added =
            git::answer(&with_index(root, &own_index).args(["-c", "core.safecrlf=false", "add", "--all", "."]))?;
        let tree = git(&["write-tree"])?;
        let of_index = git(&["commit-tree", &index_tree, "-p", head, "-m", "index"])?;
        let commit = git(&["commit-tree", &tree, "-p", head, "-p", &of_index, "-m", "working tree"])?;
        Ok(Self {
            root: root.to_owned(),
            name: format!("{}-{}", plain_name(root), identity(&root.join(id))?),
            branch: branch.strip_prefix("refs/heads/").map(str::to_owned),
            head: (*head).to_owned(),
            index_tree,
            tree,
            commit,
            left_out: embedded(&added.complaints()),
            shallow: std::fs::read_to_string(root.join(shallow))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect(),
        })
    }
}

fn with_index(root: &Path, index: &Path) -> Call {
    git::call(root).env("GIT_INDEX_FILE", index.as_os_str())
}

/// Files that git was told not to look at are looked at all the same: the tree is what lies in the folder. Where the
/// checkout is sparse, those that are left out of it stay so.
fn clear_marks(root: &Path, index: &Path) -> Result<(), Failure> {
    let listed = git::answer(&with_index(root, index).args(["ls-files", "-v", "-z"]))?.text();
    let (mut unchanged, mut skipped) = (String::new(), String::new());
    for entry in listed.split('\0') {
        let Some((mark, path)) = entry.split_once(' ') else { continue };
        if mark.chars().all(|letter| letter.is_ascii_lowercase()) {
            unchanged += &format!("{path}\0");
        }
        if mark.eq_ignore_ascii_case("s") && root.join(path).symlink_metadata().is_ok() {
            skipped += &format!("{path}\0");
        }
    }
    for (option, paths) in [("--no-assume-unchanged", unchanged), ("--no-skip-worktree", skipped)] {
        if !paths.is_empty() {
            let call = with_index(root, index).args(["update-index", option, "-z", "--stdin"]);
            let ended = call.ask_with(Group::Own, paths)?;
            if ended.code != 0 {
                return Err(git::refusal(&call, &ended));
            }
        }
    }
    Ok(())
}

/// What git says about repositories that it finds within the tree.
fn embedded(complaints: &[String]) -> Vec<String> {
    let names = complaints.iter().filter_map(|line| line.split_once("adding embedded git repository: "));
    names.map(|(_, name)| name.to_owned()).collect()
}

fn ignore_missing(error: std::io::Error) -> Result<(), Failure> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(Failure::new(format!("cannot read git's index: {error}"))),
    }
}

/// The number that tells this checkout from others of the same name, made once and kept with git's own files.
fn identity(file: &Path) -> Result<String, Failure> {
    let is_one = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = std::fs::read_to_string(file).ok().filter(|text| is_one(text)) {
        return Ok(id);
    }
    let id: String = random_word()?.chars().take(8).collect();
    fs_err::write(file, &id)?;
    Ok(id)
}
