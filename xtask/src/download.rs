//! The models of this user as verbs see them, and fetching one. How it looks is `download/shown.rs`'s.

mod shown;

use std::path::{Path, PathBuf};

use models::catalog::Catalog;
use models::fetch::resolve::{Resolved, in_catalog, resolve};
use models::fetch::{self, DownloadRequest, SourceSettings};
use models::places::Places;
use models::reference::ModelReference;
use models::store::{Installed, Store};
use protocol::catalog::CatalogEntry;
use protocol::error::ErrorCode;
use protocol::identifiers::ModelId;
use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, size_words};

pub use shown::Board;

/// The model of whoever names none: of `infer`, the tests and a machine that is being set up.
pub const DEFAULT_MODEL: &str = "smollm2";

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

/// What to fetch, and how.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The model.
    pub entry: CatalogEntry,
    /// Where it may come from; shared by all that are fetched together, so that what one is told holds for all.
    pub sources: SourceSettings,
    /// Again, although it is here.
    pub force: bool,
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

    /// Where models may come from.
    pub fn sources(&self) -> Result<SourceSettings, Failure> {
        Ok(SourceSettings::from_environment(&self.places.cache.path)?)
    }

    /// The id that `text` stands for: of a catalog entry, of a model that is here and in no catalog any more, or of what
    /// was fetched by reference.
    pub fn id_of(&self, text: &str) -> Result<ModelId, Failure> {
        let reference = parse(text)?;
        let name = match &reference {
            ModelReference::Name(name) => name,
            ModelReference::Path(_) => return required_id(&reference),
            ModelReference::Hub(hub) => {
                if let Some(entry) = in_catalog(hub, &self.catalog) {
                    return Ok(entry.id.clone());
                }
                if hub.file.is_some() {
                    return required_id(&reference);
                }
                let here = self.store.list()?.models;
                let mut of_repo = here.iter().filter(|model| model.manifest.repo == hub.repo);
                let first = of_repo.next().filter(|_| of_repo.next().is_none());
                let message = || Failure::usage(format!("`{text}` does not say which file"));
                return first.map(|model| model.manifest.id.clone()).ok_or_else(message);
            }
        };
        let unknown = match self.catalog.find(name) {
            Ok(entry) => return Ok(entry.id.clone()),
            Err(unknown) => unknown,
        };
        match name.parse::<ModelId>() {
            Ok(id) if self.store.directory(&id).symlink_metadata().is_ok() => Ok(id),
            _ => Err(unknown.into()),
        }
    }

    /// What `text` stands for. Asks the hub for what the catalog does not know; where the hub cannot be reached, a model
    /// that is here is taken for what it was.
    pub fn resolve(&self, text: &str, sources: &SourceSettings) -> Result<Resolved, Failure> {
        let reference = parse(text)?;
        let error = match resolve(&reference, &self.catalog, sources, interrupt::flag()) {
            Ok(resolved) => return Ok(resolved),
            Err(error) => Failure::from(error),
        };
        if error.is_interrupt() || matches!(reference, ModelReference::Name(_)) {
            return Err(error);
        }
        let installed = self.id_of(text).ok().and_then(|id| self.store.get(&id).ok().flatten());
        let installed = installed.filter(Installed::is_complete).ok_or(error)?;
        Ok(Resolved { entry: installed.manifest.as_entry(None), local: None })
    }

    /// Refuses what no worker of this version can run, as far as the catalog says, before anything is fetched or built.
    pub fn require_runnable(&self, name: &str) -> Result<ModelId, Failure> {
        let id = self.id_of(name)?;
        let Ok(entry) = self.catalog.find(id.as_str()) else { return Ok(id) };
        models::runnable::check(entry).map(|()| id).map_err(|reason| {
            Failure::coded(ErrorCode::ModelUnsupported, format!("model `{name}`: {reason}"))
                .hint("choose another with `cargo xtask models catalog`")
        })
    }

    /// The model, fetched first if it is not here.
    pub fn ensure(&self, output: Output, id: &ModelId) -> Result<Installed, Failure> {
        let Ok(entry) = self.catalog.find(id.as_str()) else {
            return Ok(self.store.require(id)?);
        };
        match self.store.get(id) {
            Ok(Some(installed)) if installed.satisfies(entry) && installed.is_complete() => Ok(installed),
            // A damaged one is fetched again: the download looks at what is there.
            Ok(_) | Err(_) => {
                let wanted = Wanted { entry: entry.clone(), sources: self.sources()?, force: false };
                self.download(&wanted, &Board::new(output, std::slice::from_ref(&wanted)))
            }
        }
    }

    /// Fetches a model. Ctrl-C keeps what was fetched for the next run.
    pub fn download(&self, wanted: &Wanted, board: &Board) -> Result<Installed, Failure> {
        let Wanted { entry, sources, force } = wanted;
        let request = DownloadRequest { entry, store: &self.store, sources, force: *force };
        let mut shown = board.line(entry.id.as_str());
        let installed = fetch::download(&request, &mut |event| shown.show(event), interrupt::flag());
        shown.finish();
        Ok(installed?)
    }
}

fn parse(text: &str) -> Result<ModelReference, Failure> {
    let hint = "a model is an id of the catalog, `hf:org/repo[@revision][::file]`, or a path";
    text.parse().map_err(|error: protocol::identifiers::IdentifierError| Failure::usage(error.to_string()).hint(hint))
}

fn required_id(reference: &ModelReference) -> Result<ModelId, Failure> {
    reference.derived_id().ok_or_else(|| Failure::usage(format!("`{reference}` does not say which file")))
}

impl From<fetch::resolve::ResolveError> for Failure {
    fn from(error: fetch::resolve::ResolveError) -> Self {
        use fetch::resolve::ResolveError;
        let hint = error.hint();
        match error {
            ResolveError::Unknown(unknown) => unknown.into(),
            ResolveError::Fetch(error) => error.into(),
            ResolveError::Ambiguous { ref files, .. } => {
                Failure::usage(error.to_string()).known(files.clone()).maybe_hint(hint)
            }
            ResolveError::NoModel { .. } => Failure::usage(error.to_string()).maybe_hint(hint),
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
