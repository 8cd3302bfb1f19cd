//! `models`: the catalog, and what of it is on this machine.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod catalog;
mod delete;
mod disk_usage;
mod download;
mod info;
mod list;
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
    Download(download::Args),
    Verify(verify::Args),
    Delete(delete::Args),
    DiskUsage(disk_usage::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Catalog(args) => args.run(globals),
            Verb::List(args) => args.run(globals),
            Verb::Info(args) => args.run(globals),
            Verb::Download(args) => args.run(globals),
            Verb::Verify(args) => args.run(globals),
            Verb::Delete(args) => args.run(globals),
            Verb::DiskUsage(args) => args.run(globals),
        }
    }
}
