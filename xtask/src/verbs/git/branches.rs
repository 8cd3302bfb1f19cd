//! `git branches`: local and remote ones, and how they stand to what they follow.

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::Repository;
use crate::output::{neutralise, table};

/// What git is asked about each, with tabs between.
const FIELDS: [&str; 8] = [
    "%(refname)",
    "%(symref)",
    "%(HEAD)",
    "%(objectname)",
    "%(upstream:short)",
    "%(upstream:track,nobracket)",
    "%(committerdate:short)",
    "%(contents:subject)",
];

/// List branches, local ones first
///
/// Asks no network: remote branches are as of the last fetch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git branches
  cargo xtask git branches --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    branches: Vec<Branch>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Branch {
    name: String,
    remote: bool,
    current: bool,
    commit: String,
    date: String,
    subject: String,
    upstream: Option<String>,
    /// `ahead 1, behind 2`, `gone`; absent where both are level.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<String>,
}

impl Args {
    /// Prints the list.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let tree = Repository::open()?.tree;
        let format = format!("--format={}", FIELDS.join("%09"));
        let text = tree.ask(&["for-each-ref", &format, "--", "refs/heads", "refs/remotes"])?;
        let branches: Vec<Branch> = text.lines().filter_map(branch).collect();
        let output = globals.output;
        if output.json {
            output.value(&Document { branches })?;
            return Ok(0);
        }
        table(&branches.iter().map(cells).collect::<Vec<_>>())
            .iter()
            .try_for_each(|line| output.line(&neutralise(line)))?;
        Ok(0)
    }
}

/// A line of git's answer; `None` for a name that only points to another, such as `origin/HEAD`.
fn branch(line: &str) -> Option<Branch> {
    let fields: Vec<&str> = line.splitn(FIELDS.len(), '\t').collect();
    let [reference, symref, head, commit, upstream, distance, date, subject] = fields.try_into().ok()?;
    let local = reference.strip_prefix("refs/heads/");
    let name = local.or_else(|| reference.strip_prefix("refs/remotes/"))?;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    symref.is_empty().then(|| Branch {
        name: name.to_owned(),
        remote: local.is_none(),
        current: head == "*",
        commit: commit.to_owned(),
        date: date.to_owned(),
        subject: subject.to_owned(),
        upstream: some(upstream),
        distance: some(distance),
    })
}

fn cells(branch: &Branch) -> Vec<String> {
    let mark = if branch.current { "*" } else { " " };
    let follows = match (&branch.upstream, &branch.distance) {
        (Some(upstream), Some(distance)) => format!("{upstream}: {distance}"),
        (Some(upstream), None) => upstream.clone(),
        (None, _) => String::from("-"),
    };
    let commit = branch.commit.get(..10).unwrap_or(&branch.commit);
    vec![format!("{mark} {}", branch.name), commit.to_owned(), branch.date.clone(), follows, branch.subject.clone()]
}

#[cfg(test)]
mod tests {
    use super::branch;

    #[test]
    fn lines_are_branches_and_pointers_are_not() {
        let line = "refs/heads/a/b\t\t*\t0a0a\torigin/a/b\tahead 1\t2026-01-02\tsay\tit";
        let read = branch(line).expect("a branch");
        assert_eq!((read.name.as_str(), read.remote, read.current), ("a/b", false, true));
        assert_eq!((read.upstream.as_deref(), read.distance.as_deref()), (Some("origin/a/b"), Some("ahead 1")));
        assert_eq!(read.subject, "say\tit");
        assert_eq!(branch("refs/remotes/origin/HEAD\trefs/remotes/origin/main\t \t0a\t\t\tx\ty"), None);
        assert!(branch("refs/remotes/origin/main\t\t \t0a\t\t\tx\ty").is_some_and(|branch| branch.remote));
    }
}
