//! `dev`: what a machine needs to build and run this. The checks themselves are in `doctor`.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod check;
mod doctor;
mod setup;

/// Look after a machine
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask dev doctor
  cargo xtask dev setup --dry-run
  cargo xtask dev check --json")]
pub enum Verb {
    Doctor(doctor::Args),
    Setup(setup::Args),
    Check(check::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Doctor(args) => args.run(globals),
            Verb::Setup(args) => args.run(globals),
            Verb::Check(args) => args.run(globals),
        }
    }

    /// Whether it asks before it changes the machine.
    pub fn asks(&self) -> bool {
        match self {
            Verb::Setup(_) => true,
            Verb::Doctor(_) | Verb::Check(_) => false,
        }
    }
}
