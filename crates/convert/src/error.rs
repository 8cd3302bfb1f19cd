//! Why a conversion failed: one enum, each case with a code for machines and a hint for people.

use std::io;
use std::path::{Path, PathBuf};

/// The machine's word for an error. The names are those of the project's error vocabulary (`protocol::error`), of which
/// this crate may not depend; only these occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Code {
    InvalidParams,
    ModelNotFound,
    ModelInvalid,
    ModelUnsupported,
    TokenizerInvalid,
    Numeric,
    Cancelled,
    Internal,
}

impl Code {
    /// The code as it stands in an event.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Code::InvalidParams => "INVALID_PARAMS",
            Code::ModelNotFound => "MODEL_NOT_FOUND",
            Code::ModelInvalid => "MODEL_INVALID",
            Code::ModelUnsupported => "MODEL_UNSUPPORTED",
            Code::TokenizerInvalid => "TOKENIZER_INVALID",
            Code::Numeric => "NUMERIC",
            Code::Cancelled => "CANCELLED",
            Code::Internal => "INTERNAL",
        }
    }

    /// Exit code of the program.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Code::InvalidParams => 2,
            Code::Cancelled => 130,
            Code::ModelNotFound
            | Code::ModelInvalid
            | Code::ModelUnsupported
            | Code::TokenizerInvalid
            | Code::Numeric
            | Code::Internal => 1,
        }
    }
}

/// Why there is no new model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The system said no.
    #[error("failed to {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room for the output.
    #[error("no space left for `{}`, which takes {needed_bytes} bytes", path.display())]
    NoSpace {
        /// The partial output.
        path: PathBuf,
        /// Size of the whole output.
        needed_bytes: u64,
    },
    /// The directory or file is not there, or lacks a part.
    #[error("{what} is missing: `{}`", path.display())]
    Missing {
        /// What it would be.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of the source contradicts itself or its format.
    #[error("`{}`: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming field, key or tensor.
        reason: String,
    },
    /// The vocabulary, or what stands around it, contradicts itself or is larger than any there is.
    #[error("`{}`: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming field, key or token.
        reason: String,
    },
    /// The source is sound and of a kind that cannot be converted.
    #[error("{reason}")]
    Unsupported {
        /// Which kind.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A weight is NaN or infinite, or does not fit the encoding.
    #[error("tensor `{tensor}` {reason}")]
    NotFinite {
        /// Its name in the source.
        tensor: String,
        /// What was found.
        reason: String,
    },
    /// A source file is not what it was when the conversion began.
    #[error("`{}` changed while it was being read", path.display())]
    SourceChanged {
        /// The file.
        path: PathBuf,
    },
    /// Input and output are the same file.
    #[error("`{}` is the input: it would be destroyed", path.display())]
    OutputIsInput {
        /// The output as given.
        path: PathBuf,
    },
    /// Another process writes the same output.
    #[error("`{}` is being written by another process", path.display())]
    Busy {
        /// The partial output.
        path: PathBuf,
    },
    /// What was written does not read back as what was to be written.
    #[error("the finished file is not what it should be: {reason}")]
    CheckFailed {
        /// Where it differs.
        reason: String,
    },
    /// The caller called it off; what was done is kept for the next run.
    #[error("interrupted; what was converted so far is kept")]
    Interrupted,
}

impl ConvertError {
    /// An I/O failure; a full disk has a case of its own where the output is meant.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConvertError {
        let path = path.to_owned();
        move |source| ConvertError::Io { action, path, source }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> ConvertError {
        ConvertError::Invalid { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn tokenizer(path: &Path, reason: impl Into<String>) -> ConvertError {
        ConvertError::Tokenizer { path: path.to_owned(), reason: reason.into() }
    }

    /// The same where the file that is not what it should be is one of the tokenizer's.
    pub(crate) fn of_tokenizer(self) -> ConvertError {
        match self {
            ConvertError::Invalid { path, reason } => ConvertError::Tokenizer { path, reason },
            other => other,
        }
    }

    pub(crate) fn unsupported(reason: impl Into<String>) -> ConvertError {
        ConvertError::Unsupported { reason: reason.into(), hint: None }
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ConvertError::Io { .. } | ConvertError::NoSpace { .. } | ConvertError::CheckFailed { .. } => Code::Internal,
            ConvertError::Missing { .. } => Code::ModelNotFound,
            ConvertError::Invalid { .. } | ConvertError::SourceChanged { .. } => Code::ModelInvalid,
            ConvertError::Tokenizer { .. } => Code::TokenizerInvalid,
            ConvertError::Unsupported { .. } => Code::ModelUnsupported,
            ConvertError::NotFinite { .. } => Code::Numeric,
            ConvertError::OutputIsInput { .. } | ConvertError::Busy { .. } => Code::InvalidParams,
            ConvertError::Interrupted => Code::Cancelled,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ConvertError::NoSpace { needed_bytes, .. } => Some(format!(
                "free {needed_bytes} bytes there and run the same command again; it goes on where it stopped"
            )),
            ConvertError::Unsupported { hint, .. } => hint.clone(),
            ConvertError::NotFinite { .. } => {
                Some("check the source with `sha256sum`; `--allow-nonfinite` converts it as it is".to_owned())
            }
            ConvertError::SourceChanged { .. } => {
                Some("let the download finish, then run the same command again".to_owned())
            }
            ConvertError::OutputIsInput { .. } => Some("name another file with `--output`".to_owned()),
            ConvertError::Busy { .. } => {
                Some("wait for the other conversion, or name another file with `--output`".to_owned())
            }
            ConvertError::CheckFailed { .. } => {
                Some("run the same command again; if it persists, check memory and disk".to_owned())
            }
            ConvertError::Interrupted => Some("run the same command again to go on".to_owned()),
            ConvertError::Io { .. }
            | ConvertError::Missing { .. }
            | ConvertError::Invalid { .. }
            | ConvertError::Tokenizer { .. } => None,
        }
    }
}
