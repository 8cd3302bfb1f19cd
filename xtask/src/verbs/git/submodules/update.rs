//! `git submodules update`: fetch what is wanted, bring it to the commit that the checkout names.

use serde::Serialize;

use super::{Brought, bring, here};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look, State, Submodule};
use crate::git::update::Edits;
use crate::interrupt;
use crate::process::print_plan;

/// Bring submodules to their commits, fetching what is missing
///
/// Without a name, those that are here. Silent and without a network where all is right; never in the way of local edits.
/// Interrupted at any moment, it goes on the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git submodules update candle
  cargo xtask git submodules update --all")]
pub struct Args {
    /// Which: names or folders; those that are here when none is named
    #[arg(value_name = "SUBMODULE")]
    names: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    submodules: Vec<Brought>,
}

impl Args {
    /// Looks, fetches, checks out.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let repository = Repository::open()?;
        let wanted = self.wanted(&repository)?;
        if globals.dry_run {
            let moved = wanted.iter().filter(|one| one.state != State::Right);
            return print_plan(globals.output, &moved.map(step).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let submodules = bring(globals, &repository, &wanted, Edits::Refuse)?;
        globals.output.event(&Done { event: "done", submodules })?;
        Ok(0)
    }

    fn wanted(&self, repository: &Repository) -> Result<Vec<Submodule>, Failure> {
        if !self.names.is_empty() {
            return submodules::named(repository, &self.names, Look::Commits);
        }
        let all = submodules::all(repository, Look::Commits)?;
        if self.all {
            return Ok(all);
        }
        let is_none = all.is_empty();
        let here = here(all);
        if here.is_empty() && !is_none {
            return Err(Failure::usage("no submodule is here, and none is named")
                .hint("`cargo xtask git submodules update --all`, or names: `cargo xtask git submodules list`"));
        }
        Ok(here)
    }
}

fn step(submodule: &Submodule) -> String {
    let commit = submodule.pinned.as_ref().map_or("no commit", |commit| commit.as_str());
    match submodule.state {
        State::Absent => format!("fetch {commit} of {} into {}", submodule.declared.address, submodule.declared.path),
        _ => format!("bring {} to {commit}", submodule.declared.path),
    }
}
