//! What a hard reset of the checkout would lose, looked at before anybody is asked. Reads only.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::names::Commit;
use super::repository::Tree;
use crate::failure::Failure;

/// Commits that are listed; of more, the number is enough.
const COMMITS_MAX: usize = 1000;

/// Files and commits that would be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Files that git knows and that differ from their commit.
    pub changes: Vec<String>,
    /// Files that git does not know, where the new commit has something of its own. Paths from the root, as bytes.
    pub in_the_way: Vec<Vec<u8>>,
    /// Folders in the way that are repositories: they cannot be kept.
    pub repositories: Vec<String>,
    /// Commits that no longer belong to the branch, `COMMIT subject`.
    pub commits: Vec<String>,
}

impl Losses {
    /// A line for each, for people.
    pub fn words(&self) -> Vec<String> {
        let changes = self.changes.iter().map(|path| format!("change  {path}"));
        let files = self.in_the_way.iter().map(|path| format!("file    {}", String::from_utf8_lossy(path)));
        let repositories = self.repositories.iter().map(|path| format!("repository  {path}"));
        let commits = self.commits.iter().map(|commit| format!("commit  {commit}"));
        changes.chain(files).chain(repositories).chain(commits).collect()
    }

    /// Looks at files: what a reset to `target` would overwrite or remove.
    pub fn of_files(tree: &Tree, target: &Commit) -> Result<Self, Failure> {
        let changes = tree.changes()?.edited();
        let losses = Self { changes, ..Self::default() };
        // In the target, and not in the index: git knows nothing of what lies there now.
        let words =
            ["diff-index", "--cached", "--name-only", "--diff-filter=D", "--no-renames", "-z", target.as_str(), "--"];
        let tracked = tree.ask_list(&["ls-files", "--cached", "-z"])?;
        let mut search = Search { root: &tree.folder, known: tracked.into_iter().collect(), losses };
        for path in tree.ask_list(&words)? {
            search.at(&path);
        }
        Ok(search.losses)
    }
}

/// Looks for what lies where a commit has files of its own.
struct Search<'a> {
    root: &'a Path,
    /// Paths that git knows, and those that were found.
    known: BTreeSet<Vec<u8>>,
    losses: Losses,
}

impl Search<'_> {
    /// What would make room for a file at `path`.
    fn at(&mut self, path: &[u8]) {
        // `a/b/c` replaces a file `a` or `a/b` too.
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        for end in ends.chain([path.len()]) {
            let relative = &path[..end];
            let Ok(data) = std::fs::symlink_metadata(self.root.join(OsStr::from_bytes(relative))) else { return };
            if !data.is_dir() {
                self.found(relative.to_vec());
                return;
            }
        }
        self.below(path);
    }

    /// Everything in a folder where the commit has a file.
    fn below(&mut self, path: &[u8]) {
        let mut folders: Vec<PathBuf> = vec![Path::new(OsStr::from_bytes(path)).to_owned()];
        while let Some(folder) = folders.pop() {
            let absolute = self.root.join(&folder);
            if absolute.join(".git").exists() {
                self.losses.repositories.push(folder.display().to_string());
                continue;
            }
            for entry in std::fs::read_dir(absolute).into_iter().flatten().flatten() {
                let relative = folder.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(relative),
                    _ => self.found(relative.into_os_string().into_vec()),
                }
            }
        }
    }

    fn found(&mut self, path: Vec<u8>) {
        if self.known.insert(path.clone()) {
            self.losses.in_the_way.push(path);
        }
    }
}

/// Commits that `from` has and `not` has not, newest first: `COMMIT subject`.
pub fn commits_between(tree: &Tree, from: &str, not: &[&str]) -> Result<Vec<String>, Failure> {
    let limit = format!("--max-count={COMMITS_MAX}");
    let mut words = vec!["log", "-z", "--format=%h %s", "--no-show-signature", &limit, from, "--not"];
    words.extend(not);
    words.push("--");
    let entries = tree.ask_list(&words)?;
    Ok(entries.into_iter().map(|entry| String::from_utf8_lossy(&entry).into_owned()).collect())
}
