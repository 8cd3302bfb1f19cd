//! The store: `models/<id>/<file>` and `manifest.json`. A model is installed when its manifest is there; the manifest is
//! written last, so everything it names was complete and verified at that moment.
//!
//! One damaged folder never hides the others: it is reported beside them. Fetching into the store is `fetch`'s, checking
//! bytes is `verify`'s.

mod claim;
pub mod conversion;
mod error;
pub mod manifest;
pub mod prune;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::catalog::{CatalogEntry, EntrySource, FileName};
use protocol::identifiers::{Digest, ModelId};

pub(crate) use claim::Claim;
pub use error::StoreError;
use manifest::{MANIFEST_NAME, Manifest, ManifestFault, ModelKind};

use crate::{disk, files};

/// What is added to the name of a file whose bytes are not the model's, and which is kept to be looked at. `FileName` refuses
/// it, so that nothing of that name is ever a model.
pub(crate) const QUARANTINE_ENDING: &str = "quarantine";
/// Folder of lock files below the root; a model id cannot begin with a dot.
const LOCKS: &str = ".locks";
/// Folder of models that are being deleted.
const DELETED: &str = ".deleted";

/// The models of this user.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A model whose manifest is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What was fetched, from where, and what its bytes are.
    pub manifest: Manifest,
    /// The model's folder.
    pub directory: PathBuf,
}

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Installed models, by id.
    pub models: Vec<Installed>,
    /// Downloads that were begun and not finished.
    pub incomplete: Vec<Incomplete>,
    /// Folders that are not what they should be.
    pub faulty: Vec<Faulty>,
}

/// A folder without a manifest: a download that was interrupted or is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The model.
    pub id: ModelId,
    /// Bytes on disk so far.
    pub size_bytes: u64,
}

/// A folder that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// Space of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUsage {
    /// Name of its folder.
    pub name: String,
    /// Bytes on disk, partial files included.
    pub size_bytes: u64,
    /// Whether its manifest is there and readable.
    pub installed: bool,
}

/// Space of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUsage {
    /// Each folder, by name.
    pub models: Vec<ModelUsage>,
    /// Sum over the folders.
    pub total_bytes: u64,
    /// What can still be written beside them.
    pub free_bytes: u64,
    /// The store's root.
    pub root: PathBuf,
}

impl Store {
    /// The store below `root`, which need not exist yet: only a download makes it.
    ///
    /// # Errors
    /// `root` is there and is not a folder.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => {
                let source = io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder");
                Err(StoreError::Io { action: "use the model store", path: root, source })
            }
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { action: "read the model store", path: root, source })
            }
            _ => Ok(Self { root }),
        }
    }

    /// The folder that holds the models' folders.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one model, which need not exist.
    #[must_use]
    pub fn directory(&self, id: &ModelId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// The model, if its manifest is there.
    ///
    /// # Errors
    /// The manifest is there and cannot be used.
    pub fn get(&self, id: &ModelId) -> Result<Option<Installed>, StoreError> {
        let directory = self.directory(id);
        match read_installed(id, &directory) {
            Ok(installed) => Ok(Some(installed)),
            Err(ManifestFault::Missing) => Ok(None),
            Err(fault) => Err(StoreError::Manifest { id: id.clone(), fault }),
        }
    }

    /// The model, or [`StoreError::NotInstalled`].
    ///
    /// # Errors
    /// As [`Store::get`], and when it is not there.
    pub fn require(&self, id: &ModelId) -> Result<Installed, StoreError> {
        self.get(id)?.ok_or_else(|| StoreError::NotInstalled { id: id.clone() })
    }

    /// Everything in the store; damaged folders are reported, not fatal.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for (name, path) in self.folders()? {
            match name.parse::<ModelId>() {
                Err(error) => listing.faulty.push(Faulty {
                    path,
                    reason: error.to_string(),
                    hint: "move it out of the store".to_owned(),
                }),
                Ok(id) => match read_installed(&id, &path) {
                    Ok(installed) => listing.models.push(installed),
                    Err(ManifestFault::Missing) if is_real_folder(&path) => {
                        listing.incomplete.push(Incomplete { id, size_bytes: disk::occupied_bytes(&path) });
                    }
                    Err(fault) => listing.faulty.push(Faulty {
                        path,
                        reason: fault.to_string(),
                        hint: format!("fetch it again (`cargo xtask models download {id} --force`) or delete it"),
                    }),
                },
            }
        }
        Ok(listing)
    }

    /// Deletes one model and its partial downloads; returns the bytes that were freed. A link in the place of the
    /// model's folder is removed, its target is not touched.
    ///
    /// # Errors
    /// The model is not there, is being fetched, or the system refuses.
    pub fn delete(&self, id: &ModelId) -> Result<u64, StoreError> {
        let directory = self.directory(id);
        let found = fs::symlink_metadata(&directory);
        let metadata = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotInstalled { id: id.clone() });
            }
            other => other.map_err(StoreError::io("read", &directory))?,
        };
        let Some(_claim) = self.try_claim(id)? else {
            return Err(StoreError::Busy { id: id.clone() });
        };
        if !metadata.is_dir() {
            return fs::remove_file(&directory).map(|()| 0).map_err(StoreError::io("delete", &directory));
        }
        let size_bytes = disk::occupied_bytes(&directory);
        let graveyard = self.root.join(DELETED);
        fs::create_dir_all(&graveyard).map_err(StoreError::io("create", &graveyard))?;
        let suffix = files::random_suffix().map_err(StoreError::io("delete", &directory))?;
        let doomed = graveyard.join(suffix);
        // One rename first: a delete that is interrupted leaves no half model under a model's name.
        fs::rename(&directory, &doomed).map_err(StoreError::io("delete", &directory))?;
        // Does not follow links.
        fs::remove_dir_all(&doomed).map_err(StoreError::io("delete", &doomed))?;
        self.reap_deleted();
        Ok(size_bytes)
    }

    /// The space each model takes.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let models = self.folders()?.into_iter().map(|(name, path)| {
            let installed = name.parse().is_ok_and(|id| read_installed(&id, &path).is_ok());
            ModelUsage { name, size_bytes: disk::occupied_bytes(&path), installed }
        });
        let models: Vec<ModelUsage> = models.collect();
        let total_bytes = models.iter().fold(0, |sum: u64, model| sum.saturating_add(model.size_bytes));
        let free_bytes = disk::free_bytes(&self.root).map_err(StoreError::io("read", &self.root))?;
        Ok(DiskUsage { models, total_bytes, free_bytes, root: self.root.clone() })
    }

    /// Removes what deletes left behind when they were interrupted; a later delete tries again.
    fn reap_deleted(&self) {
        let leftovers = fs::read_dir(self.root.join(DELETED)).into_iter().flatten().flatten();
        leftovers.for_each(|leftover| drop(fs::remove_dir_all(leftover.path())));
    }

    /// Names and paths of what lies in the root, sorted, our own folders left out.
    fn folders(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(StoreError::io("read", &self.root))?,
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(StoreError::io("read", &self.root))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCKS && name != DELETED {
                folders.push((name, entry.path()));
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// The right to write one model's folder, or `None` while another process has it.
    pub(crate) fn try_claim(&self, id: &ModelId) -> Result<Option<Claim>, StoreError> {
        let folder = self.root.join(LOCKS);
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        let path = folder.join(id.as_str());
        Claim::try_take(&path).map_err(StoreError::io("lock", &path))
    }
}

impl Installed {
    /// The file a worker loads: the only one, or what a checkpoint was last converted to, or else its first weights.
    #[must_use]
    pub fn model_file(&self) -> PathBuf {
        self.path_of(&self.main_file().path)
    }

    /// SHA-256 of [`Installed::model_file`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.main_file().sha256
    }

    /// Whether a worker can be given [`Installed::model_file`].
    #[must_use]
    pub fn is_gguf(&self) -> bool {
        self.manifest.kind == ModelKind::Gguf || self.manifest.converted().next().is_some()
    }

    /// Sum of the files' sizes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.manifest.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Where one of its files is.
    #[must_use]
    pub fn path_of(&self, name: &FileName) -> PathBuf {
        name.components().fold(self.directory.clone(), |path, component| path.join(component))
    }

    /// Whether these are the bytes that `entry` asks for now.
    #[must_use]
    pub fn satisfies(&self, entry: &CatalogEntry) -> bool {
        let kind = match entry.source {
            EntrySource::File(_) => ModelKind::Gguf,
            EntrySource::Convert { .. } => ModelKind::Checkpoint,
        };
        self.manifest.kind == kind
            && self.manifest.fetched().count() == entry.files().len()
            && entry.files().iter().zip(self.manifest.fetched()).all(|(wanted, held)| {
                // Without a pinned hash, the pinned commit says which bytes are meant.
                let same_bytes = match wanted.sha256 {
                    Some(sha256) => sha256 == held.sha256,
                    None => entry.repo == self.manifest.repo && entry.revision == self.manifest.revision,
                };
                wanted.name == held.path && same_bytes
            })
    }

    /// Whether every file is there with its recorded size: cheap, without reading bytes.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.manifest.files.iter().all(|file| {
            let metadata = fs::symlink_metadata(self.path_of(&file.path));
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size_bytes)
        })
    }

    fn main_file(&self) -> &manifest::ManifestFile {
        let weights = |file: &&manifest::ManifestFile| file.path.as_str().ends_with(".safetensors");
        let converted = self.manifest.converted().next();
        // A manifest without files is refused when it is read.
        converted.or_else(|| self.manifest.files.iter().find(weights)).unwrap_or(&self.manifest.files[0])
    }
}

fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn read_installed(id: &ModelId, directory: &Path) -> Result<Installed, ManifestFault> {
    match fs::symlink_metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => return Err(ManifestFault::NotAFolder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ManifestFault::Missing),
        Err(error) => return Err(ManifestFault::Unreadable(error.to_string())),
        Ok(_) => {}
    }
    let manifest = Manifest::read(&directory.join(MANIFEST_NAME))?;
    if manifest.id != *id {
        return Err(ManifestFault::Foreign { id: manifest.id });
    }
    Ok(Installed { manifest, directory: directory.to_owned() })
}

#[cfg(test)]
mod tests;
