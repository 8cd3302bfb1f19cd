//! Why the store cannot do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use protocol::error::ErrorCode;
use protocol::identifiers::ModelId;

use super::manifest::ManifestFault;
use crate::files;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried: `read`, `create`, `delete` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A model's manifest cannot be used.
    #[error("model `{id}` is damaged: {fault}")]
    Manifest {
        /// The model.
        id: ModelId,
        /// What is wrong.
        fault: ManifestFault,
    },
    /// Nothing of that id is there.
    #[error("model `{id}` is not installed")]
    NotInstalled {
        /// The model.
        id: ModelId,
    },
    /// The model is GGUF already: there is nothing to convert.
    #[error("model `{id}` is not a checkpoint")]
    NotACheckpoint {
        /// The model.
        id: ModelId,
    },
    /// Another process is fetching or deleting the model.
    #[error("model `{id}` is in use by another llorch process")]
    Busy {
        /// The model.
        id: ModelId,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Io { source, .. } => files::full_hint(source),
            StoreError::NotACheckpoint { id } => {
                Some(format!("it is GGUF already; see `cargo xtask models info {id}`"))
            }
            StoreError::Manifest { id, .. } => {
                Some(format!("fetch it again: `cargo xtask models download {id} --force`"))
            }
            StoreError::NotInstalled { id } => Some(format!("fetch it: `cargo xtask models download {id}`")),
            StoreError::Busy { .. } => Some("wait for the other process, or stop it".to_owned()),
        }
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            StoreError::NotInstalled { .. } => ErrorCode::ModelNotFound,
            StoreError::Manifest { .. } => ErrorCode::ModelInvalid,
            StoreError::NotACheckpoint { .. } => ErrorCode::InvalidParams,
            StoreError::Io { source, .. } => files::error_code(source),
            StoreError::Busy { .. } => ErrorCode::ModelBusy,
        }
    }
}
