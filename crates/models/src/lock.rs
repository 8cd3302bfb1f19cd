//! `models.lock`: which bytes this machine's models are, so that another machine can be held to the same ones. Written on
//! demand, never read by anything but the check.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use protocol::catalog::{Commit, FileName, RepoId};
use protocol::identifiers::{Digest, ModelId};
use serde::Deserialize;

use crate::files;
use crate::store::{Installed, Store, StoreError};
use crate::verify::{VerifyError, open_model};

/// The only schema this version writes and reads.
const SCHEMA: u32 = 1;
/// Largest lock file that is read: thousands of models stay below it.
const MAX_BYTES: u64 = 4 << 20;
/// What converts checkpoints: the same version everywhere makes the same bytes.
const CONVERTER: &str = concat!("llorch-convert ", env!("CARGO_PKG_VERSION"));

/// The models of a machine, by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Name and version of what converts checkpoints.
    pub converter: String,
    /// The models, by id.
    pub models: Vec<LockedModel>,
}

/// One model of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedModel {
    /// The model.
    pub id: ModelId,
    /// Its repository.
    pub repo: RepoId,
    /// Its commit.
    pub revision: Commit,
    /// Its files.
    pub files: Vec<LockedFile>,
}

/// One file of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// Path within the model's folder.
    pub path: FileName,
    /// Exact size.
    pub size_bytes: u64,
    /// Hash of its bytes.
    pub sha256: Digest,
}

/// One way in which a machine is not what a lock says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The model is not here.
    #[error("model `{id}` is not installed")]
    Missing {
        /// The model.
        id: ModelId,
    },
    /// The model's bytes are not those of its own manifest.
    #[error("model `{id}` is damaged: {reason}")]
    Damaged {
        /// The model.
        id: ModelId,
        /// What is wrong.
        reason: String,
    },
    /// The model is of another commit, though its bytes may be the same.
    #[error("model `{id}` is of commit {actual}, not of {locked}")]
    Commit {
        /// The model.
        id: ModelId,
        /// What the lock says.
        locked: Commit,
        /// What is here.
        actual: Commit,
    },
    /// A file has other bytes, or is not there at all.
    #[error("model `{id}`: `{path}` is {}, not {locked}", .actual.map_or_else(|| "not there".to_owned(), |digest| digest.to_string()))]
    File {
        /// The model.
        id: ModelId,
        /// The file.
        path: FileName,
        /// What the lock says.
        locked: Digest,
        /// What is here.
        actual: Option<Digest>,
    },
    /// Conversions of this version make other bytes.
    #[error("checkpoints are converted by `{actual}`, not by `{locked}`")]
    Converter {
        /// What the lock says.
        locked: String,
        /// This program.
        actual: String,
    },
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be read or written.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not what we write.
    #[error("`{}` is no lock of models: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller cancelled.
    #[error("interrupted")]
    Interrupted,
}

impl Lock {
    /// What the store holds, complete models only.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let models = store.list()?.models.iter().filter(|model| model.is_complete()).map(locked).collect();
        Ok(Self { converter: CONVERTER.to_owned(), models })
    }

    /// The lock in the file `path`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let text = files::read_text(path, MAX_BYTES);
        let text = text.map_err(|source| LockError::Io { action: "read", path: path.to_owned(), source })?;
        let invalid = |reason: String| LockError::Invalid { path: path.to_owned(), reason };
        let lock: RawLock = toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?;
        if lock.schema != SCHEMA {
            return Err(invalid(format!("it has schema {}, this version reads schema {SCHEMA}", lock.schema)));
        }
        Ok(Self { converter: lock.converter, models: lock.model.into_iter().map(LockedModel::from).collect() })
    }

    /// Writes it to the file `path`; the same models always make the same text.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let written = std::path::absolute(path).and_then(|path| files::write_atomic(&path, self.text().as_bytes()));
        written.map_err(|source| LockError::Io { action: "write", path: path.to_owned(), source })
    }

    /// As TOML. No value needs escaping: each is a checked type.
    fn text(&self) -> String {
        let mut text =
            String::from("# The models of a machine, by content. `cargo xtask models lock --check` compares.\n\n");
        text.push_str(&format!("schema = {SCHEMA}\nconverter = \"{CONVERTER}\"\n"));
        for model in &self.models {
            let LockedModel { id, repo, revision, files } = model;
            text.push_str(&format!("\n[[model]]\nid = \"{id}\"\nrepo = \"{repo}\"\nrevision = \"{revision}\"\n"));
            for LockedFile { path, size_bytes, sha256 } in files {
                text.push_str(&format!(
                    "\n[[model.file]]\npath = \"{path}\"\nsize_bytes = {size_bytes}\nsha256 = \"{}\"\n",
                    sha256.hex()
                ));
            }
        }
        text
    }

    /// How this machine differs from the lock; models beyond it are nobody's business. Bytes that were touched since they
    /// were last checked are hashed.
    ///
    /// # Errors
    /// [`LockError::Interrupted`] once `cancel` is set, or the store cannot be read.
    pub fn differences(&self, store: &Store, cancel: &AtomicBool) -> Result<Vec<Difference>, LockError> {
        let mut found = Vec::new();
        if self.converter != CONVERTER {
            found.push(Difference::Converter { locked: self.converter.clone(), actual: CONVERTER.to_owned() });
        }
        for model in &self.models {
            match store.get(&model.id) {
                Ok(None) => found.push(Difference::Missing { id: model.id.clone() }),
                Err(error) => found.push(Difference::Damaged { id: model.id.clone(), reason: error.to_string() }),
                Ok(Some(installed)) => {
                    found.extend(model.differences(&installed));
                    match open_model(&installed, cancel) {
                        Ok(_) => {}
                        Err(VerifyError::Interrupted) => return Err(LockError::Interrupted),
                        Err(VerifyError::Damaged { id, fault }) => {
                            found.push(Difference::Damaged { id, reason: fault.to_string() });
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}

impl LockedModel {
    fn differences(&self, installed: &Installed) -> Vec<Difference> {
        let id = || self.id.clone();
        let mut found = Vec::new();
        if self.revision != installed.manifest.revision {
            let (locked, actual) = (self.revision.clone(), installed.manifest.revision.clone());
            found.push(Difference::Commit { id: id(), locked, actual });
        }
        for file in &self.files {
            let here = installed.manifest.files.iter().find(|here| here.path == file.path).map(|here| here.sha256);
            if here != Some(file.sha256) {
                found.push(Difference::File { id: id(), path: file.path.clone(), locked: file.sha256, actual: here });
            }
        }
        found
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    schema: u32,
    converter: String,
    #[serde(default)]
    model: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    id: ModelId,
    repo: RepoId,
    revision: Commit,
    file: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: FileName,
    size_bytes: u64,
    sha256: Digest,
}

impl From<RawModel> for LockedModel {
    fn from(raw: RawModel) -> Self {
        let file = |raw: RawFile| LockedFile { path: raw.path, size_bytes: raw.size_bytes, sha256: raw.sha256 };
        let files = raw.file.into_iter().map(file).collect();
        Self { id: raw.id, repo: raw.repo, revision: raw.revision, files }
    }
}

fn locked(installed: &Installed) -> LockedModel {
    let manifest = &installed.manifest;
    let file = |file: &crate::store::manifest::ManifestFile| LockedFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        sha256: file.sha256,
    };
    LockedModel {
        id: manifest.id.clone(),
        repo: manifest.repo.clone(),
        revision: manifest.revision.clone(),
        files: manifest.files.iter().map(file).collect(),
    }
}
