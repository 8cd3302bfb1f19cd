//! Slow lanes: proofs that take too long for every run. They run by name only, never with `all` and never in CI.

use std::path::Path;

use protocol::identifiers::Backend;
use serde::Serialize;

use super::{cuda, types};
use crate::cli::{self, Globals};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, print_plan};
use crate::scratch::Scratch;
use crate::{cargo, interrupt, workspace};

/// What a conversion may take in memory, whatever the model (`crates/convert/tests/memory.rs` has the reason).
const CONVERSION_MIB_MAX: u64 = 128;

/// The program of the lane `conversion`.
const EXAMPLE: &str = "gpt2_full_size";

/// One lane.
#[derive(Debug)]
struct Lane {
    name: &'static str,
    /// What is true when it has passed.
    proves: &'static str,
    plan: fn(&Path) -> Result<Vec<String>, Failure>,
    run: fn(Output, &Path) -> Result<(), Failure>,
}

/// Every lane.
const LANES: &[Lane] = &[
    Lane {
        name: "conversion",
        proves: "a full-size gpt2 becomes every type, checked, within 128 MiB of memory; 3 GB of disk",
        plan: |root| Ok(vec![conversion_build(root).to_string(), format!("run {EXAMPLE}")]),
        run: conversion,
    },
    Lane {
        name: "cuda-check",
        proves: "what is compiled for cuda only has sound types; no compiler of NVIDIA's; `ci` runs it too",
        plan: |root| types::plan(root, Backend::Cuda),
        run: types::check_cuda,
    },
    Lane {
        name: "metal-check",
        proves: "what is compiled for metal only has sound types; Apple's bindings stand in; `ci` runs it too",
        plan: |root| types::plan(root, Backend::Metal),
        run: types::check_metal,
    },
    Lane {
        name: "cuda-link",
        proves: "the cuda worker compiles and links with NVIDIA's compiler from the Python index; no GPU; 20 minutes",
        plan: cuda::plan,
        run: cuda::link,
    },
];

#[derive(Serialize)]
struct Listed {
    event: &'static str,
    lanes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    proves: &'static str,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    lane: &'static str,
}

/// Run a slow lane
///
/// Without a name, lists them. They belong to no tier, and neither `test all` nor `ci` runs one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test lane
  cargo xtask test lane conversion")]
pub struct Args {
    /// Which
    #[arg(value_name = "NAME", value_parser = cli::one_of(LANES.iter().map(|lane| (lane.name, lane))))]
    lane: Option<&'static Lane>,
}

impl Args {
    /// Runs the lane, or lists them.
    ///
    /// # Errors
    /// It failed.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let output = globals.output;
        let Some(lane) = self.lane else { return list(output) };
        let root = workspace::require()?;
        if globals.dry_run {
            return print_plan(output, &(lane.plan)(&root)?);
        }
        interrupt::watch()?;
        (lane.run)(output, &root)?;
        output.note(format_args!("passed: {} ({})", lane.name, lane.proves));
        output.event(&Done { event: "done", lane: lane.name })?;
        Ok(0)
    }
}

fn list(output: Output) -> Result<u8, Failure> {
    if output.json {
        let lanes = LANES.iter().map(|lane| Row { name: lane.name, proves: lane.proves }).collect();
        output.value(&Listed { event: "done", lanes })?;
    } else {
        let rows: Vec<Vec<String>> =
            LANES.iter().map(|lane| vec![lane.name.to_owned(), lane.proves.to_owned()]).collect();
        output.table(&rows)?;
    }
    Ok(0)
}

/// The example that `docs/performance.md` has its figures from. It checks what it has written; the memory is checked here.
fn conversion(output: Output, root: &Path) -> Result<(), Failure> {
    // Beside what is compiled: three gigabytes are too much for many a folder of temporary files.
    let folder = Scratch::at(workspace::output(root, "lanes").join("conversion"))?;
    let build = conversion_build(root);
    output.command(&build);
    let program = cargo::compile(&build, EXAMPLE)?.program;
    let call = Call::new(program).args([folder.path()]);
    output.command(&call);
    let ended = call.capture(Group::Own)?;
    let lines: Vec<String> = ended.text().lines().map(str::to_owned).collect();
    lines.iter().for_each(|line| output.note(line));
    if ended.code != 0 {
        return Err(call.failed(ended.code));
    }
    judge_conversion(&lines)
}

fn conversion_build(root: &Path) -> Call {
    cargo::call(root).args(["build", "--locked", "--release", "--workspace", "--example", EXAMPLE])
}

/// Every type has its line, and none took more memory than a conversion may.
fn judge_conversion(lines: &[String]) -> Result<(), Failure> {
    for wanted in ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "q6_k"] {
        let line = lines.iter().find(|line| line.starts_with(&format!("{wanted}: ")));
        let peak = line.and_then(|line| line.rsplit_once("peak ")?.1.strip_suffix(" MiB")?.parse::<u64>().ok());
        match peak {
            None => return Err(Failure::new(format!("the conversion does not say how `{wanted}` went"))),
            Some(mebibytes) if mebibytes > CONVERSION_MIB_MAX => {
                let message = format!("`{wanted}` took {mebibytes} MiB of memory, {CONVERSION_MIB_MAX} are allowed");
                return Err(Failure::new(message));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{LANES, judge_conversion};

    #[test]
    fn lanes_are_found_by_name_and_others_named() {
        let parse = |name: &str| crate::cli::command("llorch").try_get_matches_from(["llorch", "test", "lane", name]);
        assert!(LANES.iter().all(|lane| parse(lane.name).is_ok()));
        let error = parse("conversoin").expect_err("none of that name");
        assert!(error.exit_code() == 2 && error.to_string().contains("cuda-link"), "{error}");
    }

    #[test]
    fn a_conversion_is_judged_by_every_type_and_its_memory() {
        let line = |name: &str, peak: u64| {
            format!("{name}: 1 bytes, written after 1.28 s, checked and named after 1.57 s, peak {peak} MiB")
        };
        let all = |peak| ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "q6_k"].map(|name| line(name, peak)).to_vec();
        assert!(judge_conversion(&all(128)).is_ok() && judge_conversion(&all(129)).is_err());
        assert!(judge_conversion(&all(56)[..6]).is_err());
    }
}
