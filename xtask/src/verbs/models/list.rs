//! `models list`: what is on this machine.

use std::path::PathBuf;

use models::store::{Incomplete, Installed, Listing};
use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::size_words;

/// List the models on this machine
///
/// Downloads that were begun and folders that are damaged are listed too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models list
  cargo xtask models list --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    models: Vec<Row>,
    incomplete: Vec<Partial>,
    faulty: Vec<Damaged>,
    total_bytes: u64,
}

#[derive(Serialize)]
struct Row {
    id: String,
    kind: &'static str,
    source: &'static str,
    size_bytes: u64,
    sha256: String,
    path: PathBuf,
    complete: bool,
}

#[derive(Serialize)]
struct Partial {
    id: String,
    size_bytes: u64,
}

#[derive(Serialize)]
struct Damaged {
    path: PathBuf,
    reason: String,
    hint: String,
}

impl Args {
    /// Prints the store.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let document = document(shelf.store.list()?);
        let output = globals.output;
        if output.json {
            output.value(&document)?;
            return Ok(0);
        }
        for damaged in &document.faulty {
            output.warning(format_args!("`{}`: {}; {}", damaged.path.display(), damaged.reason, damaged.hint));
        }
        if document.models.is_empty() && document.incomplete.is_empty() {
            output.note("no models yet; `cargo xtask models download smollm2` fetches a small one");
            return Ok(0);
        }
        let mut rows = vec![["MODEL", "SIZE", "KIND", "FROM", "PATH"].map(str::to_owned).to_vec()];
        for model in &document.models {
            let path = model.path.display();
            let path = if model.complete { path.to_string() } else { format!("{path} (files are missing)") };
            rows.push(vec![
                model.id.clone(),
                size_words(model.size_bytes),
                model.kind.into(),
                model.source.into(),
                path,
            ]);
        }
        for partial in &document.incomplete {
            let cells = [&partial.id, &size_words(partial.size_bytes), "unfinished", "-", "-"];
            rows.push(cells.map(str::to_owned).to_vec());
        }
        output.table(&rows)?;
        Ok(0)
    }
}

fn document(listing: Listing) -> Document {
    let row = |installed: &Installed| Row {
        id: installed.manifest.id.to_string(),
        kind: installed.manifest.kind.name(),
        source: installed.manifest.source.name(),
        size_bytes: installed.size_bytes(),
        sha256: installed.digest().hex(),
        path: installed.model_file(),
        complete: installed.is_complete(),
    };
    let partial =
        |incomplete: &Incomplete| Partial { id: incomplete.id.to_string(), size_bytes: incomplete.size_bytes };
    let models: Vec<Row> = listing.models.iter().map(row).collect();
    let total_bytes = models.iter().fold(0, |sum: u64, model| sum.saturating_add(model.size_bytes));
    let damaged = |fault: models::store::Faulty| Damaged { path: fault.path, reason: fault.reason, hint: fault.hint };
    Document {
        models,
        incomplete: listing.incomplete.iter().map(partial).collect(),
        faulty: listing.faulty.into_iter().map(damaged).collect(),
        total_bytes,
    }
}
