//! Errors on their way to a client: a code, a message, a hint; [`protocol::error`] has the rest.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{LoadError, PromptError, StartError, StepError};
use protocol::error::{ErrorBody, ErrorCode, ErrorDetail, FieldErrors};

use crate::guard::CorrelationId;

/// When a client may come again: a slot is free within about that, and nobody is hurt who comes too early.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub code: ErrorCode,
    pub message: String,
    pub hint: Option<String>,
    /// Facts for machines; boxed, because few errors have any and every result carries the room.
    pub details: Option<Box<serde_json::Value>>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// No room to wait.
    pub(crate) fn queue_full() -> Self {
        let details = serde_json::json!({
            "policy_label": "queue-limit", "retriable": true, "retry_after_ms": RETRY_AFTER_SECONDS * 1000,
        });
        let failure = Self::new(ErrorCode::QueueFull, "every slot is busy and the queue is full");
        Self { details: Some(Box::new(details)), ..failure }
    }

    /// The HTTP answer of a request with that correlation id.
    pub(crate) fn respond(self, correlation: &CorrelationId) -> Response {
        let status = StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.code.retriable().then(|| [("retry-after", RETRY_AFTER_SECONDS.to_string())]);
        let error = ErrorDetail {
            code: self.code,
            message: self.message,
            hint: self.hint,
            details: self.details.map(|details| *details),
            correlation_id: correlation.0.clone(),
        };
        (status, retry_after.map(axum::response::AppendHeaders), Json(ErrorBody { error })).into_response()
    }

    /// The event that ends a stream with this error.
    pub(crate) fn into_event(self, tokens_out: u64) -> protocol::event::Event {
        let retriable = self.code.retriable();
        let failure = protocol::event::Failure { code: self.code, message: self.message, retriable, tokens_out };
        protocol::event::Event::Error(failure)
    }
}

/// The answer to a request with bad fields.
pub(crate) fn bad_fields(errors: FieldErrors) -> Response {
    (StatusCode::BAD_REQUEST, Json(errors)).into_response()
}

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Self {
        let message = error.to_string();
        match error {
            PromptError::ContextLength { prompt_tokens, max_tokens, context_length } => {
                let details = serde_json::json!({
                    "prompt_tokens": prompt_tokens, "max_tokens": max_tokens, "context_length": context_length,
                });
                let mut failure = Self::new(ErrorCode::ContextLength, message);
                failure.details = Some(Box::new(details));
                failure.hint("shorten the prompt or ask for fewer tokens")
            }
            PromptError::Template(_) => Self::new(ErrorCode::TemplateInvalid, message)
                .hint("send `prompt` with the text as the model expects it, instead of `messages`"),
            PromptError::Tokenizer(_) => Self::new(ErrorCode::Internal, message),
            PromptError::Empty => Self::new(ErrorCode::InvalidParams, message),
        }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let code = match error {
            StepError::Numeric { .. } => ErrorCode::Numeric,
            StepError::Backend { .. } | StepError::Panic { .. } => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::NoSlot { .. } => Self::new(ErrorCode::QueueFull, message),
            StartError::Length => Self::new(ErrorCode::ContextLength, message),
            StartError::Memory(error) => error.into(),
        }
    }
}

/// The code a load error is reported with.
pub(crate) fn load_error_code(error: &LoadError) -> ErrorCode {
    if error.is_unsupported() {
        return ErrorCode::ModelUnsupported;
    }
    match error {
        LoadError::Context { .. } => ErrorCode::InvalidParams,
        LoadError::Open(_)
        | LoadError::Configuration { .. }
        | LoadError::Program { .. }
        | LoadError::TensorType { .. }
        | LoadError::UnusedTensor { .. } => ErrorCode::ModelInvalid,
        LoadError::Tokenizer { .. } => ErrorCode::TokenizerInvalid,
        LoadError::TooLarge { .. } => ErrorCode::InsufficientMemory,
        LoadError::Device { .. } => ErrorCode::GpuUnavailable,
        LoadError::Cancelled => ErrorCode::Draining,
    }
}
