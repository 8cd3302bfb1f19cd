//! `models convert`: a checkpoint to GGUF, in the store or beside it.

use std::path::{Path, PathBuf};

use protocol::catalog::{CatalogEntry, EntrySource};
use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::Globals;
use crate::conversion::{self, Converter, OUTTYPES, Options};
use crate::download::{Board, FileLine, Shelf, Wanted, absolute, file_lines};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::print_plan;

/// Convert a checkpoint to GGUF
///
/// A checkpoint is a model of the catalog that needs it (`gpt2`, `granite`), or a folder with `config.json` and safetensors.
/// The result lies in the store, or where `--output` says. A conversion that was interrupted goes on; the file has its name
/// only when every tensor was read back. `models download` does this by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models convert gpt2
  cargo xtask models convert granite --outtype q4_k_m
  cargo xtask models convert ./my-checkpoint --outtype f16 --output my-model.gguf")]
pub struct Args {
    /// Which
    #[arg(value_name = "MODEL")]
    model: String,
    /// How matrices are stored; `auto` is what the checkpoint has (default: the catalog's word, else `auto`)
    #[arg(long, value_name = "TYPE", value_parser = OUTTYPES)]
    outtype: Option<String>,
    /// Write this file; for a folder, nothing is put into the store
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The model's name in the file
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// The pre-tokenizer, where it is not recognised
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
    /// Whether the file says what it was made from
    #[arg(long, value_name = "WHAT", default_value = "full", value_parser = ["full", "none"])]
    provenance: String,
    /// Take weights that are NaN or infinite
    #[arg(long)]
    allow_nonfinite: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<FileLine>,
}

#[derive(Serialize)]
struct Written {
    event: &'static str,
    path: PathBuf,
    size: u64,
    sha256: String,
}

impl Args {
    /// Fetches what is missing, then converts.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (shelf, output) = (Shelf::open(globals)?, globals.output);
        interrupt::watch()?;
        let options = Options {
            model_name: self.model_name.clone(),
            pre: self.pre.clone(),
            without_provenance: self.provenance == "none",
            allow_nonfinite: self.allow_nonfinite,
        };
        let folder = Path::new(&self.model);
        if let (Some(target), true) = (&self.output, folder.is_dir()) {
            let outtype = self.outtype.as_deref().unwrap_or("auto");
            return self.beside_the_store((folder, outtype, target), globals, &options);
        }
        let mut sources = shelf.sources()?;
        let resolved = shelf.resolve(&self.model, &sources)?;
        sources.local = resolved.local;
        let entry = resolved.entry;
        let outtype = self.outtype.clone().map_or_else(|| outtype_of(&entry), Ok)?;
        if globals.dry_run {
            let build = conversion::plan()?.map(|plan| plan.call.to_string());
            let steps = [format!("ensure checkpoint {}", entry.id), format!("convert {} to {outtype}", entry.id)];
            return print_plan(output, &build.into_iter().chain(steps).collect::<Vec<_>>());
        }
        let wanted = Wanted { entry, sources, force: false };
        let installed = shelf.download(&wanted, &Board::new(output, std::slice::from_ref(&wanted)))?;
        let converter = Converter::find(output)?;
        if let Some(target) = &self.output {
            let paths = (installed.directory.as_path(), outtype.as_str(), absolute(target));
            let converted = converter.convert_to_file((paths.0, paths.1, &paths.2), &options)?;
            return finish(globals, converted);
        }
        let installed = converter.convert_in_store(&shelf.store, (&installed, &outtype), &options)?;
        if !output.json {
            output.line(&installed.model_file().display().to_string())?;
        }
        output.event(&Done { event: "done", files: file_lines(&installed) })?;
        Ok(0)
    }

    fn beside_the_store(
        &self,
        (folder, outtype, target): (&Path, &str, &Path),
        globals: &Globals,
        options: &Options,
    ) -> Result<u8, Failure> {
        if globals.dry_run {
            let build = conversion::plan()?.map(|plan| plan.call.to_string());
            let step = format!("convert {} to {}", folder.display(), target.display());
            return print_plan(globals.output, &build.into_iter().chain([step]).collect::<Vec<_>>());
        }
        let converter = Converter::find(globals.output)?;
        let converted = converter.convert_to_file((&absolute(folder), outtype, &absolute(target)), options)?;
        finish(globals, converted)
    }
}

fn finish(globals: &Globals, converted: conversion::Converted) -> Result<u8, Failure> {
    let conversion::Converted { path, size_bytes, sha256 } = converted;
    if !globals.output.json {
        globals.output.line(&path.display().to_string())?;
    }
    globals.output.event(&Written { event: "done", path, size: size_bytes, sha256: sha256.hex() })?;
    Ok(0)
}

/// The catalog's word.
pub fn outtype_of(entry: &CatalogEntry) -> Result<String, Failure> {
    match &entry.source {
        EntrySource::Convert { outtype, .. } => Ok(outtype.name().to_owned()),
        EntrySource::File(_) => {
            let message = format!("model `{}` is GGUF already: there is nothing to convert", entry.id);
            Err(Failure::coded(ErrorCode::InvalidParams, message)
                .hint("choose a checkpoint with `cargo xtask models catalog`, or name a folder"))
        }
    }
}
