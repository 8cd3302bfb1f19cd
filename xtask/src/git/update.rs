//! Bringing a submodule to its commit, by steps that can be repeated after a `kill -9` at any moment.
//!
//! A submodule that is not here is fetched into a repository and checked out into a folder that nobody looks at, and both
//! are renamed: it is here as a whole or not at all. One that is here is changed in place, with a mark beside its index
//! while that lasts. What git itself leaves of a killed checkout (locks, half of the files) is known by the mark.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::backup::{Kept, unsaved_commits};
use super::changes::Changes;
use super::names::Commit;
use super::parallel::Board;
use super::repository::{Repository, Tree};
use super::submodules::{State, Submodule};
use super::{answer, refusal};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::Group;

/// In a submodule's repository, while its files are being changed.
const MARK: &str = "llorch-update";
/// The last commit that was fetched by its number alone: keeps it from being tidied away.
const PINNED: &str = "refs/llorch/pinned";
/// A lock of git's own that is older belongs to nobody, if an update of ours was killed.
const LOCK_AGE: Duration = Duration::from_secs(3);
/// Between two looks at a lock.
const LOOK: Duration = Duration::from_millis(50);

/// What happens to edits and commits of the user's that are in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edits {
    /// The submodule is left alone, as an error.
    Refuse,
    /// They are kept under a name, and then go.
    Keep,
}

/// What became of a submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was right already.
    Unchanged,
    /// It is at its commit now.
    Updated {
        /// Where it was; `None` if it was not here.
        from: Option<Commit>,
        /// The branch that it was on.
        left_branch: Option<String>,
        /// What was in the way, and where it is kept.
        kept: Kept,
    },
}

/// The right to change submodules, and what all updates of one command share.
pub struct Updater<'a> {
    repository: &'a Repository,
    board: &'a Board,
    edits: Edits,
    /// The settings of the checkout are one file: one writer at a time.
    settings: Mutex<()>,
    /// Holds the lock; never read.
    _lock: File,
}

impl<'a> Updater<'a> {
    /// Waits until no other command changes submodules of this checkout, and clears away what a killed one left.
    pub fn start(repository: &'a Repository, board: &'a Board, edits: Edits) -> Result<Self, Failure> {
        let folder = repository.tree.git_dir.join("llorch");
        fs_err::create_dir_all(&folder)?;
        let path = folder.join("submodules.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let mut is_told = false;
        // A file system that cannot lock spares nobody; git's own locks are still there.
        while let Err(TryLockError::WouldBlock) = lock.try_lock() {
            if !std::mem::replace(&mut is_told, true) {
                board.note("another command changes submodules here, waiting for it");
            }
            interrupt::check()?;
            std::thread::sleep(LOOK);
        }
        let _none = std::fs::remove_dir_all(staging(repository));
        Ok(Self { repository, board, edits, settings: Mutex::new(()), _lock: lock })
    }

    /// Whether an update of the submodule was killed in the middle.
    pub fn was_killed(submodule: &Submodule) -> bool {
        submodule.tree.git_dir.join(MARK).exists()
    }

    /// Brings one submodule to its commit. Silent and without a network if it is there.
    pub fn bring(&self, submodule: &Submodule) -> Result<Outcome, Failure> {
        let outcome = self.try_bring(submodule);
        self.board.finish(submodule.name());
        outcome.map_err(|failure| about(submodule.name(), failure))
    }

    fn try_bring(&self, submodule: &Submodule) -> Result<Outcome, Failure> {
        interrupt::check()?;
        let target = submodule.pinned.as_ref();
        match (&submodule.state, target) {
            (State::Strange(reason), _) => Err(Failure::new(reason.clone()).hint("cargo xtask git submodules status")),
            (State::Conflict, _) => {
                let hint = "finish the merge of the checkout: `git status`, then `git add` the commit that is right";
                Err(Failure::new("the checkout names several commits").hint(hint))
            }
            (State::Unrecorded, _) | (_, None) => {
                let message = "the checkout names no commit of it";
                Err(Failure::new(message).hint(format!("git log -- {}", submodule.declared.path)))
            }
            (State::Absent, Some(target)) => self.make(submodule, target),
            (State::Inactive | State::Right | State::Other, Some(target)) => {
                self.activate(submodule)?;
                self.change(submodule, target)
            }
        }
    }

    /// Puts a submodule where none is.
    fn make(&self, submodule: &Submodule, target: &Commit) -> Result<Outcome, Failure> {
        let final_dir = &submodule.tree.git_dir;
        let is_new = !final_dir.join("HEAD").exists();
        let place = Place::new(self.repository, submodule)?;
        let git_dir = if is_new { place.git_dir.clone() } else { final_dir.clone() };
        let tree = Tree::foreign(place.files.clone(), git_dir.clone());
        let mut kept = Kept::default();
        if is_new {
            self.initialise(submodule, &tree)?;
        } else {
            self.clear_locks(&tree, true)?;
            // Its folder was removed by hand; commits that only it had are worth more.
            if tree.resolve("HEAD")?.is_some_and(|head| head != *target)
                && !unsaved_commits(&tree)?.is_empty()
                && let Some(head) = tree.resolve("HEAD")?
            {
                kept.keep_commit(&tree, &head)?;
            }
        }
        self.fetch(submodule, &tree, target)?;
        self.board.step(submodule.name(), "checking out");
        answer(&tree.call().args(["checkout", "--quiet", "--force", "--detach", target.as_str()]))?;
        fs_err::write(place.files.join(".git"), format!("gitdir: {}\n", place.link))?;
        if is_new {
            fs_err::create_dir_all(parent(final_dir)?)?;
            // One that is not empty and no repository may hold others: the renaming refuses, and says which.
            let _none = std::fs::remove_dir(final_dir);
            fs_err::rename(&git_dir, final_dir)?;
        }
        let folder = &submodule.tree.folder;
        // Git makes the empty folder of a submodule that is not here.
        let _none = std::fs::remove_dir(folder);
        fs_err::rename(&place.files, folder)?;
        self.activate(submodule)?;
        Ok(Outcome::Updated { from: None, left_branch: None, kept })
    }

    /// A repository with nothing in it but where it comes from and where its files will be.
    fn initialise(&self, submodule: &Submodule, tree: &Tree) -> Result<(), Failure> {
        let call = super::call(&self.repository.tree.folder).args(["init", "--quiet", "--bare", "--template="]);
        answer(&call.args(["--".as_ref(), tree.git_dir.as_os_str()]))?;
        let origin = quoted(submodule.declared.address.as_str());
        let files = quoted(&worktree_link(self.repository, submodule));
        let settings = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
             \tworktree = {files}\n[remote \"origin\"]\n\turl = {origin}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        );
        Ok(fs_err::write(tree.git_dir.join("config"), settings)?)
    }

    /// Changes a submodule that is here.
    fn change(&self, submodule: &Submodule, target: &Commit) -> Result<Outcome, Failure> {
        let tree = &submodule.tree;
        let mark = tree.git_dir.join(MARK);
        let is_resumed = mark.exists();
        if is_resumed {
            self.clear_locks(tree, true)?;
        }
        let is_settled = submodule.head() == Some(target) && self.edits == Edits::Refuse;
        if is_settled && !is_resumed {
            return Ok(Outcome::Unchanged);
        }
        let changes = if is_resumed { tree.changes()? } else { submodule.changes.clone().unwrap_or_default() };
        // The commit is what a checkout changes last.
        if changes.head.as_ref() == Some(target) && (!changes.has_edits() || self.edits == Edits::Refuse) {
            let _none = std::fs::remove_file(&mark);
            return Ok(Outcome::Unchanged);
        }
        let kept = self.clear_the_way(submodule, &changes, is_resumed)?;
        self.fetch(submodule, tree, target)?;
        self.board.step(submodule.name(), "checking out");
        self.clear_locks(tree, false)?;
        fs_err::write(&mark, format!("{target}\n"))?;
        let force = (is_resumed || self.edits == Edits::Keep).then_some("--force");
        let call = tree.call().args(["checkout", "--quiet", "--detach"]).args(force).args([target.as_str()]);
        let ended = call.ask(Group::Own)?;
        if ended.code != 0 {
            // Git refused before it changed anything; it was not killed.
            let _none = std::fs::remove_file(&mark);
            return Err(refusal(&call, &ended));
        }
        fs_err::remove_file(&mark)?;
        Ok(Outcome::Updated { from: changes.head, left_branch: changes.branch, kept })
    }

    /// What somebody has done in the submodule is kept, or it is left alone.
    fn clear_the_way(&self, submodule: &Submodule, changes: &Changes, is_resumed: bool) -> Result<Kept, Failure> {
        let (tree, mut kept) = (&submodule.tree, Kept::default());
        let path = &submodule.declared.path;
        let is_kept = self.edits == Edits::Keep;
        let operation = tree.operation();
        if let (Some(operation), false) = (operation, is_kept) {
            let message = format!("a {operation} is under way in it");
            return Err(Failure::new(message).hint(format!("git -C {path} {operation} --abort, or finish it")));
        }
        let unsaved =
            if changes.head.is_some() && changes.branch.is_none() { unsaved_commits(tree)? } else { Vec::new() };
        if !is_kept && !unsaved.is_empty() {
            let message = format!("{} commits in it belong to no branch", unsaved.len());
            return Err(Failure::new(message).hint(format!("git -C {path} switch -c NAME, then again")));
        }
        if changes.has_edits() && !is_kept && !is_resumed {
            let message = format!("it has local edits ({}), and another commit is wanted", changes.words());
            let hint =
                format!("commit or stash them in `{path}`, or `cargo xtask git submodules reset {}`", submodule.name());
            return Err(Failure::new(message).known(changes.edited().into_iter().take(10).collect()).hint(hint));
        }
        if changes.has_edits() {
            kept.keep_changes(tree, &[])?;
        }
        if let (false, Some(head)) = (unsaved.is_empty(), &changes.head) {
            kept.keep_commit(tree, head)?;
        }
        if is_kept && (operation.is_some() || changes.has_edits()) {
            if operation == Some("rebase") {
                tree.ask(&["rebase", "--quit"])?;
            }
            // Ends a merge too.
            tree.ask(&["reset", "--hard", "--quiet"])?;
        }
        Ok(kept)
    }

    /// The commit, by the shortest way: it may be here; it alone; everything the other side has.
    fn fetch(&self, submodule: &Submodule, tree: &Tree, target: &Commit) -> Result<(), Failure> {
        if tree.has(target)? {
            return Ok(());
        }
        self.board.step(submodule.name(), "fetching");
        let address = submodule.declared.address.as_str();
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"];
        // A full history that somebody made full stays so.
        let is_whole = tree.resolve("HEAD")?.is_some() && !tree.is_shallow();
        let is_shallow = submodule.declared.is_shallow && !is_whole;
        let depth: &[&str] = if is_shallow { &["--depth", "1"] } else { &[] };
        let exactly = format!("+{target}:{PINNED}");
        let call = tree.call().args(fetch).args(depth).args(["--end-of-options", address, &exactly]);
        let ended = call.ask(Group::Own)?;
        if ended.code != 0 {
            let failure = refusal(&call, &ended);
            if failure.is_interrupt() || !is_refused_by_server(&failure) {
                return Err(failure.hint("check the network and the address in `.gitmodules`, then again"));
            }
            // The server hands out nothing but what its branches end with.
            self.board.step(submodule.name(), "fetching all of");
            let whole: &[&str] = if tree.is_shallow() { &["--unshallow"] } else { &[] };
            let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            answer(&tree.call().args(fetch).args(whole).args(["--end-of-options", address]).args(everything))?;
        }
        if tree.has(target)? {
            return Ok(());
        }
        let message = format!("`{address}` has no commit {target}");
        Err(Failure::new(message).hint("the checkout may be ahead of it: was the submodule pushed?"))
    }

    /// Git's own locks that a killed update left. One that somebody may hold is waited for; where no update was killed,
    /// only that.
    fn clear_locks(&self, tree: &Tree, is_ours: bool) -> Result<(), Failure> {
        let since = Instant::now();
        for name in ["index.lock", "HEAD.lock", "shallow.lock", "config.lock"] {
            let path = tree.git_dir.join(name);
            while path.exists() {
                interrupt::check()?;
                if since.elapsed() >= LOCK_AGE {
                    if !is_ours {
                        let message = format!("another git works in it, or was killed: `{}` is there", path.display());
                        return Err(Failure::new(message).hint("wait for it, or remove that file"));
                    }
                    let _gone = std::fs::remove_file(&path);
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Tells git that the submodule is in use: `git submodule status` looks at it then.
    fn activate(&self, submodule: &Submodule) -> Result<(), Failure> {
        let declared = &submodule.declared;
        if self.repository.is_active(&declared.name, &declared.path) {
            return Ok(());
        }
        let _one_at_a_time = self.settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.repository.tree.ask(&["config", &format!("submodule.{}.active", declared.name), "true"]).map(drop)
    }
}

/// The failure as one of the submodule's.
fn about(name: &str, failure: Failure) -> Failure {
    if failure.is_interrupt() {
        failure
    } else {
        Failure { message: format!("`{name}`: {}", failure.message), ..failure }
    }
}

/// Where a submodule is made before it is put in its place.
struct Place {
    git_dir: PathBuf,
    files: PathBuf,
    /// What the file `.git` in the folder says.
    link: String,
}

impl Place {
    /// Beside the submodule's folder, so that renaming moves nothing; below the repository, so that it is on its disk.
    fn new(repository: &Repository, submodule: &Submodule) -> Result<Self, Failure> {
        let (declared, tree) = (&submodule.declared, &submodule.tree);
        let flat = declared.name.as_str().replace('/', "+");
        let git_dir = staging(repository).join(format!("{flat}-{}", std::process::id()));
        let folder = parent(&tree.folder)?;
        fs_err::create_dir_all(folder)?;
        let last = declared.path.as_str().rsplit('/').next().unwrap_or_default();
        let prefix = format!(".{last}.llorch-");
        // Left by a killed one: nobody else makes them while this lock is held.
        for entry in fs_err::read_dir(folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _busy = std::fs::remove_dir_all(entry.path());
            }
        }
        let files = folder.join(format!("{prefix}{}", std::process::id()));
        fs_err::create_dir_all(&git_dir)?;
        fs_err::create_dir(&files)?;
        let link = relative(&repository.tree.folder, &tree.folder, &tree.git_dir);
        Ok(Self { git_dir, files, link })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After a success neither is there any more.
        let _moved = std::fs::remove_dir_all(&self.git_dir);
        let _moved = std::fs::remove_dir_all(&self.files);
    }
}

fn staging(repository: &Repository) -> PathBuf {
    repository.tree.git_dir.join("llorch/staging")
}

fn worktree_link(repository: &Repository, submodule: &Submodule) -> String {
    relative(&repository.tree.folder, &submodule.tree.git_dir, &submodule.tree.folder)
}

/// `to` as seen from the folder `from`: a relative path if both lie below `root`, so that a checkout can be moved.
fn relative(root: &Path, from: &Path, to: &Path) -> String {
    match (from.strip_prefix(root), to.strip_prefix(root)) {
        (Ok(from), Ok(below)) => format!("{}{}", "../".repeat(from.components().count()), below.display()),
        _ => to.display().to_string(),
    }
}

fn parent(path: &Path) -> Result<&Path, Failure> {
    path.parent().ok_or_else(|| Failure::new(format!("`{}` is the root of a disk", path.display())))
}

/// The text as a value in git's settings.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether the server is there and does not hand out single commits, or does not know this one.
fn is_refused_by_server(failure: &Failure) -> bool {
    const WORDS: [&str; 3] = ["not our ref", "unadvertised object", "does not allow request"];
    failure.known.iter().any(|line| WORDS.iter().any(|word| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{quoted, relative};

    #[test]
    fn links_are_relative_within_the_checkout() {
        let root = Path::new("/x/y");
        let (folder, git) = (root.join("reference/a"), root.join(".git/modules/a"));
        assert_eq!(relative(root, &folder, &git), "../../.git/modules/a");
        assert_eq!(relative(root, &git, &folder), "../../../reference/a");
        assert_eq!(relative(root, &folder, Path::new("/z/modules/a")), "/z/modules/a");
    }

    #[test]
    fn settings_are_quoted() {
        assert_eq!(quoted(r#"a\b"c"#), r#""a\\b\"c""#);
    }
}
