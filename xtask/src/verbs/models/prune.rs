//! `models prune`: remove what nobody will use, after showing it.

use std::time::SystemTime;

use models::store::StoreError;
use models::store::prune::Prunable;
use protocol::identifiers::ModelId;
use protocol::pool::WorkerList;
use serde::Serialize;

use super::{ask_pool, ask_program, pool_plan};
use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{Output, size_words, table};
use crate::{pool, process, question};

/// What the pool is asked.
const LIST: [&str; 2] = ["worker", "list"];

/// Remove unfinished downloads and models that no catalog knows
///
/// Unfinished means untouched for a day. What a worker serves, what is being fetched and what was installed within the hour
/// is left alone. Shows what would go and asks; `--yes` answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models prune --dry-run
  cargo xtask models prune --yes")]
pub struct Args {}

#[derive(Serialize)]
struct Pruned<'a> {
    event: &'static str,
    model: &'a str,
    reason: &'static str,
    freed_bytes: u64,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    pruned: usize,
    freed_bytes: u64,
}

impl Args {
    /// Lists, asks, removes.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let output = globals.output;
        if globals.dry_run {
            return rehearse(&shelf, output);
        }
        let items = prunable(&shelf, ask_pool(output, &LIST)?)?;
        let sum = items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.size_bytes));
        if !items.is_empty() && !globals.yes {
            for line in table(&items.iter().map(row).collect::<Vec<_>>()) {
                output.note(line);
            }
            if !question::ask(output, &format!("remove these, {} in all?", size_words(sum)))? {
                output.note("nothing was removed");
                return Ok(1);
            }
        }
        let (mut pruned, mut freed_bytes) = (0, 0_u64);
        for item in &items {
            let bytes = match shelf.store.prune(item) {
                Ok(bytes) => bytes,
                // Somebody has begun to fetch it.
                Err(StoreError::Busy { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            pruned += 1;
            freed_bytes = freed_bytes.saturating_add(bytes);
            let (model, reason) = (item.id.as_str(), item.kind.reason());
            output.event(&Pruned { event: "pruned", model, reason, freed_bytes: bytes })?;
            if !output.json {
                output.line(&words(item))?;
            }
        }
        output.event(&Done { event: "done", pruned, freed_bytes })?;
        if !output.json {
            output.note(format_args!("{} freed", size_words(freed_bytes)));
        }
        Ok(0)
    }
}

fn prunable(shelf: &Shelf, workers: WorkerList) -> Result<Vec<Prunable>, Failure> {
    // Even one that has just failed may be started again.
    let in_use: Vec<ModelId> = workers.workers.into_iter().map(|worker| worker.model).collect();
    Ok(shelf.store.prunable(&shelf.catalog, &in_use, SystemTime::now())?)
}

/// A rehearsal builds nothing: where there is no pool to ask yet, the plan says so.
fn rehearse(shelf: &Shelf, output: Output) -> Result<u8, Failure> {
    let plans = pool_plan()?;
    let (before, workers) = match pool::find_built(&plans) {
        Some(pool) => (Vec::new(), ask_program(pool, &LIST)?),
        None => {
            let builds = plans.iter().map(|plan| plan.call.to_string());
            let spare = String::from("spare what a worker of the pool serves, of the following");
            (builds.chain([spare]).collect(), WorkerList { workers: Vec::new() })
        }
    };
    let items = prunable(shelf, workers)?;
    process::print_plan(output, &before.into_iter().chain(items.iter().map(words)).collect::<Vec<_>>())
}

fn row(item: &Prunable) -> Vec<String> {
    vec![size_words(item.size_bytes), item.id.to_string(), item.kind.reason().to_owned()]
}

fn words(item: &Prunable) -> String {
    format!("remove {} ({}, {})", item.id, size_words(item.size_bytes), item.kind.reason())
}
