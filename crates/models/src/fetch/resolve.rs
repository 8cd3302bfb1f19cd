//! What a reference stands for: an entry of the catalog, or one that is made up from what the hub or a path says. The
//! second kind pins its bytes like the first before anything is fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::catalog::{CatalogEntry, CatalogFile, CheckpointFormat, Commit, EntrySource, FileName, OutputType};
use protocol::identifiers::{Digest, ModelId};

use super::expectation::{ExpectedHash, content_hash};
use super::hub::Hub;
use super::hub::look::{Contents, may_pass};
use super::hub::requester::Patience;
use super::{FetchError, SourceSettings};
use crate::catalog::{Catalog, UnknownModel};
use crate::files;
use crate::hashing::Hasher;
use crate::hub_cache::RepoFolder;
use crate::reference::{HubReference, ModelReference};
use crate::store::QUARANTINE_ENDING;

/// What stands where only the model's own file could tell.
const UNKNOWN: &str = "unknown";
/// Repository of what came from a path.
const LOCAL_REPO: &str = "local/import";
/// Commit of what came from a path.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
/// Files of a checkpoint beside its weights.
const COMPANIONS: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];
/// The index of a checkpoint in several files.
const INDEX: &str = "model.safetensors.index.json";
/// Folders below a snapshot that are looked into.
const MAX_DEPTH: usize = 4;

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What is to be fetched.
    pub entry: CatalogEntry,
    /// The path it is to be imported from, if it was named by one.
    pub local: Option<PathBuf>,
}

/// Why a reference stands for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such name.
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    /// Several files could be meant, or none.
    #[error("`{reference}` does not say which file{}", if .files.is_empty() { ", and it has no GGUF file" } else { "" })]
    Ambiguous {
        /// The reference.
        reference: HubReference,
        /// What it could mean, at most a few dozen.
        files: Vec<String>,
    },
    /// A folder that is no checkpoint, or a file that is no model.
    #[error("`{}` cannot be imported: {reason}", .path.display())]
    NoModel {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The hub, or a file on this machine.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl ResolveError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ResolveError::Unknown(error) => Some(error.hint()),
            ResolveError::Ambiguous { reference, files } => {
                let file = files.first().map_or("FILE", String::as_str);
                let whole = HubReference { file: None, ..reference.clone() };
                Some(format!("name one: `cargo xtask models download {whole}::{file}`"))
            }
            ResolveError::NoModel { .. } => {
                Some("name a GGUF file, or a folder with `config.json` and safetensors".to_owned())
            }
            ResolveError::Fetch(error) => error.hint(),
        }
    }
}

/// What `reference` stands for. Asks the hub only for what the catalog does not know, and the hub's cache where the hub
/// cannot be reached.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve(
    reference: &ModelReference,
    catalog: &Catalog,
    sources: &SourceSettings,
    cancel: &AtomicBool,
) -> Result<Resolved, ResolveError> {
    match reference {
        ModelReference::Name(name) => Ok(Resolved { entry: catalog.find(name)?.clone(), local: None }),
        ModelReference::Path(path) => of_path(path, cancel),
        ModelReference::Hub(wanted) => match in_catalog(wanted, catalog) {
            Some(entry) => Ok(Resolved { entry: entry.clone(), local: None }),
            None => Ok(Resolved { entry: of_hub(wanted, &look(wanted, sources, cancel)?)?, local: None }),
        },
    }
}

/// The entry of the catalog that a reference to the hub means, if it means one.
#[must_use]
pub fn in_catalog<'c>(wanted: &HubReference, catalog: &'c Catalog) -> Option<&'c CatalogEntry> {
    let is_meant = |entry: &&CatalogEntry| {
        let same_revision = wanted.revision.as_ref().is_none_or(|named| named.as_str() == entry.revision.as_str());
        let same_file = wanted
            .file
            .as_ref()
            .is_none_or(|named| matches!(&entry.source, EntrySource::File(file) if file.name == *named));
        entry.repo == wanted.repo && same_revision && same_file
    };
    let mut meant = catalog.entries().iter().filter(is_meant);
    let first = meant.next()?;
    // Two entries of one repository: it must be said which.
    meant.next().is_none().then_some(first)
}

/// What the repository holds, by the hub's word or, where it cannot be reached, by its cache's.
fn look(wanted: &HubReference, sources: &SourceSettings, cancel: &AtomicBool) -> Result<Contents, FetchError> {
    let patience = Patience { cancel, briefly: sources.hub_cache.is_some() };
    let looked = Hub::open(sources).and_then(|hub| hub.contents(patience, &wanted.repo, wanted.revision.as_ref()));
    let error = match looked {
        Ok(contents) => return Ok(contents),
        Err(error) => error,
    };
    let is_away = error.is_absence() || may_pass(&error);
    let cached = sources.hub_cache.as_ref().filter(|_| is_away).and_then(|cache| cached(wanted, cache));
    cached.ok_or(error)
}

fn cached(wanted: &HubReference, cache: &Path) -> Option<Contents> {
    let folder = RepoFolder::new(cache, &wanted.repo);
    let named = wanted.revision.as_ref().map_or("main", |revision| revision.as_str());
    let commit = named.parse::<Commit>().ok().or_else(|| folder.commit_of(named))?;
    let snapshot = folder.snapshot(&commit);
    let mut found = Vec::new();
    collect(&snapshot, "", (&mut found, MAX_DEPTH));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    (!found.is_empty()).then_some(Contents { commit, license: None, files: found })
}

fn collect(folder: &Path, below: &str, (found, depth): (&mut Vec<CatalogFile>, usize)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        // Followed: files are links here.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if metadata.is_dir() && depth > 0 {
            collect(&entry.path(), &format!("{name}/"), (found, depth - 1));
        } else if let (true, Ok(name)) = (metadata.is_file(), name.parse()) {
            let tag = fs::read_link(entry.path()).ok();
            let tag = tag.as_ref().and_then(|tag| tag.file_name()?.to_str()).and_then(content_hash);
            let sha256 = match tag {
                Some(ExpectedHash::Sha256(sha256, _)) => Some(sha256),
                Some(ExpectedHash::GitBlob(_)) | None => None,
            };
            found.push(CatalogFile { name, size_bytes: Some(metadata.len()), sha256 });
        }
    }
}

/// The one file that is meant, as an entry.
fn of_hub(wanted: &HubReference, contents: &Contents) -> Result<CatalogEntry, ResolveError> {
    let is_gguf = |file: &&CatalogFile| file.name.folded().ends_with(".gguf");
    let file = match &wanted.file {
        Some(name) => contents.files.iter().find(|file| file.name == *name),
        None => {
            let mut ggufs = contents.files.iter().filter(is_gguf);
            ggufs.next().filter(|_| ggufs.next().is_none())
        }
    };
    let Some(file) = file else {
        if let Some(file) = &wanted.file {
            let (repo, revision) = (wanted.repo.clone(), contents.commit.to_string());
            return Err(FetchError::EntryMissing { repo, revision, file: file.clone() }.into());
        }
        let files = contents.files.iter().filter(is_gguf).take(40).map(|file| file.name.to_string()).collect();
        return Err(ResolveError::Ambiguous { reference: wanted.clone(), files });
    };
    let named = ModelReference::Hub(HubReference { file: Some(file.name.clone()), ..wanted.clone() });
    let id = known_id(&named);
    let mut entry = blank(id, EntrySource::File(file.clone()));
    entry.repo = wanted.repo.clone();
    entry.revision = contents.commit.clone();
    entry.license = contents.license.clone().unwrap_or(entry.license);
    Ok(entry)
}

fn of_path(path: &Path, cancel: &AtomicBool) -> Result<Resolved, ResolveError> {
    let metadata = fs::metadata(path).map_err(FetchError::reading(path))?;
    if path.extension().is_some_and(|ending| ending == QUARANTINE_ENDING) {
        let reason = "it was kept because its bytes are not the model's".to_owned();
        return Err(ResolveError::NoModel { path: path.to_owned(), reason });
    }
    let id = known_id(&ModelReference::Path(path.to_owned()));
    let source = if metadata.is_dir() {
        EntrySource::Convert {
            from: CheckpointFormat::Safetensors,
            // What a graphics card and every tool reads.
            outtype: OutputType::F16,
            files: checkpoint(path, cancel)?,
        }
    } else {
        let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let name: FileName = match named.map_or_else(|| "model.gguf".parse(), Ok) {
            Ok(name) => name,
            Err(error) => unreachable!("{error}"),
        };
        EntrySource::File(pinned_file(path, name, cancel)?)
    };
    Ok(Resolved { entry: blank(id, source), local: Some(path.to_owned()) })
}

/// The id of a reference that names a file.
fn known_id(reference: &ModelReference) -> ModelId {
    match reference.derived_id() {
        Some(id) => id,
        None => unreachable!("`{reference}` names a file"),
    }
}

/// The files of a checkpoint's folder that make up the model.
fn checkpoint(folder: &Path, cancel: &AtomicBool) -> Result<Vec<CatalogFile>, ResolveError> {
    let no_model = |reason: &str| ResolveError::NoModel { path: folder.to_owned(), reason: reason.to_owned() };
    let names = fs::read_dir(folder).map_err(FetchError::reading(folder))?.flatten();
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| COMPANIONS.contains(&name.as_str()) || name == INDEX || name.ends_with(".safetensors"));
    names.sort();
    if !names.iter().any(|name| name == "config.json") {
        return Err(no_model("it has no `config.json`"));
    }
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(no_model("it has no safetensors file"));
    }
    let files = names.into_iter().map(|name| {
        let parsed: Result<FileName, _> = name.parse();
        let parsed = parsed.map_err(|error| no_model(&error.to_string()))?;
        pinned_file(&folder.join(&name), parsed, cancel)
    });
    files.collect()
}

/// A file of the user's, its present bytes pinned.
fn pinned_file(path: &Path, name: FileName, cancel: &AtomicBool) -> Result<CatalogFile, ResolveError> {
    // The user names these, so links are followed.
    let path = fs::canonicalize(path).map_err(FetchError::reading(path))?;
    let mut opened = files::open_regular(&path).map_err(FetchError::reading(&path))?;
    let mut hasher = Hasher::new();
    hasher.read_all(&mut opened, FetchError::reading(&path), &mut |_| match cancel.load(Ordering::Relaxed) {
        true => Err(FetchError::Interrupted),
        false => Ok(()),
    })?;
    let sums = hasher.finish();
    let sha256: Digest = sums.sha256;
    Ok(CatalogFile { name, size_bytes: Some(sums.size_bytes), sha256: Some(sha256) })
}

/// An entry of which only the bytes are known.
fn blank(id: ModelId, source: EntrySource) -> CatalogEntry {
    let (Ok(repo), Ok(revision)) = (LOCAL_REPO.parse(), NO_COMMIT.parse()) else {
        unreachable!("a repository and a commit")
    };
    CatalogEntry {
        id,
        aliases: Vec::new(),
        repo,
        revision,
        license: UNKNOWN.to_owned(),
        architecture: UNKNOWN.to_owned(),
        tokenizer: UNKNOWN.to_owned(),
        context_length: 0,
        gated: false,
        note: None,
        source,
        mirrors: Vec::new(),
    }
}
