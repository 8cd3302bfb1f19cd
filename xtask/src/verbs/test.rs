//! `test`: the tiers, and what they need set up first. Which calls a tier is made of is `test/plan.rs`'s.

use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::cli::{self, Globals};
use crate::cuda::{Sight, look};
use crate::doctor::{Scene, Status, examine};
use crate::download::{DEFAULT_MODEL, Shelf};
use crate::failure::Failure;
use crate::process::{Group, print_plan};
use crate::{cargo, interrupt, output::Output, workspace};

mod coverage;
mod cuda;
mod junit;
mod lanes;
mod needs;
mod plan;
mod report;
mod smoke;
pub mod types;

use junit::Report;
use needs::Missing;
use plan::{Asked, Devices, Runner, Tier, obstacle, plan, plan_whole};
use report::{Files, Outcome, Verdict};

/// Names the model file that tests run on (`testkit::real_model` reads it).
const MODEL_VARIABLE: &str = "LLORCH_TEST_MODEL";

/// Run the tests
///
/// Sets up what they need: the model `smollm2` in the store, the programs they start, an sshd and login shells (as root, in
/// CI or with --yes; else it names the command). Says which tiers it skipped and
/// why. What follows `--` goes to the test runner: cargo-nextest where it is installed, `cargo test` where not. Ends with the
/// slowest tests; nextest's reports are JUnit files, `target/tests/TIER.xml`. With --json a line a tier.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  cargo xtask test all
  cargo xtask test unit -- -p gguf
  cargo xtask test integration -- workers
  cargo xtask test --coverage"
)]
pub struct Args {
    /// Instead of a tier: measure which lines tests reach, of the libraries and of this command's decisions; fails below 90 %
    #[arg(long)]
    coverage: bool,
    #[command(subcommand)]
    which: Option<Which>,
}

/// Which tests.
#[derive(Debug, Subcommand)]
enum Which {
    /// Tests beside the code
    #[command(after_help = "Examples:
  cargo xtask test unit
  cargo xtask test unit -- -p gguf")]
    Unit(Extra),
    /// Tests that start programs and servers
    #[command(after_help = "Examples:
  cargo xtask test integration
  cargo xtask test integration --backend cuda
  cargo xtask test integration -- workers")]
    Integration(IntegrationArgs),
    /// A real prompt through the whole chain, release build
    #[command(after_help = "Examples:
  cargo xtask test smoke
  cargo xtask test smoke --backend cuda
  cargo xtask test smoke --json")]
    Smoke(On),
    /// What users do, from a fresh clone to tokens, here and on another host
    #[command(
        name = "e2e",
        after_help = "Examples:
  cargo xtask test e2e
  cargo xtask test e2e -- fresh_clone"
    )]
    EndToEnd(Extra),
    /// Every tier
    #[command(after_help = "Examples:
  cargo xtask test all
  cargo xtask test all --remote workstation --sync")]
    All(IntegrationArgs),
    Lane(lanes::Args),
}

/// Of tiers that start workers.
#[derive(Debug, clap::Args)]
pub struct IntegrationArgs {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    extra: Extra,
}

/// What workers run on.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct On {
    /// What workers run on; without such a device those tiers are skipped
    #[arg(long, value_name = "BACKEND", value_parser = cli::backend(), default_value_t = Backend::Cpu)]
    backend: Backend,
}

/// What goes through to the test runner.
#[derive(Debug, clap::Args)]
pub struct Extra {
    /// Arguments of the test runner
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    passed: Vec<&'static str>,
    skipped: Vec<&'static str>,
}

/// What was set up for the tests.
#[derive(Default)]
struct Provided {
    model: Option<PathBuf>,
    missing: Missing,
}

impl Args {
    /// Runs what was asked for.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match (self.which, self.coverage) {
            (Some(which), false) => which.run(globals),
            (None, true) => coverage::run(globals),
            (Some(_), true) => {
                let failure = Failure::usage("`--coverage` measures what all tests reach together, not a tier");
                Err(failure.hint("cargo xtask test --coverage"))
            }
            (None, false) => Err(Failure::usage("which tests?").hint("cargo xtask test all")),
        }
    }
}

impl Which {
    fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (tiers, backend, extra) = match self {
            Which::Lane(args) => return args.run(globals),
            Which::Unit(extra) => (vec![Tier::Unit], Backend::Cpu, extra.arguments),
            Which::Integration(args) => (vec![Tier::Integration], args.on.backend, args.extra.arguments),
            Which::Smoke(on) => (vec![Tier::Smoke], on.backend, Vec::new()),
            Which::EndToEnd(extra) => (vec![Tier::EndToEnd], Backend::Cpu, extra.arguments),
            Which::All(args) => (Tier::ALL.to_vec(), args.on.backend, args.extra.arguments),
        };
        run_tiers(globals, &tiers, backend, &extra)
    }
}

/// Every tier, as `ci` runs them.
pub fn run_all(globals: &Globals) -> Result<u8, Failure> {
    run_tiers(globals, &Tier::ALL, Backend::Cpu, &[])
}

fn run_tiers(globals: &Globals, tiers: &[Tier], backend: Backend, extra: &[String]) -> Result<u8, Failure> {
    let (root, output) = (workspace::require()?, globals.output);
    let runner = if cargo::has_nextest(&root) { Runner::Nextest } else { Runner::Cargo };
    let asked = Asked { root: &root, runner, backend, extra };
    let devices = output.during("looking for devices", || devices(backend))?;
    if globals.dry_run {
        return print_plan(output, &rehearsal(tiers, &asked, devices));
    }
    interrupt::watch()?;
    let applies = |tier: &&Tier| obstacle(**tier, &asked, devices).is_none();
    let provided = provide(globals, &tiers.iter().filter(applies).copied().collect::<Vec<_>>())?;
    let mut outcomes = Vec::new();
    let mut known = Vec::new();
    for tier in tiers {
        interrupt::check()?;
        let outcome = match obstacle(*tier, &asked, devices) {
            Some(reason) => {
                output.note(format_args!("skipped: {} ({reason})", tier.name()));
                Outcome { tier: *tier, verdict: Verdict::Skipped, reason: Some(reason), seconds: 0.0, report: None }
            }
            None => {
                let (outcome, failure) = run_tier(output, *tier, &asked, &provided)?;
                known.extend(failure.map(|failure| format!("{}: {}", tier.name(), failure.message)));
                outcome
            }
        };
        outcome.tell(output)?;
        outcomes.push(outcome);
    }
    report::print(output, &outcomes)?;
    if runner == Runner::Cargo {
        output.note("cargo-nextest is not installed: tests ran with `cargo test`, which writes no reports");
    }
    // The prompt is put whatever the name is; a runner without reports is believed.
    let chosen = outcomes.iter().filter(|outcome| outcome.tier != Tier::Smoke);
    let counts: Vec<usize> = chosen.filter_map(|outcome| Some(outcome.report.as_ref()?.tests)).collect();
    if !extra.is_empty() && !counts.is_empty() && counts.iter().all(|tests| *tests == 0) {
        let failure = Failure::usage(format!("no test is called by `{}`", extra.join(" ")));
        return Err(failure.hint("cargo nextest list --workspace"));
    }
    conclude(output, &outcomes, known)
}

/// What would be run, and what not.
fn rehearsal(tiers: &[Tier], asked: &Asked, devices: Devices) -> Vec<String> {
    let applies = |tier: &&Tier| obstacle(**tier, asked, devices).is_none();
    let needs_model = tiers.iter().filter(applies).any(|tier| tier.needs_model());
    let model = needs_model.then(|| format!("ensure model {DEFAULT_MODEL}"));
    let steps = tiers.iter().flat_map(|tier| match obstacle(*tier, asked, devices) {
        Some(reason) => vec![format!("skip {} ({reason})", tier.name())],
        None => plan_whole(*tier, asked).iter().map(ToString::to_string).collect(),
    });
    model.into_iter().chain(steps).collect()
}

/// Says what passed and what was not run, and fails if anything failed.
fn conclude(output: Output, outcomes: &[Outcome], known: Vec<String>) -> Result<u8, Failure> {
    let of = |verdict: Verdict| {
        let with = outcomes.iter().filter(move |outcome| outcome.verdict == verdict);
        with.map(|outcome| outcome.tier.name()).collect::<Vec<_>>()
    };
    let is_asked = |tier: &Tier| outcomes.iter().any(|outcome| outcome.tier == *tier);
    let others: Vec<&str> = Tier::ALL.iter().filter(|tier| !is_asked(tier)).map(|tier| tier.name()).collect();
    if !others.is_empty() {
        output.note(format_args!("skipped: {} (not asked for; `cargo xtask test all` runs them)", others.join(", ")));
    }
    let (passed, failed) = (of(Verdict::Passed), of(Verdict::Failed));
    if !failed.is_empty() {
        return Err(Failure::new(format!("tests failed: {}", failed.join(", "))).known(known));
    }
    if !passed.is_empty() {
        output.note(format_args!("passed: {}", passed.join(", ")));
    }
    let skipped = of(Verdict::Skipped).into_iter().chain(others).collect();
    output.event(&Done { event: "done", passed, skipped })?;
    Ok(0)
}

/// Gets what these tiers need beside the toolchain.
fn provide(globals: &Globals, tiers: &[Tier]) -> Result<Provided, Failure> {
    let mut provided = Provided::default();
    if tiers.iter().any(|tier| tier.needs_model()) {
        let shelf = Shelf::open(globals)?;
        let model = shelf.ensure(globals.output, &shelf.require_runnable(DEFAULT_MODEL)?)?;
        provided.model = Some(model.model_file());
    }
    if tiers.iter().any(|tier| tier.needs_system()) {
        provided.missing = needs::provide(globals.output, globals.yes)?;
    }
    Ok(provided)
}

/// What the machine has, as the doctor sees it; nobody is asked for the processor.
fn devices(backend: Backend) -> Result<Devices, Failure> {
    if backend == Backend::Cpu {
        return Ok(Devices::default());
    }
    if let (Backend::Cuda, Sight::Unclear(why)) = (backend, look()) {
        let failure = Failure::new(format!("whether there is a CUDA device cannot be told: {why}"));
        return Err(failure.hint("cargo xtask dev doctor --backend cuda"));
    }
    let checks = examine(Scene::read(&[backend]))?;
    let is_here = |name: &str| checks.iter().any(|check| check.name == name && check.status == Status::Ok);
    Ok(Devices { has_cuda: is_here("gpu"), has_metal: is_here("metal") })
}

/// Runs a tier and says how it ended; an error is what ends the whole run.
fn run_tier(
    output: Output,
    tier: Tier,
    asked: &Asked,
    provided: &Provided,
) -> Result<(Outcome, Option<Failure>), Failure> {
    output.note(format_args!("tests: {}", tier.name()));
    let files = Files::fresh(asked.root, tier)?;
    let started = Instant::now();
    let ended = match tier {
        Tier::Smoke => smoke::run(output, asked),
        Tier::Unit | Tier::Integration | Tier::EndToEnd => run_calls(output, tier, asked, provided),
    };
    let seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let failure = match ended {
        Ok(()) => None,
        Err(failure) if failure.is_interrupt() => return Err(failure),
        Err(failure) => Some(failure),
    };
    let report: Result<Option<Report>, Failure> = match tier {
        Tier::Smoke => files.write_single(seconds, failure.as_ref()).map(Some),
        Tier::Unit | Tier::Integration | Tier::EndToEnd => files.collect(),
    };
    // A report that cannot be read fails its tier, and hides neither the tier's own failure nor the tiers after it.
    let (report, failure) = match report {
        Ok(report) => (report, failure),
        Err(unreadable) => (None, failure.or(Some(unreadable))),
    };
    let verdict = if failure.is_none() { Verdict::Passed } else { Verdict::Failed };
    Ok((Outcome { tier, verdict, reason: None, seconds, report }, failure))
}

fn run_calls(output: Output, tier: Tier, asked: &Asked, provided: &Provided) -> Result<(), Failure> {
    for call in plan(tier, asked) {
        let call = call.env(needs::MISSING_VARIABLE, provided.missing.variable());
        let call = provided.model.iter().fold(call, |call, model| call.env(MODEL_VARIABLE, model));
        output.command(&call);
        // nextest reports to standard error, `cargo test` to standard output, and CI keeps the latter; a machine that
        // asked for JSON is told by our events.
        let ended = if output.json { call.run_to_stderr(Group::Own)? } else { call.run_to_stdout(Group::Own)? };
        if ended != 0 {
            return Err(call.failed(ended));
        }
    }
    Ok(())
}
