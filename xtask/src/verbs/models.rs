//! `models`: the catalog, and what of it is on this machine.

use std::path::PathBuf;

use clap::Subcommand;
use serde::de::DeserializeOwned;

use crate::binaries::{self, Plan};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::pool::{self, Needs};
use crate::process::{Call, Group};

mod catalog;
mod convert;
mod delete;
mod disk_usage;
mod download;
mod fit;
mod info;
mod list;
mod lock;
mod prune;
mod verify;

/// Fetch, check and remove models
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask models catalog
  cargo xtask models download smollm2
  cargo xtask models verify")]
pub enum Verb {
    Catalog(catalog::Args),
    List(list::Args),
    Info(info::Args),
    Fit(fit::Args),
    Download(download::Args),
    Verify(verify::Args),
    Convert(convert::Args),
    Lock(lock::Args),
    Delete(delete::Args),
    Prune(prune::Args),
    DiskUsage(disk_usage::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Catalog(args) => args.run(globals),
            Verb::List(args) => args.run(globals),
            Verb::Info(args) => args.run(globals),
            Verb::Fit(args) => args.run(globals),
            Verb::Download(args) => args.run(globals),
            Verb::Convert(args) => args.run(globals),
            Verb::Verify(args) => args.run(globals),
            Verb::Lock(args) => args.run(globals),
            Verb::Delete(args) => args.run(globals),
            Verb::Prune(args) => args.run(globals),
            Verb::DiskUsage(args) => args.run(globals),
        }
    }
}

impl Verb {
    /// Whether it asks before it removes something.
    pub fn asks(&self) -> bool {
        matches!(self, Verb::Delete(_) | Verb::Prune(_))
    }
}

/// What the pool of this machine knows: the document that `words` and `--json` make it print.
fn ask_pool<T: DeserializeOwned>(output: Output, words: &[&str]) -> Result<T, Failure> {
    ask_program(pool::find(output, &pool_plan()?)?, words)
}

/// How the pool is built, where it has to be.
fn pool_plan() -> Result<Vec<Plan>, Failure> {
    pool::plan(Needs { worker: None, profile: binaries::Profile::Release })
}

fn ask_program<T: DeserializeOwned>(pool: PathBuf, words: &[&str]) -> Result<T, Failure> {
    let call = Call::new(pool).args(words).args(["--json"]);
    let ended = call.capture(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code));
    }
    serde_json::from_slice(&ended.stdout)
        .map_err(|error| Failure::new(format!("`{call}` printed no document: {error}")))
}
