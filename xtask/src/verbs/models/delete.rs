//! `models delete`: remove one model and its partial downloads.

use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::size_words;
use crate::{process, question};

/// Remove a model from this machine
///
/// Asks first; `--yes` answers. Without a terminal and without `--yes` it is an error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models delete tinyllama
  cargo xtask models delete tinyllama --yes")]
pub struct Args {
    /// Which
    #[arg(value_name = "MODEL")]
    id: String,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    model: &'a str,
    freed_bytes: u64,
}

impl Args {
    /// Shows what would go, asks, deletes.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let id = shelf.id_of(&self.id)?;
        let folder = shelf.store.directory(&id);
        let usage = shelf.store.disk_usage()?;
        let Some(usage) = usage.models.into_iter().find(|model| model.name == id.as_str()) else {
            return Err(models::store::StoreError::NotInstalled { id }.into());
        };
        let words = format!("{id} ({}, {})", size_words(usage.size_bytes), folder.display());
        if globals.dry_run {
            return process::print_plan(globals.output, &[format!("delete {words}")]);
        }
        if !globals.yes && !question::ask(globals.output, &format!("delete {words}?"))? {
            globals.output.note("nothing was deleted");
            return Ok(1);
        }
        let freed_bytes = shelf.store.delete(&id)?;
        globals.output.event(&Done { event: "done", model: id.as_str(), freed_bytes })?;
        if !globals.output.json {
            globals.output.note(format_args!("deleted {id}, {} freed", size_words(freed_bytes)));
        }
        Ok(0)
    }
}
