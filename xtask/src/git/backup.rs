//! Keeping what a reset would lose: changes as a commit that `git stash apply` understands, commits as they are, both under
//! `refs/llorch/backup/`. Nothing in the working tree, its index or the list of stashes is touched.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::answer;
use super::names::Commit;
use super::repository::Tree;
use crate::failure::Failure;
use crate::process::{Call, Group};

/// Where backups are.
pub const FOLDER: &str = "refs/llorch/backup";
/// Local commits that are counted and listed; more are many.
const COMMITS_MAX: usize = 1000;
/// Tries at a free name: several resets within a second.
const NAMES_MAX: u32 = 100;

/// What was kept, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    /// Reference to the changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<String>,
    /// References to commits that nothing else names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commits: Vec<String>,
}

impl Kept {
    /// Keeps the changes of files that git knows, and files that it does not know but `others` names (paths from the root
    /// of the tree).
    pub fn keep_changes(&mut self, tree: &Tree, others: &[Vec<u8>]) -> Result<(), Failure> {
        let commit = snapshot(tree, others)?;
        self.changes = Some(refer(tree, "changes", &commit)?);
        Ok(())
    }

    /// Keeps a commit that nothing else will name.
    pub fn keep_commit(&mut self, tree: &Tree, commit: &Commit) -> Result<(), Failure> {
        self.commits.push(refer(tree, "commits", commit)?);
        Ok(())
    }

    /// Whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.changes.is_none() && self.commits.is_empty()
    }

    /// A line each: what is where, and how to have it back. `folder` is where git is called, absent for the checkout.
    pub fn words(&self, folder: Option<&str>) -> Vec<String> {
        let git = folder.map_or_else(|| String::from("git"), |folder| format!("git -C {folder}"));
        let changes = self.changes.as_ref();
        let changes = changes.map(|name| format!("changes are kept as {name}; back: `{git} stash apply {name}`"));
        let commits = self.commits.iter();
        let commits = commits.map(|name| format!("commits are kept as {name}; back: `{git} switch -c rescued {name}`"));
        changes.into_iter().chain(commits).collect()
    }
}

/// A commit shaped like a stash: the files' tree, its parents the commit, the index and, where there are any, the files
/// that git does not know.
fn snapshot(tree: &Tree, others: &[Vec<u8>]) -> Result<Commit, Failure> {
    let head = tree.resolve("HEAD")?.ok_or_else(|| Failure::new("there is no commit yet, so nothing can be kept"))?;
    let scratch = Index::new(tree)?;
    let own = tree.git_dir.join("index");
    if own.exists() {
        fs_err::copy(own, &scratch.0)?;
    }
    answer(&scratch.use_for(tree.call().args(["add", "--update", "--", "."])))?;
    let files = written(&scratch.use_for(tree.call()))?;
    // An index in conflict has no tree; what the files held is in `files`.
    let staged = tree.call().args(["write-tree"]).ask(Group::Own)?;
    let staged = if staged.code == 0 { staged.text() } else { format!("{head}^{{tree}}") };
    let staged = commit_of(tree, &staged, &[head.as_str()])?;
    let mut parents = vec![head.as_str().to_owned(), staged.as_str().to_owned()];
    if !others.is_empty() {
        let untracked = Index::new(tree)?;
        let mut list = others.join(&0);
        list.push(0);
        let add = untracked.use_for(tree.call().args(["update-index", "--add", "-z", "--stdin"]));
        let ended = add.ask_with(Group::Own, list)?;
        if ended.code != 0 {
            return Err(super::refusal(&add, &ended));
        }
        let files = written(&untracked.use_for(tree.call()))?;
        parents.push(commit_of(tree, &files, &[])?.as_str().to_owned());
    }
    commit_of(tree, &files, &parents.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An index that is no one's, removed at the end.
struct Index(PathBuf);

impl Index {
    fn new(tree: &Tree) -> Result<Self, Failure> {
        let path = tree.git_dir.join(format!("llorch-index-{}", std::process::id()));
        let index = Self(path);
        index.remove();
        Ok(index)
    }

    fn use_for(&self, call: Call) -> Call {
        call.env("GIT_INDEX_FILE", &self.0)
    }

    fn remove(&self) {
        let _not_there = std::fs::remove_file(&self.0);
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.remove();
    }
}

fn written(call: &Call) -> Result<String, Failure> {
    Ok(answer(&call.clone().args(["write-tree"]))?.text())
}

fn commit_of(tree: &Tree, files: &str, parents: &[&str]) -> Result<Commit, Failure> {
    let mut call = tree.call().args(["commit-tree", "--no-gpg-sign", "-m", "kept by llorch"]);
    for parent in parents {
        call = call.args(["-p", parent]);
    }
    // Works where nobody has told git who they are.
    for role in ["AUTHOR", "COMMITTER"] {
        call = call.env(&format!("GIT_{role}_NAME"), "llorch").env(&format!("GIT_{role}_EMAIL"), "llorch@localhost");
    }
    let text = answer(&call.args([files]))?.text();
    Commit::parse(&text).ok_or_else(|| Failure::new(format!("`git commit-tree` answered `{text}`, which is no commit")))
}

/// Gives the commit a name that nothing else has.
fn refer(tree: &Tree, kind: &str, commit: &Commit) -> Result<String, Failure> {
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let moment = moment_words(moment);
    // In a repository of SHA-256 it is longer.
    let none = "0".repeat(commit.as_str().len());
    let mut last = None;
    for attempt in 1..=NAMES_MAX {
        let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let name = format!("{FOLDER}/{moment}{suffix}/{kind}");
        let update = tree.call().args(["update-ref", &name, commit.as_str(), &none]);
        let ended = update.ask(Group::Own)?;
        if ended.code == 0 {
            return Ok(name);
        }
        last = Some(super::refusal(&update, &ended));
        if tree.resolve(&name)?.is_none() {
            break;
        }
    }
    Err(last.unwrap_or_else(|| Failure::new("no name is free for a backup")))
}

/// Commits of the checked-out one's history that no branch, tag, remote or backup names: `git checkout` would leave them
/// to be forgotten. What a shallow history begins with came from elsewhere and is not counted.
pub fn unsaved_commits(tree: &Tree) -> Result<Vec<Commit>, Failure> {
    let limit = format!("--max-count={COMMITS_MAX}");
    let not = ["--not", "--branches", "--remotes", "--tags", "--glob=refs/llorch/*"];
    let call = tree.call().args(["rev-list", &limit, "HEAD"]).args(not);
    let text = answer(&call)?.text();
    let shallow = std::fs::read_to_string(tree.git_dir.join("shallow")).unwrap_or_default();
    let borders: BTreeSet<&str> = shallow.lines().collect();
    Ok(text.lines().filter(|line| !borders.contains(line)).filter_map(Commit::parse).collect())
}

/// `2026-11-25T03-04-58Z`: a moment in seconds since 1970, in UTC, as a name. Days to a date by Howard Hinnant's
/// `civil_from_days` (chrono-Compatible Low-Level Date Algorithms, 2013).
fn moment_words(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::moment_words;

    #[test]
    fn moments_are_dates() {
        for (seconds, words) in [
            (0, "1970-01-01T00-00-00Z"),
            (951_782_399, "2000-02-28T23-59-59Z"),
            (951_782_400, "2000-02-29T00-00-00Z"),
            (951_868_800, "2000-03-01T00-00-00Z"),
            (1_795_575_898, "2026-11-25T03-04-58Z"),
            (4_102_444_799, "2099-12-31T23-59-59Z"),
        ] {
            assert_eq!(moment_words(seconds), words);
        }
    }
}
