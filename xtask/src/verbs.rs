//! The list of verbs, in reading order. Each is one file of `verbs/`: its arguments first, its `run` second.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;

mod bench;
mod build;
mod ci;
mod dev;
mod docs;
mod infer;
mod install;
mod models;
mod test;
mod tidy;
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
    Build(build::Verb),
    Install(install::Args),
    #[command(subcommand)]
    Test(test::Verb),
    #[command(subcommand)]
    Bench(bench::Verb),
    Ci(ci::Args),
    Tidy(tidy::Args),
    Docs(docs::Args),
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
            Verb::Build(verb) => verb.run(globals),
            Verb::Install(args) => args.run(globals),
            Verb::Test(verb) => verb.run(globals),
            Verb::Bench(verb) => verb.run(globals),
            Verb::Ci(args) => args.run(globals),
            Verb::Tidy(args) => args.run(globals),
            Verb::Docs(args) => args.run(globals),
            Verb::Dev(verb) => verb.run(globals),
        }
    }
}
