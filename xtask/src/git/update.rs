//! Bringing a submodule to its commit, by steps that can be repeated after a `kill -9` at any moment.
//!
//! A submodule that is not here is fetched into a repository and checked out into a folder that nobody looks at, and both
//! are renamed: it is here as a whole or not at all. One that is here is changed in place, with a mark beside its index
//! while that lasts. What git itself leaves of a killed checkout (locks, half of the files) is known by the mark.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::backup::{Kept, unsaved_commits};
use super::changes::Changes;
use super::names::Commit;
use super::parallel::Board;
use super::place::{Place, parent, quoted, staging, worktree_link};
use super::repository::{Repository, Tree};
use super::submodules::{State, Submodule};
use super::{answer, refusal, said};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::Group;

/// In a submodule's repository, while it is being changed.
const MARK: &str = "llorch-update";
/// What the mark says before anything but locks can be left behind, and from when on files are half of one commit and half of
/// another.
const FETCHING: &str = "fetching\n";
const CHECKING_OUT: &str = "checking out\n";
/// The last commit that was fetched by its number alone: keeps it from being tidied away.
const PINNED: &str = "refs/llorch/pinned";
/// A lock of git's own that is older belongs to nobody, if an update of ours was killed.
const LOCK_AGE: Duration = Duration::from_secs(3);
/// What git says where a server is there and does not hand out single commits, or does not know this one.
const REFUSED_BY_SERVER: [&str; 3] = ["not our ref", "unadvertised object", "does not allow request"];
/// Paths with edits that an error lists.
const EDITS_SHOWN: usize = 10;
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
    /// Whether another command had to end first: what was known of submodules may be old.
    pub has_waited: bool,
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
        let mut has_waited = false;
        // A file system that cannot lock spares nobody; git's own locks are still there.
        while let Err(TryLockError::WouldBlock) = lock.try_lock() {
            if !std::mem::replace(&mut has_waited, true) {
                board.note("another command changes submodules here, waiting for it");
            }
            interrupt::check()?;
            std::thread::sleep(LOOK);
        }
        let _none = std::fs::remove_dir_all(staging(repository));
        Ok(Self { repository, board, edits, settings: Mutex::new(()), has_waited, _lock: lock })
    }

    /// Whether an update of the submodule was killed in the middle.
    pub fn was_killed(submodule: &Submodule) -> bool {
        submodule.tree.git_dir.join(MARK).exists()
    }

    /// Whether a killed update has left what the next one clears away, though every submodule may be right.
    pub fn has_left_something(repository: &Repository) -> bool {
        staging(repository).exists()
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
        let mark = Mark(tree.git_dir.join(MARK));
        let was_killed = mark.0.exists();
        let is_torn = was_killed && mark.says(CHECKING_OUT);
        if was_killed {
            self.clear_locks(tree, true)?;
        }
        if submodule.head() == Some(target) && self.edits == Edits::Refuse && !was_killed {
            return Ok(Outcome::Unchanged);
        }
        let changes = match &submodule.changes {
            Some(changes) if !was_killed => changes.clone(),
            _ => tree.changes()?,
        };
        // The commit is what a checkout changes last.
        if changes.head.as_ref() == Some(target) && (!changes.has_edits() || self.edits == Edits::Refuse) {
            mark.remove();
            return Ok(Outcome::Unchanged);
        }
        let unsaved = self.refuse_work(submodule, &changes, is_torn)?;
        self.clear_locks(tree, false)?;
        if !is_torn {
            mark.write(FETCHING)?;
        }
        let kept = match self.fetch(submodule, tree, target) {
            Ok(()) => self.keep_work(tree, &changes, &unsaved)?,
            Err(failure) if is_torn || failure.is_interrupt() => return Err(failure),
            Err(failure) => {
                mark.remove();
                return Err(failure);
            }
        };
        self.board.step(submodule.name(), "checking out");
        mark.write(CHECKING_OUT)?;
        let is_forced = is_torn || self.edits == Edits::Keep;
        if is_forced && tree.operation() == Some("rebase") {
            tree.ask(&["rebase", "--quit"])?;
        }
        if is_forced {
            // Ends a merge too.
            tree.ask(&["reset", "--hard", "--quiet"])?;
        }
        let force = is_forced.then_some("--force");
        let call = tree.call().args(["checkout", "--quiet", "--detach"]).args(force).args([target.as_str()]);
        let ended = call.ask(Group::Own)?;
        if ended.code != 0 {
            let failure = refusal(&call, &ended);
            if !failure.is_interrupt() {
                // Git refused before it changed anything.
                mark.remove();
            }
            let hint = format!("move what is in the way, or `cargo xtask git submodules reset {}`", submodule.name());
            return Err(if failure.is_interrupt() { failure } else { failure.hint(hint) });
        }
        mark.remove();
        Ok(Outcome::Updated { from: changes.head, left_branch: changes.branch, kept })
    }

    /// Leaves a submodule alone that somebody works in, unless that is to be kept. Its commits that nothing names.
    fn refuse_work(&self, submodule: &Submodule, changes: &Changes, is_torn: bool) -> Result<Vec<Commit>, Failure> {
        let (tree, path) = (&submodule.tree, &submodule.declared.path);
        let is_detached = changes.head.is_some() && changes.branch.is_none();
        let unsaved = if is_detached { unsaved_commits(tree)? } else { Vec::new() };
        if self.edits == Edits::Keep {
            return Ok(unsaved);
        }
        if let Some(operation) = tree.operation() {
            let message = format!("a {operation} is under way in it");
            return Err(Failure::new(message).hint(format!("git -C {path} {operation} --abort, or finish it")));
        }
        if !unsaved.is_empty() {
            let message = format!("{} commits in it belong to no branch", unsaved.len());
            return Err(Failure::new(message).hint(format!("git -C {path} switch -c NAME, then again")));
        }
        if changes.has_edits() && !is_torn {
            let message = format!("it has local edits ({}), and another commit is wanted", changes.words());
            let name = submodule.name();
            let hint = format!("commit or stash them in `{path}`, or `cargo xtask git submodules reset {name}`");
            return Err(Failure::new(message)
                .known(changes.edited().into_iter().take(EDITS_SHOWN).collect())
                .hint(hint));
        }
        Ok(unsaved)
    }

    /// Keeps what [`Updater::refuse_work`] let pass.
    fn keep_work(&self, tree: &Tree, changes: &Changes, unsaved: &[Commit]) -> Result<Kept, Failure> {
        let mut kept = Kept::default();
        if changes.has_edits() {
            kept.keep_changes(tree, &[])?;
        }
        if let (false, Some(head)) = (unsaved.is_empty(), &changes.head) {
            kept.keep_commit(tree, head)?;
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
            if failure.is_interrupt() || !said(&failure, &REFUSED_BY_SERVER) {
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
        let tree = &self.repository.tree;
        let mark = Mark(tree.git_dir.join("llorch/settings"));
        if mark.0.exists() {
            self.clear_locks(tree, true)?;
        }
        mark.write(FETCHING)?;
        tree.ask(&["config", &format!("submodule.{}.active", declared.name), "true"])?;
        mark.remove();
        Ok(())
    }
}

impl Drop for Updater<'_> {
    fn drop(&mut self) {
        let _not_empty = std::fs::remove_dir(staging(self.repository));
    }
}

/// Says, beside a submodule's index, that an update of ours is under way: whoever finds it knows that one was killed.
struct Mark(PathBuf);

impl Mark {
    fn write(&self, text: &str) -> Result<(), Failure> {
        Ok(fs_err::write(&self.0, text)?)
    }

    fn says(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.0).is_ok_and(|said| said == text)
    }

    fn remove(&self) {
        let _not_there = std::fs::remove_file(&self.0);
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
