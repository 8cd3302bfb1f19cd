//! `git submodules list`: what is declared.

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look, Submodule};

/// List the submodules: name, folder, address, commit
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git submodules list
  cargo xtask git submodules list --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    submodules: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    path: String,
    url: String,
    shallow: bool,
    commit: Option<String>,
    present: bool,
}

impl Args {
    /// Prints the list.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let submodules: Vec<Entry> = submodules::all(&Repository::open()?, Look::Commits)?.iter().map(entry).collect();
        let output = globals.output;
        if output.json {
            output.value(&Document { submodules })?;
            return Ok(0);
        }
        if submodules.is_empty() {
            output.note("this checkout declares no submodules");
            return Ok(0);
        }
        let mut rows = vec![["NAME", "FOLDER", "HERE", "COMMIT", "ADDRESS"].map(str::to_owned).to_vec()];
        rows.extend(submodules.iter().map(|entry| {
            let here = if entry.present { "yes" } else { "no" };
            let commit = entry.commit.as_ref().map_or("-", |commit| &commit[..10]);
            vec![entry.name.clone(), entry.path.clone(), here.to_owned(), commit.to_owned(), entry.url.clone()]
        }));
        output.table(&rows)?;
        Ok(0)
    }
}

fn entry(submodule: &Submodule) -> Entry {
    Entry {
        name: submodule.name().to_owned(),
        path: submodule.declared.path.as_str().to_owned(),
        url: submodule.declared.address.as_str().to_owned(),
        shallow: submodule.declared.is_shallow,
        commit: submodule.pinned.as_ref().map(|commit| commit.as_str().to_owned()),
        present: submodule.is_here(),
    }
}
