//! What went wrong, in the four parts that design §5 asks for: code, sentence, what was known, what to type.

use std::fmt::Display;

use protocol::error::ErrorCode;

/// An error of a pool command. The code decides the exit code, the rest is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PoolError {
    /// The machine's word for it.
    pub code: ErrorCode,
    /// Lowercase fragment, no full stop.
    pub message: String,
    /// Lines printed between the error and the hint: the end of a log, the values that disagree.
    pub known: Vec<String>,
    /// What to do, usually a command to type.
    pub hint: Option<String>,
}

impl PoolError {
    /// An error without hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), known: Vec::new(), hint: None }
    }

    /// A failure that no request can cause: a file that cannot be written, a process that cannot be made.
    #[must_use]
    pub fn internal(doing: &str, cause: impl Display) -> Self {
        Self::new(ErrorCode::Internal, format!("{doing}: {cause}"))
    }

    /// The same error with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with lines that were known when it happened.
    #[must_use]
    pub fn known(mut self, lines: Vec<String>) -> Self {
        self.known = lines;
        self
    }
}
