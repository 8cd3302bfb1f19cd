//! `test`: the tiers, and what they need set up first.

use std::path::Path;

use clap::Subcommand;
use protocol::pool::{WorkerList, WorkerStatus};
use serde::Serialize;

use crate::cli::Globals;
use crate::download::{DEFAULT_MODEL, Shelf};
use crate::failure::Failure;
use crate::process::{Call, Group, print_plan};
use crate::scratch::Scratch;
use crate::{cargo, interrupt, output::Output, workspace};

pub mod cuda;
mod needs;

use needs::Missing;

/// Names the model file that tests run on (`testkit::real_model` reads it).
const MODEL_VARIABLE: &str = "LLORCH_TEST_MODEL";
/// A prompt and the first characters of its greedy continuation, as llama.cpp gives it on the same file. Its smallest
/// lead of a token over the next likeliest is 1.7, so no rounding can change it.
const SMOKE: (&str, &str) = ("1, 2, 3, 4, 5, 6,", " 7, 8, 9, 10, 11, 12, 13");

/// Run the tests
///
/// Sets up what they need: the model `smollm2` in the store, the programs they start, an sshd and login shells (as root, in
/// CI or with --yes; else it names the command). Says which tiers it skipped and
/// why. What follows `--` goes to the test runner: cargo-nextest where it is installed, `cargo test` where not.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask test all
  cargo xtask test unit -- -p gguf
  cargo xtask test integration -- workers")]
pub enum Verb {
    /// Tests beside the code
    #[command(after_help = "Examples:
  cargo xtask test unit
  cargo xtask test unit -- -p gguf")]
    Unit(Extra),
    /// Tests that start programs and servers
    #[command(after_help = "Examples:
  cargo xtask test integration
  cargo xtask test integration -- workers")]
    Integration(Extra),
    /// A real prompt through the whole chain, release build
    #[command(after_help = "Examples:
  cargo xtask test smoke
  cargo xtask test smoke --json")]
    Smoke,
    /// Every tier
    #[command(after_help = "Examples:
  cargo xtask test all
  cargo xtask test all --remote workstation --sync")]
    All(Extra),
}

/// What goes through to the test runner.
#[derive(Debug, clap::Args)]
pub struct Extra {
    /// Arguments of the test runner
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// A kind of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Unit,
    Integration,
    Smoke,
}

/// What runs tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    passed: Vec<&'static str>,
    skipped: Vec<&'static str>,
}

impl Tier {
    const ALL: [Tier; 3] = [Tier::Unit, Tier::Integration, Tier::Smoke];

    fn name(self) -> &'static str {
        match self {
            Tier::Unit => "unit",
            Tier::Integration => "integration",
            Tier::Smoke => "smoke",
        }
    }
}

impl Verb {
    /// Runs what was asked for.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (tiers, extra) = match self {
            Verb::Unit(extra) => (vec![Tier::Unit], extra.arguments),
            Verb::Integration(extra) => (vec![Tier::Integration], extra.arguments),
            Verb::Smoke => (vec![Tier::Smoke], Vec::new()),
            Verb::All(extra) => (Tier::ALL.to_vec(), extra.arguments),
        };
        run_tiers(globals, &tiers, &extra)
    }
}

/// Every tier, as `ci` runs them.
pub fn run_all(globals: &Globals) -> Result<u8, Failure> {
    run_tiers(globals, &Tier::ALL, &[])
}

fn run_tiers(globals: &Globals, tiers: &[Tier], extra: &[String]) -> Result<u8, Failure> {
    let (root, output) = (workspace::require()?, globals.output);
    let runner = if cargo::has_nextest(&root) { Runner::Nextest } else { Runner::Cargo };
    if globals.dry_run {
        let calls = tiers.iter().flat_map(|tier| plan(&root, *tier, runner, extra));
        let steps = [format!("ensure model {DEFAULT_MODEL}")].into_iter().chain(calls.map(|call| call.to_string()));
        return print_plan(output, &steps.collect::<Vec<_>>());
    }
    interrupt::watch()?;
    let shelf = Shelf::open(globals)?;
    let model = shelf.ensure(output, &shelf.require_runnable(DEFAULT_MODEL)?)?.model_file();
    let with_system = tiers.contains(&Tier::Unit) || tiers.contains(&Tier::Integration);
    let missing = if with_system { needs::provide(output, globals.yes)? } else { Missing::default() };
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for tier in tiers {
        interrupt::check()?;
        output.note(format_args!("tests: {}", tier.name()));
        let calls = plan(&root, *tier, runner, extra).into_iter();
        let calls = calls.map(|call| call.env(MODEL_VARIABLE, &model).env(needs::MISSING_VARIABLE, missing.variable()));
        match run_tier(output, &root, calls.collect()) {
            Ok(()) => passed.push(tier.name()),
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(failure) => failed.push((tier.name(), failure)),
        }
    }
    let skipped: Vec<&str> = Tier::ALL.iter().filter(|tier| !tiers.contains(tier)).map(|tier| tier.name()).collect();
    if !skipped.is_empty() {
        output.note(format_args!("skipped: {} (not asked for; `cargo xtask test all` runs them)", skipped.join(", ")));
    }
    if runner == Runner::Cargo {
        output.note("cargo-nextest is not installed: tests ran with `cargo test`");
    }
    if failed.is_empty() {
        output.note(format_args!("passed: {}", passed.join(", ")));
        output.event(&Done { event: "done", passed, skipped })?;
        return Ok(0);
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    let known = failed.iter().map(|(name, failure)| format!("{name}: {}", failure.message)).collect();
    Err(Failure::new(format!("tests failed: {}", names.join(", "))).known(known))
}

/// The calls of a tier, the last of them its tests.
fn plan(root: &Path, tier: Tier, runner: Runner, extra: &[String]) -> Vec<Call> {
    let names_package = extra.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let packages: &[&str] = if names_package { &[] } else { &["--workspace"] };
    let test = || match runner {
        Runner::Nextest => cargo::call(root).args(["nextest", "run", "--locked", "--no-tests=pass"]).args(packages),
        Runner::Cargo => cargo::call(root).args(["test", "--locked", "--no-fail-fast"]).args(packages),
    };
    match tier {
        Tier::Unit => vec![test().args(["--lib", "--bins"]).args(extra)],
        Tier::Integration => {
            // Tests start these programs; built here once, not by the first tests that miss them.
            let programs = cargo::call(root).args(["build", "--locked", "--workspace", "--bins"]);
            vec![programs, test().args(["--test", "*"]).args(extra)]
        }
        Tier::Smoke => {
            vec![cargo::call(root).args(["xtask", "infer", "--json", "--quiet", "--prompt", SMOKE.0]).args([
                "--model",
                DEFAULT_MODEL,
                "--max-tokens",
                "24",
                "--temperature",
                "0",
            ])]
        }
    }
}

fn run_tier(output: Output, root: &Path, calls: Vec<Call>) -> Result<(), Failure> {
    for call in calls {
        output.command(&call);
        if call.to_string().contains(" xtask infer ") {
            smoke(output, root, &call)?;
        } else {
            // nextest reports to standard error, `cargo test` to standard output, and CI keeps the latter; a machine that
            // asked for JSON is told by our events.
            let ended = if output.json { call.run_to_stderr(Group::Own)? } else { call.run_to_stdout(Group::Own)? };
            if ended != 0 {
                return Err(call.failed(ended));
            }
        }
    }
    Ok(())
}

/// Runs the chain with a state folder of its own, checks what came out, and that nothing was left behind.
fn smoke(output: Output, root: &Path, call: &Call) -> Result<(), Failure> {
    let state = Scratch::new("smoke")?;
    let ended = call.clone().env(models::environment::STATE_DIRECTORY, state.path()).capture(Group::Own)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.code != 0 {
        return Err(call.failed(ended.code).known(text.lines().rev().take(3).map(str::to_owned).collect()));
    }
    let last = text.lines().next_back().unwrap_or_default();
    let done: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
    let generated = done["text"].as_str().unwrap_or_default();
    if done["event"] != "done" || generated != SMOKE.1 {
        let known = vec![format!("expected: {:?}", SMOKE.1), format!("got:      {generated:?}")];
        return Err(Failure::new("the generated text is wrong").known(known));
    }
    output.note(format_args!(
        "{}{generated} ({:.1} tokens/s)",
        SMOKE.0,
        done["tokens_per_sec"].as_f64().unwrap_or_default()
    ));
    let pool = cargo::call(root).args(["run", "--quiet", "--locked", "--package", "xtask", "--"]);
    let pool = pool.args(["worker", "list", "--all", "--json"]).env(models::environment::STATE_DIRECTORY, state.path());
    let listed = pool.capture(Group::Own)?;
    let workers: WorkerList = serde_json::from_slice(&listed.stdout)
        .map_err(|error| Failure::new(format!("`worker list --json` cannot be read: {error}")))?;
    let left = workers.workers.iter().filter(|worker| worker.status != WorkerStatus::Stopped || is_running(worker.pid));
    let left: Vec<String> = left.map(|worker| format!("{} is process {}", worker.worker_id, worker.pid)).collect();
    match (left.is_empty(), workers.workers.is_empty()) {
        (true, false) => Ok(()),
        (true, true) => Err(Failure::new("the worker that ran is not on record")),
        (false, _) => Err(Failure::new("a worker was left behind").known(left)),
    }
}

fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Runner, Tier, plan};

    fn check(tier: Tier, runner: Runner, extra: &[&str], expected: &str) {
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        let calls = plan(Path::new("/r"), tier, runner, &extra);
        let last = calls.last().expect("a call").to_string();
        assert!(last.ends_with(expected), "{last}");
    }

    #[test]
    fn tiers_select_their_targets_and_pass_arguments_on() {
        let nextest = "nextest run --locked --no-tests=pass --workspace";
        check(Tier::Unit, Runner::Nextest, &[], &format!("{nextest} --lib --bins"));
        check(Tier::Integration, Runner::Nextest, &["workers"], &format!("{nextest} --test '*' workers"));
        check(Tier::Unit, Runner::Cargo, &["-p", "gguf"], "test --locked --no-fail-fast --lib --bins -p gguf");
        check(Tier::Smoke, Runner::Nextest, &[], "--max-tokens 24 --temperature 0");
    }
}
