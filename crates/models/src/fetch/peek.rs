//! The shape of a model that may not be here: its header is read from the store, or the first few megabytes of it from the
//! hub, before a byte of weights moves.

use std::sync::atomic::AtomicBool;

use gguf::{Gguf, Header};
use protocol::catalog::{CatalogEntry, CatalogFile, EntrySource, OutputType};

use super::hub::Hub;
use super::hub::requester::Patience;
use super::{FetchError, SourceSettings};
use crate::files;
use crate::fit::{Configuration, FitError, Shape, elements};
use crate::store::{Installed, Store};

/// Bytes of a GGUF file asked for at first: the header of a usual vocabulary is a few megabytes.
const FIRST_BYTES: u64 = 1 << 20;
/// Largest beginning that is asked for: the largest vocabularies stay far below.
const MAX_BYTES: u64 = 256 << 20;
/// Largest `config.json` that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Largest safetensors header that is read, the format's own limit.
const MAX_TENSORS_BYTES: u64 = 100 << 20;

/// Why a model's shape cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// Its header cannot be read.
    #[error("the header of `{file}` cannot be used: {reason}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The header does not say enough.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The hub, or the disk.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl PeekError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            PeekError::Header { .. } => Some("fetch it and look: `cargo xtask models download ID`".to_owned()),
            PeekError::Fit(_) => None,
            PeekError::Fetch(error) => error.hint(),
        }
    }
}

/// The shape of `entry`'s model.
///
/// # Errors
/// See [`PeekError`].
pub fn peek(
    entry: &CatalogEntry,
    store: &Store,
    sources: &SourceSettings,
    cancel: &AtomicBool,
) -> Result<Shape, PeekError> {
    let installed = store.get(&entry.id).ok().flatten().filter(Installed::is_complete);
    match (&entry.source, installed) {
        (EntrySource::File(file), Some(installed)) => {
            let opened = Gguf::open(&installed.model_file());
            let opened = opened.map_err(|error| unusable(file, &error.to_string()))?;
            Ok(Shape::of_header(opened.header())?)
        }
        (EntrySource::File(file), None) => {
            let hub = Hub::open(sources)?;
            let remote = Beginnings { hub: &hub, entry, patience: Patience { cancel, briefly: false } };
            Ok(Shape::of_header(&remote.header(file)?)?)
        }
        (EntrySource::Convert { outtype, files, .. }, installed) => {
            let hub = if installed.is_none() { Some(Hub::open(sources)?) } else { None };
            let read = |file: &CatalogFile, bytes: u64| match (&installed, &hub) {
                (Some(installed), _) => {
                    let path = installed.path_of(&file.name);
                    files::read_beginning(&path, bytes).map_err(FetchError::reading(&path))
                }
                (None, Some(hub)) => {
                    Beginnings { hub, entry, patience: Patience { cancel, briefly: false } }.bytes(file, bytes)
                }
                (None, None) => Ok(Vec::new()),
            };
            of_checkpoint(files, *outtype, &read)
        }
    }
}

/// Reads so many bytes of a file's beginning, or all of it if it is shorter.
type Read<'a> = &'a dyn Fn(&CatalogFile, u64) -> Result<Vec<u8>, FetchError>;

fn of_checkpoint(files: &[CatalogFile], outtype: OutputType, read: Read<'_>) -> Result<Shape, PeekError> {
    let named = |name: &str| files.iter().find(|file| file.name.as_str() == name);
    let config =
        named("config.json").ok_or_else(|| PeekError::Fit(FitError::Unsaid { what: "configuration".to_owned() }))?;
    let text = read(config, MAX_CONFIG_BYTES)?;
    let configuration: Configuration =
        serde_json::from_slice(&text).map_err(|error| unusable(config, &error.to_string()))?;
    let mut sum = 0_u64;
    for file in files.iter().filter(|file| file.name.as_str().ends_with(".safetensors")) {
        let length = read(file, 8)?;
        let length = length.try_into().map(u64::from_le_bytes).map_err(|_| unusable(file, "it is too short"))?;
        if length > MAX_TENSORS_BYTES {
            return Err(unusable(file, "its header is longer than the format allows"));
        }
        let header = read(file, 8 + length)?;
        sum = sum.saturating_add(elements(header.get(8..).unwrap_or_default())?);
    }
    let element_bytes = match outtype {
        OutputType::F32 => 4,
        OutputType::F16 | OutputType::Bf16 => 2,
    };
    Ok(configuration.shape(sum, element_bytes)?)
}

/// Beginnings of the entry's files on the hub.
struct Beginnings<'a> {
    hub: &'a Hub<'a>,
    entry: &'a CatalogEntry,
    patience: Patience<'a>,
}

impl Beginnings<'_> {
    fn bytes(&self, file: &CatalogFile, bytes: u64) -> Result<Vec<u8>, FetchError> {
        let at = (&self.entry.repo, &self.entry.revision);
        self.hub.beginning(self.patience, at, (file, bytes)).map(|(beginning, _)| beginning)
    }

    /// The header of a GGUF file: as much of its beginning as it takes, twice as much each time.
    fn header(&self, file: &CatalogFile) -> Result<Header, PeekError> {
        let mut wanted = FIRST_BYTES;
        loop {
            let at = (&self.entry.repo, &self.entry.revision);
            let (beginning, size_bytes) = self.hub.beginning(self.patience, at, (file, wanted))?;
            let error = match Header::parse(&beginning, size_bytes) {
                Ok(header) => return Ok(header),
                Err(error) => error,
            };
            let needed = error.needed_bytes().filter(|needed| *needed <= MAX_BYTES && wanted < size_bytes);
            let Some(needed) = needed else {
                return Err(unusable(file, &error.to_string()));
            };
            wanted = needed.max(wanted.saturating_mul(4)).min(MAX_BYTES);
        }
    }
}

fn unusable(file: &CatalogFile, reason: &str) -> PeekError {
    PeekError::Header { file: file.name.to_string(), reason: reason.to_owned() }
}
