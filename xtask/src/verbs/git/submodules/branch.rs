//! `git submodules branch`: look at a submodule's branches, or work on one of them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::backup::unsaved_commits;
use crate::git::names::BranchName;
use crate::git::parallel::Board;
use crate::git::repository::{Repository, Tree};
use crate::git::submodules::{self, Look, Submodule};
use crate::git::{answer, refusal, said};
use crate::interrupt;
use crate::output::neutralise;
use crate::process::{Group, print_plan};

/// Names of a repository's branches; one with more is looked at with git itself.
const BRANCHES_MAX: usize = 10_000;

/// List a submodule's branches, or check one out
///
/// The branch is fetched first, without its history if the submodule has none; a local branch of that name is moved forward if
/// it can be, and never back. Refused where there are edits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git submodules branch candle
  cargo xtask git submodules branch candle metal-fixes")]
pub struct Args {
    /// Which: a name or a folder
    #[arg(value_name = "SUBMODULE")]
    name: String,
    /// The branch to check out
    #[arg(value_name = "BRANCH", value_parser = branch_name)]
    branch: Option<BranchName>,
}

#[derive(Serialize)]
struct Document<'a> {
    submodule: &'a str,
    current: Option<&'a str>,
    local: Vec<String>,
    remote: Vec<String>,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    submodule: &'a str,
    branch: &'a str,
    commit: String,
}

fn branch_name(text: &str) -> Result<BranchName, String> {
    BranchName::parse(text).map_err(|reason| format!("it {reason}"))
}

impl Args {
    /// Lists or switches.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let repository = Repository::open()?;
        let wanted = submodules::named(&repository, std::slice::from_ref(&self.name), Look::Edits)?;
        let Some(submodule) = wanted.first() else { return Err(Failure::usage("no submodule is named")) };
        if !submodule.is_here() {
            let hint = format!("cargo xtask git submodules update {}", submodule.name());
            return Err(Failure::new(format!("`{}` is not here", submodule.name())).hint(hint));
        }
        interrupt::watch()?;
        match &self.branch {
            None => list(globals, submodule),
            Some(branch) => switch(globals, submodule, branch),
        }
    }
}

fn list(globals: &Globals, submodule: &Submodule) -> Result<u8, Failure> {
    let (tree, output) = (&submodule.tree, globals.output);
    let local = tree.ask(&["for-each-ref", "--format=%(refname:lstrip=2)", "--", "refs/heads"])?;
    let board = Board::new(output);
    board.step(submodule.name(), "asking the remote of");
    let asked = remote_branches(tree);
    drop(board);
    let remote = asked.or_else(|failure| {
        if failure.is_interrupt() {
            return Err(failure);
        }
        output.warning(format_args!("only what is here is listed: {}", neutralise(&failure.message)));
        tree.ask(&["for-each-ref", "--format=%(refname:lstrip=3)", "--", "refs/remotes/origin"])
            .map(|text| text.lines().filter(|line| *line != "HEAD").map(str::to_owned).collect())
    })?;
    let local: Vec<String> = local.lines().map(str::to_owned).collect();
    if output.json {
        output.value(&Document { submodule: submodule.name(), current: submodule.branch(), local, remote })?;
        return Ok(0);
    }
    let names: BTreeSet<&String> = local.iter().chain(&remote).collect();
    for name in names {
        let mark = if submodule.branch() == Some(name) { "*" } else { " " };
        let place = match (local.contains(name), remote.contains(name)) {
            (true, true) => "  here and at the remote",
            (true, false) => "  here",
            _ => "",
        };
        output.line(&neutralise(&format!("{mark} {name}{place}")))?;
    }
    Ok(0)
}

/// Branches that the remote has now. Names that no branch of ours could have are left out.
fn remote_branches(tree: &Tree) -> Result<Vec<String>, Failure> {
    let text = tree.ask(&["ls-remote", "--heads", "--end-of-options", "origin"])?;
    let name = |line: &str| BranchName::parse(line.split_once("\trefs/heads/")?.1).ok();
    Ok(text.lines().filter_map(name).take(BRANCHES_MAX).map(|name| name.as_str().to_owned()).collect())
}

fn switch(globals: &Globals, submodule: &Submodule, branch: &BranchName) -> Result<u8, Failure> {
    let (tree, name, output) = (&submodule.tree, submodule.name(), globals.output);
    if globals.dry_run {
        let steps = [format!("fetch {branch} of {name}"), format!("check out {branch} in {}", submodule.declared.path)];
        return print_plan(output, &steps);
    }
    refuse_work(submodule)?;
    let board = Board::new(output);
    board.step(name, "fetching");
    let is_local = tree.resolve(&branch.reference())?.is_some();
    let remote = format!("refs/remotes/origin/{branch}");
    let fetched = fetch(tree, branch, &remote, is_local)?;
    if !fetched && !is_local {
        let message = format!("`{name}` has no branch `{branch}`, here or at its remote");
        return Err(Failure::new(message).hint(format!("cargo xtask git submodules branch {name}")));
    }
    board.step(name, "checking out");
    if is_local {
        answer(&tree.call().args(["checkout", "--quiet", "--end-of-options", branch.as_str(), "--"]))?;
        if fetched && !forward(tree, &remote)? {
            board.note(format_args!("{branch} has commits that its remote has not, and stays where it is"));
        }
    } else {
        answer(&tree.call().args(["checkout", "--quiet", "--track", "-b", branch.as_str(), &remote, "--"]))?;
    }
    drop(board);
    let commit = tree.resolve("HEAD")?.map(|head| head.as_str().to_owned()).unwrap_or_default();
    if !output.json {
        output.note(format_args!("{}: on {branch}, at {commit}", submodule.declared.path));
    }
    output.event(&Done { event: "done", submodule: name, branch: branch.as_str(), commit })?;
    Ok(0)
}

/// What a switch could carry along or lose is the user's to settle.
fn refuse_work(submodule: &Submodule) -> Result<(), Failure> {
    let (name, path) = (submodule.name(), &submodule.declared.path);
    if let Some(operation) = submodule.tree.operation() {
        return Err(Failure::new(format!("a {operation} is under way in `{name}`"))
            .hint(format!("git -C {path} {operation} --abort, or finish it")));
    }
    if let Some(changes) = submodule.changes.as_ref().filter(|changes| changes.has_edits()) {
        let message = format!("`{name}` has local edits ({})", changes.words());
        let hint = format!("commit or stash them in `{path}`, or `cargo xtask git submodules reset {name}`");
        return Err(Failure::new(message).known(changes.edited().into_iter().take(10).collect()).hint(hint));
    }
    if submodule.branch().is_none() && submodule.head().is_some() && !unsaved_commits(&submodule.tree)?.is_empty() {
        let message = format!("`{name}` has commits that belong to no branch");
        return Err(Failure::new(message).hint(format!("git -C {path} switch -c NAME, then again")));
    }
    Ok(())
}

/// Fetches the branch; false if the remote has none of that name.
fn fetch(tree: &Tree, branch: &BranchName, remote: &str, is_local: bool) -> Result<bool, Failure> {
    // To see whether a local branch can move forward, git needs what lies between.
    let depth: &[&str] = if tree.is_shallow() && !is_local { &["--depth", "1"] } else { &[] };
    let refspec = format!("+{}:{remote}", branch.reference());
    let call = tree.call().args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]);
    let call = call.args(depth).args(["--end-of-options", "origin", &refspec]);
    let ended = call.ask(Group::Own)?;
    if ended.code == 0 {
        return Ok(true);
    }
    let failure = refusal(&call, &ended);
    if said(&failure, &["couldn't find remote ref"]) {
        return Ok(false);
    }
    Err(failure.hint("check the network, then again; a branch that is here: `git checkout` in its folder"))
}

/// Moves the checked-out branch to what was fetched, if that is only forward. False if it has commits of its own.
fn forward(tree: &Tree, remote: &str) -> Result<bool, Failure> {
    let is_ancestor = |one: &str, other: &str| -> Result<bool, Failure> {
        Ok(tree.call().args(["merge-base", "--is-ancestor", one, other]).ask(Group::Own)?.code == 0)
    };
    if !is_ancestor("HEAD", remote)? {
        return is_ancestor(remote, "HEAD");
    }
    tree.ask(&["merge", "--ff-only", "--quiet", "--end-of-options", remote]).map(|_| true)
}
