//! `models disk-usage`: what the models take.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{size_words, table};

/// Show the space that models take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models disk-usage")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    models: Vec<Row>,
    total_bytes: u64,
    free_bytes: u64,
    path: PathBuf,
}

#[derive(Serialize)]
struct Row {
    name: String,
    size_bytes: u64,
    installed: bool,
}

impl Args {
    /// Prints each folder, the sum and what is left.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let usage = Shelf::open(globals)?.store.disk_usage()?;
        let output = globals.output;
        let row = |model: models::store::ModelUsage| Row {
            name: model.name,
            size_bytes: model.size_bytes,
            installed: model.installed,
        };
        let models: Vec<Row> = usage.models.into_iter().map(row).collect();
        let (total_bytes, free_bytes, path) = (usage.total_bytes, usage.free_bytes, usage.root);
        if output.json {
            output.value(&Document { models, total_bytes, free_bytes, path })?;
            return Ok(0);
        }
        let mut rows = Vec::new();
        for model in models {
            let remark = if model.installed { String::new() } else { String::from("unfinished") };
            rows.push(vec![size_words(model.size_bytes), model.name, remark]);
        }
        rows.push(vec![size_words(total_bytes), String::from("all models"), String::new()]);
        rows.push(vec![size_words(free_bytes), String::from("free"), path.display().to_string()]);
        table(&rows).iter().try_for_each(|line| output.line(line))?;
        Ok(0)
    }
}
