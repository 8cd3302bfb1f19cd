//! `bench`: our programs beside those that people use today, in one run.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod build;
mod command;
mod comparison;
mod models;
mod remote;
mod submodules;

/// Measure beside other programs
///
/// Prints a table with medians and ratios. Nothing is judged: the figures in docs/ were made with these commands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask bench models
  cargo xtask bench models --rounds 9 --size-mib 2048")]
pub enum Verb {
    Build(build::Args),
    Command(command::Args),
    Models(models::Args),
    Remote(remote::Args),
    Submodules(submodules::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Build(args) => args.run(globals),
            Verb::Command(args) => args.run(globals),
            Verb::Models(args) => args.run(globals),
            Verb::Remote(args) => args.run(globals),
            Verb::Submodules(args) => args.run(globals),
        }
    }
}
