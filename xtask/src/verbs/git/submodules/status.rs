//! `git submodules status`: how each stands to the commit that the checkout names.

use serde::Serialize;

use super::Row;
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look};
use crate::output::{neutralise, table};

/// Show every submodule: absent, right, at another commit, edited
///
/// Asks no network. `right` and `other` are the blank and the `+` of `git submodule status`, `absent` is its `-`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git submodules status
  cargo xtask git submodules status --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    submodules: Vec<Row>,
}

impl Args {
    /// Prints the list.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let submodules: Vec<Row> = submodules::all(&Repository::open()?, Look::Edits)?.iter().map(Row::of).collect();
        let output = globals.output;
        if output.json {
            output.value(&Document { submodules })?;
            return Ok(0);
        }
        let rows = table(&submodules.iter().map(Row::cells).collect::<Vec<_>>());
        rows.iter().try_for_each(|line| output.line(&neutralise(line)))?;
        Ok(0)
    }
}
