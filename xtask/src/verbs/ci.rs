//! `ci`: word for word what CI runs.

use std::path::Path;
use std::time::{Duration, Instant};

use protocol::identifiers::Backend;
use serde::Serialize;

use super::test::types::TypeCheck;
use super::{docs, test, tidy};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::process::{Group, print_plan};
use crate::{cargo, interrupt, workspace};

/// Run everything that CI runs
///
/// Formatting, clippy, the types of what is compiled for cuda or metal only, tidy, generated pages, all tests. Goes on after a failure and reports every step at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask ci
  cargo xtask ci --json")]
pub struct Args {}

/// One step.
enum Step {
    Cargo(&'static [&'static str]),
    Types(Backend),
    Tidy,
    Docs,
    Tests,
}

const STEPS: [(&str, Step); 7] = [
    ("fmt", Step::Cargo(&["fmt", "--all", "--check"])),
    ("clippy", Step::Cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    ("cuda", Step::Types(Backend::Cuda)),
    ("metal", Step::Types(Backend::Metal)),
    ("tidy", Step::Tidy),
    ("docs", Step::Docs),
    ("test", Step::Tests),
];

#[derive(Serialize)]
struct Done {
    event: &'static str,
    steps: Vec<Line>,
}

#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    #[serde(flatten)]
    step: &'a Line,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    passed: bool,
    seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Step {
    fn words(&self, root: &Path) -> Result<String, Failure> {
        Ok(match self {
            Step::Cargo(arguments) => cargo::call(root).args(*arguments).to_string(),
            Step::Types(backend) => TypeCheck::plan(root, *backend)?.call.to_string(),
            Step::Tidy => String::from("cargo xtask tidy"),
            Step::Docs => String::from("cargo xtask docs --check"),
            Step::Tests => String::from("cargo xtask test all"),
        })
    }

    fn run(&self, root: &Path, globals: &Globals) -> Result<(), Failure> {
        let ended = match self {
            Step::Cargo(arguments) => cargo::call(root).args(*arguments).run_beside(globals.output, Group::Own)?,
            Step::Types(backend) => {
                TypeCheck::plan(root, *backend)?.prepare()?.run_beside(globals.output, Group::Own)?
            }
            Step::Tidy => {
                tidy::print(globals, tidy::findings(root)?)?;
                0
            }
            Step::Docs => docs::Args { check: true }.run(globals)?,
            Step::Tests => test::run_all(globals)?,
        };
        if ended == 0 { Ok(()) } else { Err(Failure::new(format!("exit code {ended}"))) }
    }
}

impl Args {
    /// Runs every step, whatever the others did.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        if globals.dry_run {
            let steps = STEPS.iter().map(|(_, step)| step.words(&root));
            return print_plan(output, &steps.collect::<Result<Vec<_>, _>>()?);
        }
        interrupt::watch()?;
        let inner = Globals { output: output.without_events(), ..globals.clone() };
        let mut steps = Vec::new();
        for (name, step) in &STEPS {
            let started = Instant::now();
            let ended = step.words(&root).and_then(|words| {
                output.command(words);
                step.run(&root, &inner)
            });
            let message = match ended {
                Ok(()) => None,
                Err(failure) if failure.is_interrupt() || failure.is_silent => return Err(failure),
                Err(failure) => {
                    inner.output.failure(&failure);
                    Some(failure.message)
                }
            };
            let step = Line { name, passed: message.is_none(), seconds: whole_seconds(started.elapsed()), message };
            output.event(&Ended { event: "step", step: &step })?;
            steps.push(step);
        }
        let failed: Vec<&str> = steps.iter().filter(|step| !step.passed).map(|step| step.name).collect();
        if !output.json {
            // To standard output: it is the result, and CI keeps that.
            output.table(&steps.iter().map(row).collect::<Vec<_>>())?;
        }
        if !failed.is_empty() {
            return Err(Failure::new(format!("failed: {}", failed.join(", "))));
        }
        output.event(&Done { event: "done", steps })?;
        Ok(0)
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_millis() >= 500)
}

fn row(step: &Line) -> Vec<String> {
    let verdict = if step.passed { "passed" } else { "FAILED" };
    vec![
        step.name.to_owned(),
        verdict.to_owned(),
        format!("{} s", step.seconds),
        step.message.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Done, Line};

    #[test]
    fn the_page_shows_how_it_ends_well() {
        let step = Line { name: "fmt", passed: true, seconds: 1, message: None };
        let done = serde_json::to_string(&Done { event: "done", steps: vec![step] }).expect("JSON");
        assert!(crate::workspace::page("docs/json.md").contains(&format!("\n{done}\n```")), "{done}");
    }
}
