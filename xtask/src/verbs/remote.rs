//! `remote`: other hosts. Running an ordinary verb there needs none of these: `--remote` is an option of every verb.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod deploy;
mod exec;
mod hosts;
mod setup;
mod sync;

/// Reach other hosts over SSH
///
/// Any verb runs on other hosts with `--remote HOST`, `--remote a,b`, `--remote tag:gpu` or `--remote all`. These verbs are
/// for the hosts themselves. SSH is the system's, with your own configuration, keys and known hosts.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask remote hosts add workstation me@workstation.lan --repo src/llorch
  cargo xtask remote exec workstation -- nvidia-smi
  cargo xtask models list --remote workstation")]
pub enum Verb {
    Exec(exec::Args),
    #[command(subcommand)]
    Hosts(hosts::Verb),
    Sync(sync::Args),
    Setup(setup::Args),
    Deploy(deploy::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Exec(args) => args.run(globals),
            Verb::Hosts(verb) => verb.run(globals),
            Verb::Sync(args) => args.run(globals),
            Verb::Setup(args) => args.run(globals),
            Verb::Deploy(args) => args.run(globals),
        }
    }

    /// Whether it reads standard input.
    pub fn reads_input(&self) -> bool {
        matches!(self, Verb::Exec(_))
    }

    /// Whether it works in a checkout only.
    pub fn needs_checkout(&self) -> bool {
        match self {
            Verb::Exec(_) | Verb::Hosts(_) => false,
            Verb::Sync(_) | Verb::Setup(_) | Verb::Deploy(_) => true,
        }
    }
}
