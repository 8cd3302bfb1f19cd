//! `git submodules reset`: a submodule as its commit has it, without what was done in it.

use serde::Serialize;

use super::{Brought, ask, bring, show_list};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::backup::unsaved_commits;
use crate::git::names::Commit;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look, State, Submodule};
use crate::git::update::Edits;
use crate::interrupt;
use crate::process::print_plan;

/// Throw away what was done in a submodule: edits, new files, another commit
///
/// Shows what would go and asks. Edits and commits are kept under `refs/llorch/backup/` in the submodule; files that git does
/// not know are gone. Ignored files stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git submodules reset candle
  cargo xtask git submodules reset candle --yes")]
pub struct Args {
    /// Which: a name or a folder
    #[arg(value_name = "SUBMODULE")]
    name: String,
}

/// What goes.
#[derive(Clone, Default, Serialize)]
struct Thrown {
    changes: Vec<String>,
    untracked: Vec<String>,
    commits: Vec<String>,
    operation: Option<&'static str>,
    /// The commit it leaves, if it is not at its own.
    left: Option<String>,
    left_branch: Option<String>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    threw_away: Thrown,
    submodules: Vec<Brought>,
}

impl Args {
    /// Shows, asks, resets, says what went.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (repository, output) = (Repository::open()?, globals.output);
        let wanted = submodules::named(&repository, std::slice::from_ref(&self.name), Look::Edits)?;
        let Some(submodule) = wanted.first() else { return Err(Failure::usage("no submodule is named")) };
        if submodule.state == State::Absent {
            let hint = format!("cargo xtask git submodules update {}", submodule.name());
            return Err(Failure::new(format!("`{}` is not here", submodule.name())).hint(hint));
        }
        let thrown = Thrown::of(submodule)?;
        let lines = thrown.words();
        if globals.dry_run {
            return print_plan(output, &lines.iter().map(|line| format!("throw away {line}")).collect::<Vec<_>>());
        }
        if !lines.is_empty() && !globals.yes {
            output.note(format_args!("resetting {} takes these away:", submodule.declared.path));
            show_list(output, &lines);
            if !ask(output, "reset it?")? {
                output.note("nothing was changed");
                return Ok(1);
            }
        }
        interrupt::watch()?;
        let is_settled = lines.is_empty() && submodule.is_here();
        let submodules = if is_settled { Vec::new() } else { bring(globals, &repository, &wanted, Edits::Keep)? };
        if !thrown.untracked.is_empty() {
            submodule.tree.ask(&["clean", "--force", "-d", "--quiet"])?;
        }
        if !output.json && !lines.is_empty() {
            output.note(format_args!("threw away, in {}:", submodule.declared.path));
            show_list(output, &lines);
        }
        output.event(&Done { event: "done", threw_away: thrown, submodules })?;
        Ok(0)
    }
}

impl Thrown {
    fn of(submodule: &Submodule) -> Result<Self, Failure> {
        let Some(changes) = &submodule.changes else { return Ok(Self::default()) };
        let is_detached = changes.head.is_some() && changes.branch.is_none();
        let unsaved = if is_detached { unsaved_commits(&submodule.tree)? } else { Vec::new() };
        let left = changes.head.as_ref().filter(|head| Some(*head) != submodule.pinned.as_ref());
        Ok(Self {
            changes: changes.edited(),
            untracked: changes.untracked.clone(),
            commits: unsaved.iter().map(|commit| commit.as_str().to_owned()).collect(),
            operation: submodule.tree.operation(),
            left: left.map(|commit| commit.as_str().to_owned()),
            left_branch: left.and(changes.branch.clone()),
        })
    }

    /// A line for each, for people.
    fn words(&self) -> Vec<String> {
        let operation = self.operation.map(|operation| format!("the {operation} that is under way"));
        let left = self.left.as_ref().map(|commit| match &self.left_branch {
            Some(branch) => format!("its place at {commit}, on {branch} (which stays)"),
            None => format!("its place at {commit}"),
        });
        let commits = self.commits.iter().filter_map(|commit| Commit::parse(commit));
        let commits = commits.map(|commit| format!("commit     {}", commit.short()));
        let changes = self.changes.iter().map(|path| format!("change     {path}"));
        let untracked = self.untracked.iter().map(|path| format!("untracked  {path}"));
        operation.into_iter().chain(left).chain(commits).chain(changes).chain(untracked).collect()
    }
}
