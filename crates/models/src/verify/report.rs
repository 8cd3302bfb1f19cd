//! What a check can find, and why a model cannot be opened. How it is found is `verify.rs`'s.

use std::ops::Range;
use std::path::PathBuf;

use protocol::catalog::FileName;
use protocol::error::ErrorCode;
use protocol::identifiers::{Digest, ModelId};

/// What a check of one model found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The model.
    pub id: ModelId,
    /// Everything that is wrong; empty for a good model.
    pub faults: Vec<Fault>,
    /// Bytes that were hashed.
    pub hashed_bytes: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// One thing that is wrong with an installed model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file is not there.
    #[error("`{file}` is missing")]
    Missing {
        /// The file.
        file: FileName,
    },
    /// A file is shorter or longer than it was.
    #[error("`{file}` has the wrong size: expected {expected} bytes, got {actual}")]
    Size {
        /// The file.
        file: FileName,
        /// The recorded size.
        expected: u64,
        /// Its size now.
        actual: u64,
        /// Which of its bytes are wrong or missing, where that can be told.
        damaged: Option<Vec<Range<u64>>>,
    },
    /// A file has other bytes than it had.
    #[error("`{file}` has the wrong content: expected {expected}, got {actual}")]
    Content {
        /// The file.
        file: FileName,
        /// The recorded hash.
        expected: Digest,
        /// Its hash now.
        actual: Digest,
        /// Which of its bytes are wrong, where that can be told.
        damaged: Option<Vec<Range<u64>>>,
    },
    /// A file cannot be read, or is something else than a file.
    #[error("`{file}` cannot be read: {reason}")]
    Unreadable {
        /// The file.
        file: FileName,
        /// What the system says.
        reason: String,
    },
    /// Something in the folder belongs to nothing.
    #[error("`{}` does not belong to the model", .path.display())]
    Extra {
        /// Path within the model's folder.
        path: PathBuf,
    },
}

impl Fault {
    /// Which bytes of the file are wrong or missing, where that can be told.
    #[must_use]
    pub fn damaged(&self) -> Option<&[Range<u64>]> {
        match self {
            Fault::Size { damaged, .. } | Fault::Content { damaged, .. } => damaged.as_deref(),
            Fault::Missing { .. } | Fault::Unreadable { .. } | Fault::Extra { .. } => None,
        }
    }

    /// The file of the manifest that is concerned, if one is.
    #[must_use]
    pub fn file(&self) -> Option<&FileName> {
        match self {
            Fault::Missing { file }
            | Fault::Size { file, .. }
            | Fault::Content { file, .. }
            | Fault::Unreadable { file, .. } => Some(file),
            Fault::Extra { .. } => None,
        }
    }
}

/// Why a model cannot be opened, or its check did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file of the model is not what was installed.
    #[error("model `{id}` is damaged: {fault}")]
    Damaged {
        /// The model.
        id: ModelId,
        /// The first thing that is wrong.
        fault: Box<Fault>,
    },
    /// The caller cancelled.
    #[error("interrupted")]
    Interrupted,
}

impl VerifyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            VerifyError::Damaged { id, .. } => {
                Some(format!("fetch it again: `cargo xtask models verify {id} --repair`"))
            }
            VerifyError::Interrupted => None,
        }
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            VerifyError::Damaged { .. } => ErrorCode::ModelInvalid,
            VerifyError::Interrupted => ErrorCode::Cancelled,
        }
    }
}
