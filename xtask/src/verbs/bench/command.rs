//! `bench command`: what starting the command costs, beside cargo and beside nothing.

use models::environment;

use super::comparison::{self, Table};
use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::process::{Call, find_on_path, print_plan};
use crate::scratch::Scratch;
use crate::side_by_side::Contender;
use crate::{cargo, interrupt, workspace};

/// Start the command, beside an empty program of the same workspace
///
/// `cargo xtask` with nothing to build, completion, a build with nothing to do beside cargo's own, and `dev doctor` (as root
/// also with the network down). Everything is built before it is measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench command
  cargo xtask bench command --rounds 21 --json")]
pub struct Args {
    /// Counted rounds
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=999))]
    rounds: u32,
}

impl Args {
    /// Builds, measures, prints.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let marks = Marks::read(&root)?;
        let command = binaries::plan(&root, Product::Command, Profile::Release, &marks);
        let worker =
            binaries::plan(&root, Product::Worker(protocol::identifiers::Backend::Cpu), Profile::Release, &marks);
        if globals.dry_run {
            return print_plan(output, &[command, worker].map(|plan| plan.call.to_string()));
        }
        interrupt::watch()?;
        let llorch = binaries::build(output, &command, Show::Work)?.path;
        binaries::build(output, &worker, Show::Work)?;
        let scratch = Scratch::new("bench-command")?;
        let llorch = Call::new(llorch).dir(scratch.path()).env(environment::HOME, scratch.path());
        let xtask = |words: &[&str]| cargo::call(&root).args(["xtask"]).args(words);
        let empty = ["run", "--quiet", "--locked", "--package", "launcher", "--example", "empty"];
        let completion = llorch.clone().env("LLORCH_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2");
        // What it finds amiss here does not matter.
        let doctor = llorch.clone().args(["dev", "doctor", "--json"]);
        let doctor = doctor.through("sh", &["-c", "\"$0\" \"$@\"; exit 0"]);
        let mut doctors = vec![contender("llorch dev doctor", doctor.clone())];
        if rustix::process::geteuid().is_root() && find_on_path("unshare", &[]).is_some() {
            doctors.push(contender("llorch dev doctor, network down", doctor.through("unshare", &["--net"])));
        }
        let sets = [
            (
                "A verb that does nothing",
                vec![
                    contender("cargo xtask --help", xtask(&["--help"])),
                    contender("cargo run of an empty program", cargo::call(&root).args(empty)),
                    contender("llorch --help", llorch.clone().args(["--help"])),
                ],
            ),
            (
                "Completion of `llorch models `",
                vec![contender("llorch", completion.args(["--", "llorch", "models", ""]))],
            ),
            (
                "A build with nothing to do",
                vec![
                    contender("cargo xtask build worker cpu", xtask(&["build", "worker", "cpu"])),
                    contender("cargo build, the same", worker.call),
                ],
            ),
            ("Checks of this machine", doctors),
        ];
        let rounds = usize::try_from(self.rounds).unwrap_or(usize::MAX);
        let tables: Result<Vec<Table>, Failure> = sets
            .into_iter()
            .map(|(title, contenders)| comparison::compare(output, title.to_owned(), &contenders, rounds))
            .collect();
        comparison::print(output, tables?)
    }
}

fn contender(name: &'static str, call: Call) -> Contender<'static> {
    Contender { name, call, prepare: Box::new(|| Ok(())) }
}
