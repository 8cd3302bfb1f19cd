//! `models download`: fetch, verify, install.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::Globals;
use crate::download::{FileLine, Options, Shelf, file_lines};
use crate::failure::Failure;
use crate::{interrupt, process};

/// Fetch models and verify every byte
///
/// Prints the path of each model. What an interrupted download fetched is kept and counts for the next one. A model that
/// is here already is not fetched again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models download smollm2
  cargo xtask models download qwen tinyllama --json
  cargo xtask models download smollm2 --from ./SmolLM2-135M-Instruct.Q4_1.gguf")]
pub struct Args {
    /// Which
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Fetch again although they are here
    #[arg(long)]
    force: bool,
    /// Import from a file, or from the folder that holds the model's files, and from nowhere else
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<FileLine>,
}

impl Args {
    /// Fetches one after the other; unknown names fail before anything is fetched.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        if self.from.is_some() && self.ids.len() != 1 {
            return Err(Failure::usage("`--from` imports one model at a time"));
        }
        let shelf = Shelf::open(globals)?;
        let entries = self.ids.iter().map(|id| shelf.catalog.find(id)).collect::<Result<Vec<_>, _>>()?;
        if globals.dry_run {
            let step = |entry: &&protocol::catalog::CatalogEntry| {
                let origin = self
                    .from
                    .as_ref()
                    .map_or_else(|| format!("{}@{}", entry.repo, entry.revision), |from| from.display().to_string());
                format!("download {} from {origin} to {}", entry.id, shelf.store.directory(&entry.id).display())
            };
            return process::print_plan(globals.output, &entries.iter().map(step).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let options = Options { force: self.force, from: self.from };
        let mut files = Vec::new();
        for entry in entries {
            let installed = shelf.download(globals.output, entry, &options)?;
            files.extend(file_lines(&installed));
            if !globals.output.json {
                globals.output.line(&installed.model_file().display().to_string())?;
            }
        }
        globals.output.event(&Done { event: "done", files })?;
        Ok(0)
    }
}
