//! Where a checkout's repository is, what its settings say, and questions about a working tree. A submodule is one too.

use std::path::{Path, PathBuf};

use super::address::{self, Address, Locality};
use super::changes::Changes;
use super::names::{Commit, FolderPath, SubmoduleName};
use super::{answer, call, refusal};
use crate::failure::Failure;
use crate::process::{Call, Group};
use crate::workspace;

/// A file that says `gitdir: PATH` is no longer than the longest path.
const LINK_BYTES_MAX: u64 = 8 * 1024;
/// Files whose presence in a repository says that something is under way, and what.
const OPERATIONS: [(&str, &str); 6] = [
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
];
/// What a repository that is not ours must not do: run hooks or a watcher, tidy up behind our back, go on into others.
const FOREIGN_SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "advice.detachedHead=false",
];

/// A working tree and its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where the files are.
    pub folder: PathBuf,
    /// Where the repository is.
    pub git_dir: PathBuf,
    is_foreign: bool,
}

/// The checkout that this command works in.
#[derive(Debug)]
pub struct Repository {
    /// Its files and its repository.
    pub tree: Tree,
    /// Whether its submodules may lie on this machine: only if it was itself cloned from here.
    pub locality: Locality,
    settings: Vec<(String, String)>,
}

impl Repository {
    /// The checkout around the working directory.
    pub fn open() -> Result<Self, Failure> {
        let folder = workspace::require()?;
        let git = folder.join(".git");
        let git_dir = match std::fs::symlink_metadata(&git) {
            Ok(data) if data.is_dir() => git,
            Ok(data) if data.is_file() => follow_link(&git)?,
            _ => {
                let message = format!("`{}` is no git repository", folder.display());
                return Err(Failure::usage(message).hint("clone the project with git, or `git init` here"));
            }
        };
        let tree = Tree { folder, git_dir, is_foreign: false };
        let query = call(&tree.folder).args(["config", "-z", "--get-regexp", r"^(submodule|remote)\..*"]);
        let ended = query.ask(Group::Own)?;
        // 1: there is none.
        if ended.code > 1 {
            return Err(refusal(&query, &ended));
        }
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        let entry = |entry: &str| {
            let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
            (key.to_owned(), value.to_owned())
        };
        let settings: Vec<_> = text.split_terminator('\0').map(entry).collect();
        let locality = locality(&settings);
        Ok(Self { tree, locality, settings })
    }

    /// Where the repository of a submodule is, or will be.
    pub fn modules_dir(&self, name: &SubmoduleName) -> PathBuf {
        self.tree.git_dir.join("modules").join(name.as_str())
    }

    /// A submodule's working tree.
    pub fn submodule_tree(&self, name: &SubmoduleName, path: &FolderPath) -> Tree {
        Tree { folder: self.tree.folder.join(path.as_str()), git_dir: self.modules_dir(name), is_foreign: true }
    }

    /// Where the user has told git to fetch the submodule from, instead of where `.gitmodules` says: a mirror, a fork. It may
    /// be on this machine, because nobody else writes these settings.
    pub fn own_address(&self, name: &SubmoduleName) -> Result<Option<Address>, Failure> {
        let key = format!("submodule.{name}.url");
        let Some((_, value)) = self.settings.iter().rev().find(|(other, _)| *other == key) else { return Ok(None) };
        Address::parse(value, Locality::Local).map(Some).map_err(|reason| {
            let message = format!("the setting `{key}` is refused: `{value}`: it {reason}");
            Failure::new(message).hint(format!("git config --unset {key}"))
        })
    }

    /// Whether git itself would look at the submodule.
    pub fn is_active(&self, name: &SubmoduleName, path: &FolderPath) -> bool {
        let last =
            |key: &str| self.settings.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
        if let Some(value) = last(&format!("submodule.{name}.active")) {
            return ["true", "yes", "on", "1"].contains(&value);
        }
        let mut patterns =
            self.settings.iter().filter(|(key, _)| key == "submodule.active").map(|(_, value)| value).peekable();
        if patterns.peek().is_some() {
            return patterns
                .any(|pattern| pattern == "." || Path::new(path.as_str()).starts_with(pattern.trim_end_matches('/')));
        }
        last(&format!("submodule.{name}.url")).is_some()
    }
}

/// Local, if everything the checkout was cloned from is.
fn locality(settings: &[(String, String)]) -> Locality {
    let is_address = |key: &str| key.starts_with("remote.") && key.ends_with(".url");
    let mut remotes = settings.iter().filter(|(key, _)| is_address(key)).peekable();
    if remotes.peek().is_some() && remotes.all(|(_, value)| address::is_local(value)) {
        Locality::Local
    } else {
        Locality::Remote
    }
}

/// The repository that a file named `.git` points to.
pub fn follow_link(file: &Path) -> Result<PathBuf, Failure> {
    let failure = || Failure::new(format!("`{}` does not say where its repository is", file.display()));
    if std::fs::metadata(file)?.len() > LINK_BYTES_MAX {
        return Err(failure());
    }
    let text = fs_err::read_to_string(file)?;
    let target = text.strip_prefix("gitdir: ").map(|rest| rest.trim_end_matches(['\n', '\r'])).ok_or_else(failure)?;
    let base = file.parent().ok_or_else(failure)?;
    // Without `..`, so that it can be compared and shown.
    fs_err::canonicalize(base.join(target)).map_err(Failure::from)
}

impl Tree {
    /// The tree of a submodule, wherever its files are at the moment.
    pub fn foreign(folder: PathBuf, git_dir: PathBuf) -> Self {
        Self { folder, git_dir, is_foreign: true }
    }

    /// A call of git that works on this tree and on no other, whatever lies in its folder or above.
    pub fn call(&self) -> Call {
        if !self.is_foreign {
            return call(&self.folder);
        }
        let call = call(&self.folder);
        let call = FOREIGN_SETTINGS.iter().fold(call, |call, setting| call.args(["-c", setting]));
        call.args(["--git-dir".as_ref(), self.git_dir.as_os_str(), "--work-tree".as_ref(), self.folder.as_os_str()])
    }

    /// Runs git with these arguments; what it printed.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, Failure> {
        Ok(answer(&self.call().args(arguments))?.text())
    }

    /// As [`Tree::ask`], in entries that end with a zero byte.
    pub fn ask_list(&self, arguments: &[&str]) -> Result<Vec<Vec<u8>>, Failure> {
        let bytes = answer(&self.call().args(arguments))?.stdout;
        Ok(bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// How the tree differs from its commit. Submodules count by their commits alone. Takes no lock, so that being killed
    /// leaves none.
    pub fn changes(&self) -> Result<Changes, Failure> {
        self.status(self.call().args(["--no-optional-locks"]))
    }

    /// The same, and git notes which files it has looked into: after a checkout, the next look at them costs a fraction.
    pub fn changes_noted(&self) -> Result<Changes, Failure> {
        self.status(self.call())
    }

    fn status(&self, call: Call) -> Result<Changes, Failure> {
        let words = ["status", "--porcelain=v2", "--branch", "-z", "--ignore-submodules=dirty"];
        Ok(Changes::parse(&answer(&call.args(words).args(["--untracked-files=normal"]))?.stdout))
    }

    /// What is under way: a rebase, a merge.
    pub fn operation(&self) -> Option<&'static str> {
        OPERATIONS.iter().find(|(file, _)| self.git_dir.join(file).exists()).map(|(_, name)| *name)
    }

    /// The commit behind a reference; `None` if there is none.
    pub fn resolve(&self, reference: &str) -> Result<Option<Commit>, Failure> {
        let wanted = format!("{reference}^{{commit}}");
        let call = self.call().args(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]);
        let ended = call.ask(Group::Own)?;
        Ok(if ended.code == 0 { Commit::parse(&ended.text()) } else { None })
    }

    /// Whether the commit itself is here.
    pub fn has(&self, commit: &Commit) -> Result<bool, Failure> {
        let call = self.call().args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
        Ok(call.ask(Group::Own)?.code == 0)
    }

    /// Whether older history was left out.
    pub fn is_shallow(&self) -> bool {
        self.git_dir.join("shallow").exists()
    }
}

#[cfg(test)]
mod tests {
    use super::{Locality, locality};

    #[test]
    fn one_remote_elsewhere_makes_a_checkout_remote() {
        let setting = |name: &str, value: &str| (format!("remote.{name}.url"), value.to_owned());
        assert_eq!(locality(&[]), Locality::Remote);
        assert_eq!(locality(&[setting("origin", "/srv/x.git")]), Locality::Local);
        assert_eq!(locality(&[setting("o", "file:///srv/x"), setting("up", "https://h/x")]), Locality::Remote);
        assert_eq!(locality(&[setting("origin", "file://host/x")]), Locality::Remote);
    }
}
