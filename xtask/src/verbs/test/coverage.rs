//! `test --coverage`: which lines tests reach, measured by cargo-tarpaulin, with a table and a threshold.
//!
//! What is measured are the libraries that read what others wrote, and those modules of this command that only decide
//! (tidy's list).
//! Programs, devices and networks are proven by other means: what starts them is not counted here.

mod tally;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{MODEL_VARIABLE, Tier, needs, provide};
use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, find_on_path, print_plan};
use crate::{cargo, interrupt, workspace};
use tally::{CRATES, Lines, Part, read, tally};

/// The program. Its engine is the compiler's own instrumentation, read without LLVM's tools.
const PROGRAM: &str = "cargo-tarpaulin";
/// Plugins of the compiler count their lines too, and leave the counts where it runs.
const OF_PLUGINS: &str = "build_rs_cov.profraw";
/// Known to work with what is asked of it here.
const VERSION: &str = "0.37.5";

#[derive(Serialize)]
struct Counted {
    event: &'static str,
    parts: Vec<Part>,
    total: Lines,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    least_percent: u64,
}

/// Measures, prints a line a part, and fails below the threshold.
///
/// # Errors
/// The program is missing and may not be installed, a test failed, or too few lines are reached.
pub fn run(globals: &Globals) -> Result<u8, Failure> {
    let (root, output) = (workspace::require()?, globals.output);
    if globals.dry_run {
        let calls = selections().map(|(name, words)| measure(&root, &folder(&root, name), &words).to_string());
        return print_plan(output, &calls);
    }
    interrupt::watch()?;
    let search_path = provide_program(globals, &root)?;
    let provided = provide(globals, &[Tier::Unit, Tier::Integration])?;
    let mut measured = Vec::new();
    for (name, words) in selections() {
        let folder = folder(&root, name);
        let call = measure(&root, &folder, &words).env(needs::MISSING_VARIABLE, provided.missing.variable());
        let call = provided.model.iter().fold(call, |call, model| call.env(MODEL_VARIABLE, model));
        let call = search_path.iter().fold(call, |call, path| call.env("PATH", path));
        measured.push(read(&run_measured(output, &root, &folder, &call)?, &root)?);
    }
    let [libraries, command] = measured.as_slice() else { return Err(Failure::new("a measurement is missing")) };
    conclude(output, tally(libraries, command))
}

/// The report of a measurement. Tests that limit time or memory may fail under it, which is said and no verdict: lines
/// are counted here, and tests are judged by their tiers.
fn run_measured(output: Output, root: &Path, folder: &Path, call: &Call) -> Result<String, Failure> {
    fs_err::create_dir_all(folder)?;
    let report = folder.join("tarpaulin-report.json");
    let _there_is_none = std::fs::remove_file(&report);
    output.command(call);
    let ended = call.run_to_stderr(Group::Own);
    let _there_is_none = std::fs::remove_file(root.join(OF_PLUGINS));
    let code = ended?;
    if code != 0 && !report.exists() {
        return Err(call.failed(code).hint("cargo xtask test all"));
    }
    if code != 0 {
        output.warning("a test failed while lines were counted; `cargo xtask test all` says whether it fails without");
    }
    Ok(fs_err::read_to_string(report)?)
}

fn conclude(output: Output, parts: Vec<Part>) -> Result<u8, Failure> {
    let total = parts.iter().fold(Lines::default(), |sum, part| sum.plus(part.lines));
    let row = |name: &str, lines: Lines| {
        vec![name.to_owned(), format!("{} of {} lines", lines.reached, lines.all), lines.percent()]
    };
    let rows = parts.iter().map(|part| row(part.name, part.lines)).chain([row("total", total)]);
    if !output.json {
        output.table(&rows.collect::<Vec<_>>())?;
    }
    let short: Vec<String> = parts
        .iter()
        .filter(|part| !part.lines.are_enough())
        .map(|part| format!("{}: {}, most in {}", part.name, part.lines.percent(), part.gaps.join(", ")))
        .collect();
    output.event(&Counted { event: "coverage", parts, total })?;
    if short.is_empty() {
        output.event(&Done { event: "done", least_percent: tally::LEAST_PERCENT })?;
        return Ok(0);
    }
    Err(Failure::new(format!("tests reach less than {} % of the lines", tally::LEAST_PERCENT)).known(short))
}

/// Libraries by all their tests; this command by its unit tests alone, because its others look at processes from outside.
fn selections() -> [(&'static str, Vec<&'static str>); 2] {
    let crates = CRATES.iter().flat_map(|name| ["--package", name]);
    let libraries = ["--lib", "--bins", "--tests"].into_iter().chain(crates).collect();
    [("libraries", libraries), ("command", vec!["--bins", "--package", "xtask"])]
}

/// Where the report of a selection stays, to be looked into.
fn folder(root: &Path, name: &str) -> PathBuf {
    workspace::output(root, "coverage").join(name)
}

fn measure(root: &Path, report: &Path, selection: &[&str]) -> Call {
    let call = cargo::call(root).args(["tarpaulin", "--engine", "llvm", "--locked", "--skip-clean", "--no-fail-fast"]);
    // A test that says nothing for so long has hung; one of gigabytes takes a minute where lines are counted.
    let call = call.args(["--timeout", "600", "--implicit-test-threads"]);
    // Instrumented, so never in the way of other builds.
    let call = call.args(["--target-dir".as_ref(), workspace::output(root, "coverage").as_os_str()]);
    call.args(["--out", "json", "--output-dir"]).args([report]).args(selection)
}

/// The search path that has the program on it, if that is not the one there is. Installed into this user's cache where
/// nobody minds: in CI or with `--yes`.
fn provide_program(globals: &Globals, root: &Path) -> Result<Option<std::ffi::OsString>, Failure> {
    if find_on_path(PROGRAM, &[]).is_some() {
        return Ok(None);
    }
    let tools = Shelf::open(globals)?.places.cache.path.join("tools");
    let folder = tools.join("bin");
    if !folder.join(PROGRAM).is_file() {
        if !(globals.yes || needs::is_ci()) {
            let failure = Failure::new(format!("`{PROGRAM}` is not installed"));
            return Err(failure.hint("cargo xtask test --coverage --yes"));
        }
        let call =
            cargo::call(root).args(["install", PROGRAM, "--version", VERSION, "--locked", "--root"]).args([&tools]);
        globals.output.command(&call);
        let code = call.run_to_stderr(Group::Own)?;
        if code != 0 {
            return Err(call.failed(code));
        }
    }
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = [folder].into_iter().chain(std::env::split_paths(&others)).collect();
    Ok(Some(std::env::join_paths(all).map_err(anyhow::Error::from)?))
}
