//! What went wrong: the machine's word, the exit code, the sentence, what was known, what to type (design §5).

use protocol::error::ErrorCode;

/// Why a verb did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The machine's word for it: `FAILED` where there is no closer one.
    pub code: ErrorCode,
    /// Exit code of the command; the code's own, but for another signal than Ctrl-C's.
    pub exit_code: u8,
    /// Lowercase fragment, no full stop.
    pub message: String,
    /// Lines printed between the error and the hint: the end of a log, the values that disagree.
    pub known: Vec<String>,
    /// What to do, usually a command to type.
    pub hint: Option<String>,
    /// Whether it is told to nobody: the reader of standard output has gone, and with it whoever asked.
    pub is_silent: bool,
}

impl Failure {
    /// A failure that only its message tells from others: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self::coded(ErrorCode::Failed, message)
    }

    /// A failure with a code, which also decides the exit code.
    pub fn coded(code: ErrorCode, message: impl Into<String>) -> Self {
        let (message, exit_code) = (message.into(), code.exit_code());
        Self { code, exit_code, message, known: Vec::new(), hint: None, is_silent: false }
    }

    /// The command line cannot be carried out as it was typed: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::coded(ErrorCode::InvalidParams, message)
    }

    /// Ctrl-C: exit code 130; 128 and its number for another signal.
    pub fn interrupted() -> Self {
        let failure = Self::coded(ErrorCode::Cancelled, "interrupted");
        let of_signal = crate::interrupt::signal().and_then(|signal| u8::try_from(128 + signal).ok());
        Self { exit_code: of_signal.unwrap_or(failure.exit_code), ..failure }
    }

    /// Nobody reads standard output any more (`… | head`): ends without a word, as done.
    pub fn reader_gone() -> Self {
        Self { exit_code: 0, is_silent: true, ..Self::new("standard output was closed") }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with advice, if there is any.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The same failure with lines that were known when it happened.
    #[must_use]
    pub fn known(mut self, known: Vec<String>) -> Self {
        self.known = known;
        self
    }

    /// The same failure with a closer word, if there is one.
    #[must_use]
    pub fn maybe_code(mut self, code: Option<ErrorCode>) -> Self {
        self.code = code.unwrap_or(ErrorCode::Failed);
        self.exit_code = self.code.exit_code();
        self
    }

    /// The same failure, said of a host.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.message = format!("{host}: {}", self.message);
        self
    }

    /// Whether it was Ctrl-C.
    pub fn is_interrupt(&self) -> bool {
        self.code == ErrorCode::Cancelled
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // fs-err has put the path into it.
        Self::new(error.to_string())
    }
}

impl From<models::catalog::CatalogError> for Failure {
    fn from(error: models::catalog::CatalogError) -> Self {
        Self::new(error.to_string()).maybe_code(error.code()).maybe_hint(error.hint())
    }
}

impl From<models::catalog::UnknownModel> for Failure {
    fn from(error: models::catalog::UnknownModel) -> Self {
        Self::coded(error.code(), error.to_string()).hint(error.hint())
    }
}

impl From<models::places::PlacesError> for Failure {
    fn from(error: models::places::PlacesError) -> Self {
        Self::usage(error.to_string()).hint(error.hint())
    }
}

impl From<models::store::StoreError> for Failure {
    fn from(error: models::store::StoreError) -> Self {
        Self::coded(error.code(), error.to_string()).maybe_hint(error.hint())
    }
}

impl From<models::fetch::FetchError> for Failure {
    fn from(error: models::fetch::FetchError) -> Self {
        Self::coded(error.code(), error.to_string()).maybe_hint(error.hint())
    }
}

impl From<models::fetch::settings::SettingsError> for Failure {
    fn from(error: models::fetch::settings::SettingsError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<models::verify::VerifyError> for Failure {
    fn from(error: models::verify::VerifyError) -> Self {
        Self::coded(error.code(), error.to_string()).maybe_hint(error.hint())
    }
}

impl From<models::info::InfoError> for Failure {
    fn from(error: models::info::InfoError) -> Self {
        Self::coded(error.code(), error.to_string()).hint(error.hint())
    }
}

#[cfg(test)]
mod tests {
    use protocol::error::ErrorCode;

    use super::Failure;

    #[test]
    fn exit_codes_follow_the_table() {
        assert_eq!((Failure::new("x").code, Failure::new("x").exit_code), (ErrorCode::Failed, 1));
        assert_eq!(Failure::usage("x").exit_code, 2);
        assert_eq!(Failure::interrupted().exit_code, 130);
        assert_eq!(Failure::reader_gone().exit_code, 0);
        assert_eq!(Failure::coded(ErrorCode::WorkerLost, "x").exit_code, 1);
        assert_eq!(Failure::new("x").maybe_code(Some(ErrorCode::Cancelled)).exit_code, 130);
    }
}
