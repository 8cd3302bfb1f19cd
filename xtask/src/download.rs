//! The models of this user as verbs see them, and fetching one with its progress shown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use models::catalog::Catalog;
use models::fetch::{self, DownloadRequest, Event, SourceSettings};
use models::places::Places;
use models::store::{Installed, Store};
use protocol::catalog::{CatalogEntry, EntrySource, FileName};
use protocol::error::ErrorCode;
use protocol::identifiers::ModelId;
use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, size_words, spinner_style, transfer_style};

/// Between two progress events with `--json`: a person or a program can follow no more.
const EVENT_PERIOD: Duration = Duration::from_millis(100);

/// Catalog, store and places, resolved once.
#[derive(Debug)]
pub struct Shelf {
    /// What can be had.
    pub catalog: Catalog,
    /// What is here.
    pub store: Store,
    /// Where things are.
    pub places: Places,
}

/// How to fetch.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Again, although it is here.
    pub force: bool,
    /// From this path and nowhere else.
    pub from: Option<PathBuf>,
}

impl Shelf {
    /// Resolves catalog and store; makes nothing.
    pub fn open(globals: &Globals) -> Result<Self, Failure> {
        let places = Places::from_environment()?;
        let catalog = match &globals.catalog {
            Some(path) => Catalog::load(path)?,
            None => Catalog::built_in()?,
        };
        Ok(Self { catalog, store: Store::open(places.models())?, places })
    }

    /// The id that `name` stands for: of a catalog entry, or of a model that is here and in no catalog any more.
    pub fn id_of(&self, name: &str) -> Result<ModelId, Failure> {
        let unknown = match self.catalog.find(name) {
            Ok(entry) => return Ok(entry.id.clone()),
            Err(unknown) => unknown,
        };
        match name.parse::<ModelId>() {
            Ok(id) if self.store.directory(&id).symlink_metadata().is_ok() => Ok(id),
            _ => Err(unknown.into()),
        }
    }

    /// Refuses what no worker of this version can load, before anything is fetched or built.
    pub fn require_runnable(&self, name: &str) -> Result<ModelId, Failure> {
        let id = self.id_of(name)?;
        let entry = self.catalog.find(id.as_str()).ok();
        match entry.map(|entry| &entry.source) {
            Some(EntrySource::Convert { .. }) => {
                let message = format!("model `{id}` is a checkpoint and must be converted before it runs");
                let hint = "this version runs GGUF files only; choose another with `cargo xtask models catalog`";
                Err(Failure::coded(ErrorCode::ModelUnsupported, message).hint(hint))
            }
            Some(EntrySource::File(_)) | None => Ok(id),
        }
    }

    /// The model, fetched first if it is not here.
    pub fn ensure(&self, output: Output, id: &ModelId) -> Result<Installed, Failure> {
        let Ok(entry) = self.catalog.find(id.as_str()) else {
            return Ok(self.store.require(id)?);
        };
        match self.store.get(id) {
            Ok(Some(installed)) if installed.satisfies(entry) && installed.is_complete() => Ok(installed),
            // A damaged one is fetched again: the download looks at what is there.
            Ok(_) | Err(_) => self.download(output, entry, &Options::default()),
        }
    }

    /// Fetches a model. Ctrl-C keeps what was fetched for the next run.
    pub fn download(&self, output: Output, entry: &CatalogEntry, options: &Options) -> Result<Installed, Failure> {
        let mut sources = SourceSettings::from_environment(&self.places.cache.path)?;
        sources.local.clone_from(&options.from);
        let request = DownloadRequest { entry, store: &self.store, sources: &sources, force: options.force };
        let mut shown = Shown::new(output, entry);
        let installed = fetch::download(&request, &mut |event| shown.show(event), interrupt::flag());
        shown.bar.finish_and_clear();
        Ok(installed?)
    }
}

/// The progress of one model, on a terminal as a bar, with `--json` as events, else not at all.
struct Shown {
    output: Output,
    model: String,
    bar: ProgressBar,
    next_event: Instant,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    AlreadyInstalled { model: &'a str },
    Waiting { model: &'a str, bytes: u64 },
    Resolving { model: &'a str, source: String },
    SourceFailed { model: &'a str, source: String, reason: &'a str },
    Started { model: &'a str, file: &'a FileName, total_bytes: Option<u64>, resumed_bytes: u64 },
    Progress { model: &'a str, bytes: u64 },
    Retrying { model: &'a str, delay_ms: u128, reason: &'a str },
    Verifying { model: &'a str, file: &'a FileName },
    FileFinished { model: &'a str, file: &'a FileName },
    Installed { model: &'a str },
}

impl Shown {
    fn new(output: Output, entry: &CatalogEntry) -> Self {
        Self { output, model: entry.id.to_string(), bar: output.progress(), next_event: Instant::now() }
    }

    fn show(&mut self, event: Event) {
        self.draw(&event);
        let model = self.model.as_str();
        let line = match &event {
            Event::AlreadyInstalled => Line::AlreadyInstalled { model },
            Event::Waiting { bytes } => Line::Waiting { model, bytes: *bytes },
            Event::Resolving { source } => Line::Resolving { model, source: source.to_string() },
            Event::SourceFailed { source, reason, .. } => {
                Line::SourceFailed { model, source: source.to_string(), reason }
            }
            Event::Started { file, total_bytes, resumed_bytes } => {
                Line::Started { model, file, total_bytes: *total_bytes, resumed_bytes: *resumed_bytes }
            }
            Event::Progress { bytes } => {
                if Instant::now() < self.next_event {
                    return;
                }
                self.next_event = Instant::now() + EVENT_PERIOD;
                Line::Progress { model, bytes: *bytes }
            }
            Event::Retrying { delay, reason } => Line::Retrying { model, delay_ms: delay.as_millis(), reason },
            Event::Verifying { file } => Line::Verifying { model, file },
            Event::FileFinished { file } => Line::FileFinished { model, file },
            Event::Finished => Line::Installed { model },
        };
        // A reader that went away is noticed when the result is printed; the download is worth finishing.
        let _nobody_reads = self.output.event(&line);
    }

    fn draw(&self, event: &Event) {
        let say = |text: String| self.bar.suspend(|| self.output.warning(text));
        match event {
            Event::AlreadyInstalled | Event::Finished | Event::FileFinished { .. } => {}
            Event::Waiting { .. } => {
                self.bar.set_message(format!("{}: another process is fetching it, waiting", self.model));
            }
            Event::Resolving { source } => {
                self.bar.set_style(spinner_style());
                self.bar.set_message(format!("{}: asking {source}", self.model));
            }
            // Its hint is for the case that no other source helps, and then the error has it.
            Event::SourceFailed { source, reason, .. } => say(format!("{source}: {reason}")),
            Event::Started { file, total_bytes, resumed_bytes } => {
                if let Some(total_bytes) = total_bytes {
                    self.bar.set_style(transfer_style());
                    self.bar.set_length(*total_bytes);
                }
                self.bar.set_message(format!("{}: {}", self.model, file.base_name()));
                self.bar.set_position(*resumed_bytes);
                // Bytes of an earlier run are no speed of this one.
                self.bar.reset_eta();
            }
            Event::Progress { bytes } => self.bar.set_position(*bytes),
            Event::Retrying { delay, reason } => say(format!("{reason}; trying again in {} s", delay.as_secs().max(1))),
            Event::Verifying { file } => {
                self.bar.set_style(spinner_style());
                self.bar.set_message(format!("{}: verifying {}", self.model, file.base_name()));
            }
        }
    }
}

/// One file of an installed model, as `models download` and `models info` print it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileLine {
    model: ModelId,
    path: PathBuf,
    size: u64,
    sha256: String,
}

impl FileLine {
    /// The line for people.
    pub fn words(&self) -> String {
        format!("{} ({}, sha256 {})", self.path.display(), size_words(self.size), self.sha256)
    }
}

/// The files of an installed model.
pub fn file_lines(installed: &Installed) -> Vec<FileLine> {
    let line = |file: &models::store::manifest::ManifestFile| FileLine {
        model: installed.manifest.id.clone(),
        path: installed.path_of(&file.path),
        size: file.size_bytes,
        sha256: file.sha256.hex(),
    };
    installed.manifest.files.iter().map(line).collect()
}

/// The path, absolute, for messages that are read elsewhere.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
