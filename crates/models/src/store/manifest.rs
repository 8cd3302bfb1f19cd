//! `manifest.json`: what a model's folder holds. Written once, after the last file was verified.

use std::io;
use std::path::Path;

use protocol::catalog::{
    CatalogEntry, CatalogFile, CheckpointFormat, Commit, EntrySource, FileName, OutputType, RepoId,
};
use protocol::identifiers::{Digest, ModelId};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::hashing::Sums;
pub use crate::hashing::Waypoint;

/// Name of the file in the model's folder.
pub const MANIFEST_NAME: &str = "manifest.json";
/// The schema this version writes, and the only one it reads.
const SCHEMA: u32 = 1;
/// Largest manifest that is read: thousands of files stay below it.
const MAX_BYTES: u64 = 4 << 20;

/// What a model's folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub schema: u32,
    /// The model; equal to the folder's name.
    pub id: ModelId,
    /// Repository the bytes belong to.
    pub repo: RepoId,
    /// Its commit.
    pub revision: Commit,
    /// What the files are.
    pub kind: ModelKind,
    /// Where the bytes really came from.
    pub source: SourceKind,
    /// The files: what was made here, the newest first, then what was fetched, in the order of the catalog; at least one.
    pub files: Vec<ManifestFile>,
    /// When the last file was verified: milliseconds since 1970, for display only.
    pub completed_at_ms: u64,
}

/// What the files of a model are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// One GGUF file: runs as it is.
    Gguf,
    /// Weights, configuration and tokenizer: fetched, not converted.
    Checkpoint,
}

impl ModelKind {
    /// The word for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::Gguf => "gguf",
            ModelKind::Checkpoint => "checkpoint",
        }
    }
}

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// The model hub.
    Hub,
    /// A Python package.
    Pip,
    /// A path on this machine.
    File,
    /// The cache of the hub's own client.
    Cache,
}

impl SourceKind {
    /// The word for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SourceKind::Hub => "hub",
            SourceKind::Pip => "pip",
            SourceKind::File => "file",
            SourceKind::Cache => "cache",
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Path within the model's folder.
    pub path: FileName,
    /// Exact size.
    pub size_bytes: u64,
    /// Hash of the bytes, computed by us.
    pub sha256: Digest,
    /// Whose word the bytes were checked against.
    pub checked_against: Authority,
    /// What lets a part of it be checked and repaired alone; absent for a file of one chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunks>,
}

/// How a file is cut into chunks, and the state of SHA-256 between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunks {
    /// Size of each but the last.
    pub chunk_bytes: u64,
    /// One after every chunk but the last, whose end is the file's own hash.
    pub waypoints: Vec<Waypoint>,
}

impl Chunks {
    pub(crate) fn of(sums: &Sums) -> Option<Self> {
        let waypoints = sums.waypoints.clone();
        (!waypoints.is_empty()).then_some(Self { chunk_bytes: sums.chunk_bytes, waypoints })
    }

    /// Whether they can belong to a file of that size; others are as good as none.
    pub(crate) fn fit(&self, size_bytes: u64) -> bool {
        self.chunk_bytes > 0
            && self.chunk_bytes.is_multiple_of(64)
            && size_bytes.div_ceil(self.chunk_bytes) == self.waypoints.len() as u64 + 1
    }
}

/// Whose word bytes were checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    /// The hash in the catalog.
    Catalog,
    /// The hash the hub announced, because the catalog has none.
    Hub,
    /// The converter's, which read back what it had written: the file was made here.
    Conversion,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// There is none.
    #[error("it has no `manifest.json`")]
    Missing,
    /// Something else lies where the model's folder should be.
    #[error("it is not a folder")]
    NotAFolder,
    /// The system refuses.
    #[error("its `manifest.json` cannot be read: {0}")]
    Unreadable(String),
    /// It is not what we write.
    #[error("its `manifest.json` is not valid: {0}")]
    Invalid(String),
    /// Another version wrote it.
    #[error("its `manifest.json` has schema {0}, this version reads schema {SCHEMA}")]
    Schema(u64),
    /// It describes another model.
    #[error("its `manifest.json` belongs to `{id}`")]
    Foreign {
        /// The model it names.
        id: ModelId,
    },
}

/// The one field that every schema has.
#[derive(Deserialize)]
struct RawSchema {
    schema: u64,
}

impl Manifest {
    /// A manifest of now.
    pub(crate) fn new(entry: &protocol::catalog::CatalogEntry, source: SourceKind, files: Vec<ManifestFile>) -> Self {
        let kind = match entry.source {
            protocol::catalog::EntrySource::File(_) => ModelKind::Gguf,
            protocol::catalog::EntrySource::Convert { .. } => ModelKind::Checkpoint,
        };
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA,
            id: entry.id.clone(),
            repo: entry.repo.clone(),
            revision: entry.revision.clone(),
            kind,
            source,
            files,
            completed_at_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The files that came from elsewhere, in the order of the catalog.
    pub fn fetched(&self) -> impl Iterator<Item = &ManifestFile> {
        self.files.iter().filter(|file| file.checked_against != Authority::Conversion)
    }

    /// The files that were made here from the others, the newest first.
    pub fn converted(&self) -> impl Iterator<Item = &ManifestFile> {
        self.files.iter().filter(|file| file.checked_against == Authority::Conversion)
    }

    /// The same with what was converted from the same bytes before.
    pub(crate) fn with_conversions_of(mut self, older: &Manifest) -> Self {
        let bytes = |manifest: &Manifest| manifest.fetched().map(|file| file.sha256).collect::<Vec<_>>();
        if bytes(&self) == bytes(older) {
            self.files.splice(0..0, older.converted().cloned());
        }
        self
    }

    /// What would fetch exactly these bytes again; words and mirrors are `known`'s, if a catalog has the model.
    #[must_use]
    pub fn as_entry(&self, known: Option<&CatalogEntry>) -> CatalogEntry {
        let pinned = |file: &ManifestFile| CatalogFile {
            name: file.path.clone(),
            size_bytes: Some(file.size_bytes),
            sha256: Some(file.sha256),
        };
        let files: Vec<CatalogFile> = self.fetched().map(pinned).collect();
        let outtype = match known.map(|entry| &entry.source) {
            Some(EntrySource::Convert { outtype, .. }) => *outtype,
            Some(EntrySource::File(_)) | None => OutputType::F16,
        };
        let source = match (self.kind, files.as_slice()) {
            (ModelKind::Gguf, [file]) => EntrySource::File(file.clone()),
            _ => EntrySource::Convert { from: CheckpointFormat::Safetensors, outtype, files },
        };
        let unknown = || "unknown".to_owned();
        CatalogEntry {
            id: self.id.clone(),
            aliases: Vec::new(),
            repo: self.repo.clone(),
            revision: self.revision.clone(),
            license: known.map_or_else(unknown, |entry| entry.license.clone()),
            architecture: known.map_or_else(unknown, |entry| entry.architecture.clone()),
            tokenizer: known.map_or_else(unknown, |entry| entry.tokenizer.clone()),
            context_length: known.map_or(0, |entry| entry.context_length),
            gated: known.is_some_and(|entry| entry.gated),
            note: None,
            source,
            mirrors: known.map(|entry| entry.mirrors.clone()).unwrap_or_default(),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, ManifestFault> {
        let text = files::read_own_text(path, MAX_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ManifestFault::Missing,
            _ => ManifestFault::Unreadable(error.to_string()),
        })?;
        let invalid = |error: serde_json::Error| ManifestFault::Invalid(error.to_string());
        let RawSchema { schema } = serde_json::from_str(&text).map_err(invalid)?;
        if schema != u64::from(SCHEMA) {
            return Err(ManifestFault::Schema(schema));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(invalid)?;
        if manifest.files.is_empty() {
            return Err(ManifestFault::Invalid("it names no file".to_owned()));
        }
        Ok(manifest)
    }

    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        files::write_atomic(&directory.join(MANIFEST_NAME), &text)
    }
}
