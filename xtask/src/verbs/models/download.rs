//! `models download`: fetch, verify, install.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use models::hub_cache;
use models::store::Installed;
use protocol::catalog::EntrySource;
use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::Globals;
use crate::conversion::{Converter, Options};
use crate::download::{Board, FileLine, Shelf, Wanted, file_lines};
use crate::failure::Failure;
use crate::output::Output;
use crate::{interrupt, process};

/// Models that are fetched at the same time: while one is being verified or asked for, the other uses the line.
const AT_ONCE: usize = 2;

/// Fetch models and verify every byte
///
/// A model is an id of the catalog, `hf:org/repo[@revision][::file]`, a GGUF file or a folder with `config.json` and
/// safetensors. Prints the path of each. What an interrupted download fetched is kept and counts for the next one. A model
/// that is here already is not fetched again, nor is one that lies in the hub's own cache. A checkpoint is converted to GGUF
/// afterwards. One that fails does not stop the others.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models download smollm2
  cargo xtask models download qwen tinyllama --json
  cargo xtask models download hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF::qwen2.5-0.5b-instruct-q8_0.gguf
  cargo xtask models download smollm2 --hub-cache
  cargo xtask models download smollm2 --from ./SmolLM2-135M-Instruct.Q4_1.gguf")]
pub struct Args {
    /// Which
    #[arg(required = true, value_name = "MODEL")]
    ids: Vec<String>,
    /// Fetch again although they are here
    #[arg(long)]
    force: bool,
    /// Import from a file, or from the folder that holds the model's files, and from nowhere else
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Leave checkpoints as they are
    #[arg(long)]
    no_convert: bool,
    /// Leave them in the hub's own cache too, where its client finds them (`HF_HUB_CACHE`)
    #[arg(long)]
    hub_cache: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<FileLine>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    InHubCache {
        model: &'a str,
        path: PathBuf,
    },
    ModelFailed {
        model: &'a str,
        code: ErrorCode,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    },
}

impl Args {
    /// Fetches them, two at a time; what cannot be meant fails before anything is fetched.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        if self.from.is_some() && self.ids.len() != 1 {
            return Err(Failure::usage("`--from` imports one model at a time"));
        }
        let shelf = Shelf::open(globals)?;
        interrupt::watch()?;
        let wanted = self.wanted(&shelf)?;
        if globals.dry_run {
            let steps: Vec<String> = wanted.iter().map(|wanted| step(&shelf, wanted)).collect();
            return process::print_plan(globals.output, &steps);
        }
        let mut results = fetch_all(&shelf, globals.output, (&wanted, self.hub_cache));
        if !self.no_convert {
            convert_all(&shelf, globals.output, (&wanted, &mut results));
        }
        finish(globals.output, &wanted, results)
    }

    fn wanted(&self, shelf: &Shelf) -> Result<Vec<Wanted>, Failure> {
        let sources = shelf.sources()?;
        let mut wanted: Vec<Wanted> = Vec::new();
        for id in &self.ids {
            let resolved = shelf.resolve(id, &sources)?;
            // The same model under two names is one model.
            if wanted.iter().any(|other| other.entry.id == resolved.entry.id) {
                continue;
            }
            let mut sources = sources.clone();
            sources.local = self.from.clone().or(resolved.local);
            wanted.push(Wanted { entry: resolved.entry, sources, force: self.force });
        }
        Ok(wanted)
    }
}

fn step(shelf: &Shelf, wanted: &Wanted) -> String {
    let entry = &wanted.entry;
    let origin = wanted.sources.local.as_ref();
    let origin = origin.map_or_else(|| format!("{}@{}", entry.repo, entry.revision), |path| path.display().to_string());
    format!("download {} from {origin} to {}", entry.id, shelf.store.directory(&entry.id).display())
}

/// The result of each, in the order they were named.
fn fetch_all(
    shelf: &Shelf,
    output: Output,
    (wanted, to_hub_cache): (&[Wanted], bool),
) -> Vec<Result<Installed, Failure>> {
    let board = Board::new(output, wanted);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Installed, Failure>>>> = wanted.iter().map(|_| Mutex::default()).collect();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(wanted), Some(place)) = (wanted.get(index), results.get(index)) else { return };
            let result = fetch_one(shelf, wanted, (&board, output, to_hub_cache));
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        // The first of them is this thread.
        (1..AT_ONCE.min(wanted.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let taken = results.into_iter().map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner));
    taken.map(|result| result.unwrap_or_else(|| Err(Failure::interrupted()))).collect()
}

fn fetch_one(
    shelf: &Shelf,
    wanted: &Wanted,
    (board, output, to_hub_cache): (&Board, Output, bool),
) -> Result<Installed, Failure> {
    interrupt::check()?;
    let model = wanted.entry.id.as_str();
    let fetched = shelf.download(wanted, board).and_then(|installed| {
        if to_hub_cache {
            let cache = wanted.sources.hub_cache.as_ref();
            let cache = cache.ok_or_else(|| {
                Failure::new("the hub's cache is not known").hint("set `HF_HUB_CACHE` to a folder, or `HOME`")
            })?;
            let path = hub_cache::put(&installed, cache, interrupt::flag())?;
            output.event(&Told::InHubCache { model, path })?;
        }
        Ok(installed)
    });
    if let Err(failure) = &fetched
        && !failure.is_interrupt()
    {
        let (code, message, hint) = (failure.code, failure.message.as_str(), failure.hint.as_deref());
        output.event(&Told::ModelFailed { model, code, message, hint })?;
    }
    fetched
}

/// Converts what is a checkpoint and was not converted before, one after the other: each uses every processor.
fn convert_all(shelf: &Shelf, output: Output, (wanted, results): (&[Wanted], &mut [Result<Installed, Failure>])) {
    let mut converter = None;
    for (wanted, result) in wanted.iter().zip(results) {
        let (Ok(installed), EntrySource::Convert { outtype, .. }) = (&*result, &wanted.entry.source) else { continue };
        if installed.is_gguf() {
            continue;
        }
        let converter = match &converter {
            Some(found) => found,
            None => match Converter::find(output) {
                Ok(found) => converter.insert(found),
                Err(failure) => {
                    *result = Err(failure);
                    continue;
                }
            },
        };
        *result = converter.convert_in_store(&shelf.store, (installed, outtype.name()), &Options::default());
    }
}

/// Prints what came, then fails with what did not.
fn finish(output: Output, wanted: &[Wanted], results: Vec<Result<Installed, Failure>>) -> Result<u8, Failure> {
    let mut files = Vec::new();
    let mut failures: Vec<(&str, Failure)> = Vec::new();
    for (wanted, result) in wanted.iter().zip(results) {
        match result {
            Ok(installed) => {
                files.extend(file_lines(&installed));
                if !output.json {
                    output.line(&installed.model_file().display().to_string())?;
                }
            }
            Err(failure) => failures.push((wanted.entry.id.as_str(), failure)),
        }
    }
    if let Some(at) = failures.iter().position(|(_, failure)| failure.is_interrupt()) {
        return Err(failures.swap_remove(at).1);
    }
    match failures.len() {
        0 => {
            output.event(&Done { event: "done", files })?;
            Ok(0)
        }
        1 if wanted.len() == 1 => Err(failures.swap_remove(0).1),
        count => {
            let line = |(id, failure): &(&str, Failure)| match &failure.hint {
                Some(hint) => format!("{id}: {}; {hint}", failure.message),
                None => format!("{id}: {}", failure.message),
            };
            let message = format!("{count} of {} models could not be fetched", wanted.len());
            Err(Failure::new(message).known(failures.iter().map(line).collect()))
        }
    }
}
