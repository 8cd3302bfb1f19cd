//! `models catalog`: every model that is known.

use protocol::catalog::CatalogEntry;
use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::size_words;

/// List every model that is known
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models catalog
  cargo xtask models catalog --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document<'a> {
    catalog: &'a str,
    models: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    entry: &'a CatalogEntry,
    size_bytes: Option<u64>,
    installed: bool,
}

impl Args {
    /// Prints the catalog.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let models = shelf.catalog.entries().iter().map(|entry| {
            let installed =
                shelf.store.get(&entry.id).ok().flatten().is_some_and(|installed| installed.satisfies(entry));
            Row { entry, size_bytes: entry.size_bytes(), installed }
        });
        let models: Vec<Row<'_>> = models.collect();
        if globals.output.json {
            globals.output.value(&Document { catalog: shelf.catalog.label(), models })?;
            return Ok(0);
        }
        let mut rows =
            vec![["MODEL", "SIZE", "ARCHITECTURE", "LICENCE", "HERE", "ALSO CALLED"].map(str::to_owned).to_vec()];
        for row in &models {
            let entry = row.entry;
            let aliases: Vec<&str> = entry.aliases.iter().map(protocol::identifiers::ModelId::as_str).collect();
            rows.push(vec![
                entry.id.to_string(),
                row.size_bytes.map_or_else(|| String::from("?"), size_words),
                entry.architecture.clone(),
                entry.license.clone(),
                String::from(if row.installed { "yes" } else { "-" }),
                aliases.join(", "),
            ]);
        }
        globals.output.table(&rows)?;
        Ok(0)
    }
}
