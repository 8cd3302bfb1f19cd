//! `git pull`: fetch, rebase, submodules that are here.

use serde::Serialize;

use super::submodules::{Brought, bring, here};
use super::{fetch, refuse_operation, upstream_of};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::losses::commits_between;
use crate::git::parallel::Board;
use crate::git::refusal;
use crate::git::repository::{Repository, Tree};
use crate::git::submodules::{self, Look};
use crate::git::update::Edits;
use crate::process::{Group, print_plan};
use crate::{git, interrupt};

/// Fetch, put your commits on top, bring the submodules that are here to their commits
///
/// Uncommitted changes are put aside and back. A pull that conflicts is undone as a whole. Submodules that are not here
/// stay so; `git submodules update` fetches them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git pull
  cargo xtask git pull --dry-run")]
pub struct Args {}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    branch: String,
    from: String,
    to: String,
    /// Commits that came.
    commits: Vec<String>,
    submodules: Vec<Brought>,
}

impl Args {
    /// Fetches, rebases, updates.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (repository, output) = (Repository::open()?, globals.output);
        let tree = &repository.tree;
        let before = tree.changes()?;
        let Some(branch) = before.branch else {
            return Err(
                Failure::new("no branch is checked out, so there is nothing to pull into").hint("git switch main")
            );
        };
        let Some(from) = before.head else {
            return Err(Failure::new(format!("branch `{branch}` has no commit yet")).hint("git merge origin/main"));
        };
        let Some((remote, upstream)) = upstream_of(tree, &branch)? else {
            let hint = format!("git branch --set-upstream-to origin/{branch} {branch}");
            return Err(Failure::new(format!("branch `{branch}` follows nothing")).hint(hint));
        };
        refuse_operation(tree)?;
        if globals.dry_run {
            let mut steps = vec![format!("git fetch {remote}"), format!("git rebase --autostash {upstream}")];
            let here = here(submodules::all(&repository, Look::Commits)?);
            steps.extend(here.iter().map(|one| format!("bring {} to its commit", one.declared.path)));
            return print_plan(output, &steps);
        }
        interrupt::watch()?;
        let board = Board::new(output);
        fetch(tree, &board, &remote)?;
        let Some(target) = tree.resolve(&upstream)? else {
            let hint = format!("git branch --set-upstream-to origin/main {branch}");
            return Err(Failure::new(format!("`{upstream}`, which branch `{branch}` follows, is gone")).hint(hint));
        };
        let commits = commits_between(tree, target.as_str(), &[from.as_str()])?;
        if !commits.is_empty() {
            board.step(&branch, "rebasing");
            rebase(tree, &upstream)?;
            board.finish(&branch);
        }
        drop(board);
        let to = tree.resolve("HEAD")?.unwrap_or_else(|| from.clone());
        if !output.json {
            match commits.len() {
                0 => output.note(format_args!("{branch}: already up to date")),
                count => output.note(format_args!("{branch}: {} → {}, {count} commits came", from.short(), to.short())),
            }
        }
        // What is declared may have changed.
        let repository = Repository::open()?;
        let brought = bring(globals, &repository, &here(submodules::all(&repository, Look::Commits)?), Edits::Refuse)?;
        let (from, to) = (from.as_str().to_owned(), to.as_str().to_owned());
        output.event(&Done { event: "done", branch, from, to, commits, submodules: brought })?;
        Ok(0)
    }
}

/// All of it, or nothing: what does not apply is undone.
fn rebase(tree: &Tree, upstream: &str) -> Result<(), Failure> {
    let call = tree.call().args(["rebase", "--quiet", "--autostash", "--end-of-options", upstream]);
    // In this group, because a signature may need the terminal.
    let ended = call.ask(Group::Shared)?;
    let undo = tree.call().args(["rebase", "--abort"]);
    if let Err(interrupted) = interrupt::check() {
        if tree.operation() == Some("rebase") {
            git::clear_up(&undo)?;
        }
        return Err(interrupted);
    }
    let conflicts = tree.changes()?.conflicts;
    if ended.code == 0 && conflicts.is_empty() {
        return Ok(());
    }
    if ended.code == 0 {
        let message = "your uncommitted changes conflict with what was pulled";
        let hint = "resolve the conflicts and `git stash drop`; the changes as they were are `git stash show -p`";
        return Err(Failure::new(message).known(conflicts).hint(hint));
    }
    if tree.operation() == Some("rebase") {
        git::clear_up(&undo)?;
    }
    if conflicts.is_empty() {
        return Err(refusal(&call, &ended).hint("nothing was changed; settle that, then `cargo xtask git pull` again"));
    }
    let message = format!("your commits conflict with `{upstream}`; the pull was undone");
    Err(Failure::new(message).known(conflicts).hint(format!("git rebase {upstream}, which stops at each conflict")))
}
