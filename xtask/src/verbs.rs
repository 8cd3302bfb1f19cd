//! The list of verbs, in reading order. Each is one file of `verbs/`: its arguments first, its `run` second.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod bench;
mod build;
mod ci;
mod completions;
mod dev;
mod dist;
mod docs;
mod git;
mod infer;
mod install;
mod man;
mod models;
mod remote;
mod test;
mod tidy;
mod uninstall;
mod worker;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Infer(infer::Args),
    #[command(subcommand)]
    Models(models::Verb),
    #[command(subcommand)]
    Worker(worker::Verb),
    #[command(subcommand)]
    Git(git::Verb),
    #[command(subcommand)]
    Build(build::Verb),
    Dist(dist::Args),
    Install(install::Args),
    Uninstall(uninstall::Args),
    Completions(completions::Args),
    Man(man::Args),
    Test(test::Args),
    #[command(subcommand)]
    Bench(bench::Verb),
    Ci(ci::Args),
    Tidy(tidy::Args),
    Docs(docs::Args),
    #[command(subcommand)]
    Remote(remote::Verb),
    #[command(subcommand)]
    Dev(dev::Verb),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Infer(args) => args.run(globals),
            Verb::Models(verb) => verb.run(globals),
            Verb::Worker(verb) => verb.run(globals),
            Verb::Git(verb) => verb.run(globals),
            Verb::Build(verb) => verb.run(globals),
            Verb::Dist(args) => args.run(globals),
            Verb::Install(args) => args.run(globals),
            Verb::Uninstall(args) => args.run(globals),
            Verb::Completions(args) => args.run(globals),
            Verb::Man(args) => args.run(globals),
            Verb::Test(args) => args.run(globals),
            Verb::Bench(verb) => verb.run(globals),
            Verb::Ci(args) => args.run(globals),
            Verb::Tidy(args) => args.run(globals),
            Verb::Docs(args) => args.run(globals),
            Verb::Remote(verb) => verb.run(globals),
            Verb::Dev(verb) => verb.run(globals),
        }
    }

    /// Whether it works in a checkout only; the others run as the installed command too.
    pub fn needs_checkout(&self) -> bool {
        match self {
            Verb::Infer(_) | Verb::Models(_) | Verb::Worker(_) | Verb::Dev(_) => false,
            Verb::Uninstall(_) | Verb::Completions(_) | Verb::Man(_) => false,
            Verb::Install(args) => args.needs_checkout(),
            Verb::Remote(verb) => verb.needs_checkout(),
            Verb::Git(_) | Verb::Build(_) | Verb::Dist(_) | Verb::Test(_) | Verb::Bench(_) => true,
            Verb::Ci(_) | Verb::Tidy(_) | Verb::Docs(_) => true,
        }
    }

    /// Whether it reads standard input.
    pub fn reads_input(&self) -> bool {
        matches!(self, Verb::Remote(verb) if verb.reads_input())
    }

    /// Whether what it makes elsewhere is to be brought here.
    pub fn fetches(&self) -> bool {
        matches!(self, Verb::Build(verb) if verb.fetches())
    }

    /// Whether it asks before it does something that cannot be undone.
    pub fn asks(&self) -> bool {
        match self {
            Verb::Models(verb) => verb.asks(),
            Verb::Git(verb) => verb.asks(),
            Verb::Dev(verb) => verb.asks(),
            Verb::Uninstall(_) => true,
            Verb::Infer(_) | Verb::Worker(_) | Verb::Build(_) | Verb::Install(_) | Verb::Remote(_) => false,
            Verb::Dist(_) | Verb::Completions(_) | Verb::Man(_) | Verb::Docs(_) => false,
            Verb::Test(_) | Verb::Bench(_) | Verb::Ci(_) | Verb::Tidy(_) => false,
        }
    }
}
