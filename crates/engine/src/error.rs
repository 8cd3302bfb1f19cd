//! Why a model does not load, and why a step fails.

use std::path::PathBuf;

use architectures::{ConfigurationError, ProgramError};
use text::TokenizerError;

/// Why a model does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or is not GGUF.
    #[error(transparent)]
    Open(#[from] gguf::OpenError),
    /// The configuration is not one this build can run.
    #[error("{}: {source}", .path.display())]
    Configuration {
        /// The model file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// The tensors do not fit the configuration.
    #[error("{}: {source}", .path.display())]
    Program {
        /// The model file.
        path: PathBuf,
        /// What is wrong.
        source: ProgramError,
    },
    /// A tensor is of a type no kernel here reads.
    #[error("tensor `{name}` is {found}, which this build cannot compute with")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The file holds a tensor that the computation of its architecture, as written here, has no place for.
    #[error("{}: tensor `{name}` is not part of `{architecture}` as this build computes it", .path.display())]
    UnusedTensor {
        /// The model file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// The context that was asked for is not one the model has.
    #[error("a context of {asked} positions was asked for, the model was trained for {trained}")]
    Context {
        /// Positions asked for.
        asked: u64,
        /// Positions there are.
        trained: u64,
    },
    /// The tokenizer cannot be built.
    #[error("{}: {source}", .path.display())]
    Tokenizer {
        /// The model file.
        path: PathBuf,
        /// What is wrong.
        source: TokenizerError,
    },
    /// Context and slots ask for more than can be addressed.
    #[error("{slots} slots of {context_length} positions need more memory than can be addressed")]
    TooLarge {
        /// Sequences at once.
        slots: u32,
        /// Positions of each.
        context_length: u64,
    },
    /// The device cannot be had.
    #[error("failed to open the device: {reason}")]
    Device {
        /// The driver's words.
        reason: String,
    },
    /// Loading was called off.
    #[error("loading was cancelled")]
    Cancelled,
}

impl LoadError {
    /// Whether the model is sound but of a kind this build does not run.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            LoadError::Configuration { source, .. } => matches!(
                source,
                ConfigurationError::UnknownArchitecture { .. }
                    | ConfigurationError::NotRunnable { .. }
                    | ConfigurationError::Unsupported { .. }
            ),
            LoadError::Tokenizer { source, .. } => {
                matches!(source, TokenizerError::UnknownModel { .. } | TokenizerError::UnknownPreTokenizer { .. })
            }
            LoadError::TensorType { .. } | LoadError::UnusedTensor { .. } => true,
            LoadError::Open(_)
            | LoadError::Program { .. }
            | LoadError::TooLarge { .. }
            | LoadError::Context { .. }
            | LoadError::Device { .. }
            | LoadError::Cancelled => false,
        }
    }
}

/// Why a step, or one sequence in it, fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A logit is not a finite number.
    #[error("the model computed {what} at position {position}")]
    Numeric {
        /// `NaN`, `infinity` or `no finite logit`.
        what: &'static str,
        /// Absolute position of the token.
        position: usize,
    },
    /// The backend failed.
    #[error("the backend failed: {reason}")]
    Backend {
        /// Its words.
        reason: String,
    },
    /// Code of ours panicked.
    #[error("internal error: {reason}")]
    Panic {
        /// The panic's message.
        reason: String,
    },
}

impl From<candle_core::Error> for StepError {
    fn from(error: candle_core::Error) -> Self {
        StepError::Backend { reason: reason_of(&error) }
    }
}

/// What candle says, without the trace that it appends where `RUST_BACKTRACE` is set.
pub(crate) fn reason_of(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
