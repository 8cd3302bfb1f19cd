//! `git sync`: the checkout as main's upstream has it, whatever it is now; what that loses is shown, asked about and kept.

use serde::Serialize;

use super::submodules::{Brought, bring, here};
use super::{ask, fetch, refuse_operation, show_list, upstream_of};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::backup::{Kept, unsaved_commits};
use crate::git::changes::Changes;
use crate::git::losses::{Losses, commits_between};
use crate::git::names::Commit;
use crate::git::parallel::Board;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look, State, Submodule};
use crate::git::update::Edits;
use crate::interrupt;
use crate::process::{Group, print_plan};

/// The branch that everybody shares.
const MAIN: &str = "main";

/// Make the checkout exactly what main's upstream is
///
/// Checks out main, sets it to its upstream as just fetched, and brings the submodules that are here to their commits.
/// Other branches keep their commits; files that git does not know stay unless something takes their place. Changes and
/// commits that would be lost are shown and asked about, and in any case kept under `refs/llorch/backup/`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git sync
  cargo xtask git sync --force")]
pub struct Args {
    /// Do not ask, and go on where something cannot be kept
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Lost {
    event: &'static str,
    changes: Vec<String>,
    files: Vec<String>,
    commits: Vec<String>,
    submodules: Vec<String>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    branch: &'static str,
    from: Option<String>,
    to: String,
    kept: Kept,
    submodules: Vec<Brought>,
}

/// What is known before anything is changed.
struct Plan {
    changes: Changes,
    upstream: String,
    target: Commit,
    losses: Losses,
    /// The tips of what is lost: main, a commit checked out by itself.
    lost_tips: Vec<Commit>,
    /// Lines about submodules with edits.
    submodules: Vec<String>,
}

impl Args {
    /// Whether it may ask.
    pub fn asks(&self) -> bool {
        !self.force
    }

    /// Looks, asks, keeps, resets.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (repository, output) = (Repository::open()?, globals.output);
        refuse_operation(&repository.tree)?;
        if !globals.dry_run {
            interrupt::watch()?;
        }
        let plan = plan(globals, &repository)?;
        let lines: Vec<String> = plan.losses.words().into_iter().chain(plan.submodules.iter().cloned()).collect();
        if globals.dry_run {
            let mut steps = vec![format!("reset {MAIN} to {} ({})", plan.upstream, plan.target)];
            steps.extend(lines.iter().map(|line| format!("keep {line}")));
            return print_plan(output, &steps);
        }
        if !plan.losses.repositories.is_empty() && !self.force {
            let message = "repositories lie where the new commit has files, and cannot be kept";
            let hint = "move them away, or `cargo xtask git sync --force`";
            return Err(Failure::new(message).known(plan.losses.repositories).hint(hint));
        }
        output.event(&plan.lost())?;
        if !lines.is_empty() && !self.force && !globals.yes {
            output.note(format_args!("resetting {MAIN} to {} takes these away:", plan.upstream));
            show_list(output, &lines);
            if !ask(output, "keep them under a name and reset?")? {
                output.note("nothing was changed");
                return Ok(1);
            }
        }
        let kept = plan.keep(&repository)?;
        if !output.json {
            kept.words(None).iter().for_each(|line| output.note(line));
        }
        plan.reset(&repository)?;
        if !output.json {
            output.note(format_args!("{MAIN} is at {}", plan.target.short()));
        }
        let repository = Repository::open()?;
        // At the right commit, edits in a submodule are in nobody's way.
        let moved =
            here(submodules::all(&repository, Look::Edits)?).into_iter().filter(|one| one.state != State::Right);
        let brought = bring(globals, &repository, &moved.collect::<Vec<_>>(), Edits::Keep)?;
        let from = plan.changes.head.as_ref().map(|head| head.as_str().to_owned());
        let to = plan.target.as_str().to_owned();
        output.event(&Done { event: "done", branch: MAIN, from, to, kept, submodules: brought })?;
        Ok(0)
    }
}

fn plan(globals: &Globals, repository: &Repository) -> Result<Plan, Failure> {
    let tree = &repository.tree;
    let origin = || (String::from("origin"), format!("refs/remotes/origin/{MAIN}"));
    let (remote, upstream) = upstream_of(tree, MAIN)?.unwrap_or_else(origin);
    if !globals.dry_run {
        fetch(tree, &Board::new(globals.output), &remote)?;
    }
    let Some(target) = tree.resolve(&upstream)? else {
        let hint = format!("git branch --set-upstream-to REMOTE/{MAIN} {MAIN}");
        return Err(Failure::new(format!("there is no `{upstream}` to sync with")).hint(hint));
    };
    let changes = tree.changes()?;
    let mut losses = Losses::of_files(tree, &target)?;
    let main = format!("refs/heads/{MAIN}");
    let others = [target.as_str(), "--exclude=main", "--branches", "--remotes", "--tags", "--glob=refs/llorch/*"];
    let mut lost_tips = Vec::new();
    for (tip, is_moved) in [(main.as_str(), true), ("HEAD", changes.branch.is_none())] {
        let Some(commit) = tree.resolve(tip)?.filter(|_| is_moved) else { continue };
        let commits = commits_between(tree, commit.as_str(), &others)?;
        if !commits.is_empty() {
            lost_tips.push(commit);
            losses.commits.extend(commits);
        }
    }
    let mut submodules = Vec::new();
    for submodule in here(submodules::all(repository, Look::Edits)?) {
        submodules.extend(edits_in_the_way(repository, &submodule, &target)?);
    }
    Ok(Plan { changes, upstream, target, losses, lost_tips, submodules })
}

/// What a submodule that has to move would lose.
fn edits_in_the_way(repository: &Repository, submodule: &Submodule, target: &Commit) -> Result<Vec<String>, Failure> {
    let path = submodule.declared.path.as_str();
    let call = repository.tree.call().args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    let wanted = call.args([format!("{target}:{path}")]).ask(Group::Own)?.text();
    if submodule.head().map(Commit::as_str) == Some(wanted.as_str()) {
        return Ok(Vec::new());
    }
    let edited = submodule.changes.as_ref().map(Changes::edited).unwrap_or_default();
    let mut lines: Vec<String> = edited.iter().map(|file| format!("change  {path}/{file}")).collect();
    if submodule.branch().is_none() && submodule.head().is_some() {
        let unsaved = unsaved_commits(&submodule.tree)?;
        lines.extend(unsaved.iter().map(|commit| format!("commit  {} of {path}", commit.short())));
    }
    Ok(lines)
}

impl Plan {
    /// Keeps what would be lost.
    fn keep(&self, repository: &Repository) -> Result<Kept, Failure> {
        let (tree, mut kept) = (&repository.tree, Kept::default());
        if !self.losses.changes.is_empty() || !self.losses.in_the_way.is_empty() {
            kept.keep_changes(tree, &self.losses.in_the_way)?;
        }
        for commit in &self.lost_tips {
            kept.keep_commit(tree, commit)?;
        }
        Ok(kept)
    }

    /// Checks out main, at its upstream.
    fn reset(&self, repository: &Repository) -> Result<(), Failure> {
        let (tree, target) = (&repository.tree, self.target.as_str());
        if self.changes.branch.as_deref() == Some(MAIN) {
            tree.ask(&["-c", "submodule.recurse=false", "reset", "--hard", "--quiet", target])?;
        } else {
            let call = ["-c", "submodule.recurse=false", "checkout", "--force", "--quiet", "-B", MAIN, target];
            tree.ask(&call)?;
        }
        Ok(())
    }

    fn lost(&self) -> Lost {
        Lost {
            event: "losses",
            changes: self.losses.changes.clone(),
            files: self.losses.in_the_way.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
            commits: self.losses.commits.clone(),
            submodules: self.submodules.clone(),
        }
    }
}
