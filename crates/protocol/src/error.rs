//! The error vocabulary: one closed set of codes, one table from code to HTTP status, retriability and exit code.
//!
//! Texts and hints are written where an error arises; this file only says what each code means to a machine.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $retriable:literal, $exit:literal;)+) => {
        /// Every error a llorch program reports to another, or to a person.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The code as it stands on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)+ }
            }

            /// HTTP status of an answer that carries it.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)+ }
            }

            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub fn retriable(self) -> bool {
                match self { $(ErrorCode::$variant => $retriable,)+ }
            }

            /// Exit code of a command that ends with it.
            #[must_use]
            pub fn exit_code(self) -> u8 {
                match self { $(ErrorCode::$variant => $exit,)+ }
            }
        }
    };
}

error_codes! {
    /// The request is refused by policy.
    AdmissionReject = "ADMISSION_REJECT", 403, false, 1;
    /// No room to wait; `Retry-After` says when to come again.
    QueueFull = "QUEUE_FULL", 429, true, 1;
    /// A field is out of its range; the answer lists every such field.
    InvalidParams = "INVALID_PARAMS", 400, false, 2;
    /// Prompt and requested tokens exceed the context.
    ContextLength = "CONTEXT_LENGTH", 400, false, 1;
    /// No pool answers.
    PoolUnavailable = "POOL_UNAVAILABLE", 503, true, 1;
    /// The worker is not ready: loading, draining or failed.
    WorkerUnavailable = "WORKER_UNAVAILABLE", 503, false, 1;
    /// The worker ended while it was working.
    WorkerLost = "WORKER_LOST", 502, false, 1;
    /// The worker did not answer in time.
    WorkerTimeout = "WORKER_TIMEOUT", 504, true, 1;
    /// The device has too little free memory.
    InsufficientVram = "INSUFFICIENT_VRAM", 503, true, 1;
    /// The host has too little free memory.
    InsufficientMemory = "INSUFFICIENT_MEMORY", 503, true, 1;
    /// The device is gone or broken.
    GpuUnavailable = "GPU_UNAVAILABLE", 503, true, 1;
    /// Neither catalog nor store knows the model.
    ModelNotFound = "MODEL_NOT_FOUND", 404, false, 1;
    /// The model file is not what it should be: damaged, hostile or of a kind this build cannot run.
    ModelInvalid = "MODEL_INVALID", 422, false, 1;
    /// Another process is fetching or deleting the model.
    ModelBusy = "MODEL_BUSY", 409, true, 1;
    /// Files of the model are missing, and no source of them can be reached; the message names them.
    OfflineIncomplete = "OFFLINE_INCOMPLETE", 503, true, 1;
    /// A source of models answered, and not with what was asked for.
    SourceFailed = "SOURCE_FAILED", 502, true, 1;
    /// The disk is full, or what this user may have of it.
    DiskFull = "DISK_FULL", 507, false, 1;
    /// The disk cannot be read or written.
    StorageFailed = "STORAGE_FAILED", 500, false, 1;
    /// The architecture or tokenizer is known by name only.
    ModelUnsupported = "MODEL_UNSUPPORTED", 422, false, 1;
    /// The vocabulary of a model file or checkpoint contradicts itself, or is larger than any there is.
    TokenizerInvalid = "TOKENIZER_INVALID", 422, false, 1;
    /// The worker process ended before it was ready.
    WorkerStartFailed = "WORKER_START_FAILED", 500, false, 1;
    /// The worker was not ready in time.
    WorkerStartTimeout = "WORKER_START_TIMEOUT", 504, true, 1;
    /// No worker or job of that id.
    WorkerNotFound = "WORKER_NOT_FOUND", 404, false, 1;
    /// The server has nothing under that path.
    PathNotFound = "PATH_NOT_FOUND", 404, false, 1;
    /// What lies under the path is not asked in that way.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, false, 1;
    /// The body exceeds what the server takes.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413, false, 1;
    /// No job of that id.
    JobNotFound = "JOB_NOT_FOUND", 404, false, 1;
    /// A newer attempt of the job is known.
    StaleAttempt = "STALE_ATTEMPT", 409, false, 1;
    /// The events asked for are not kept any more.
    OffsetLost = "OFFSET_LOST", 409, false, 1;
    /// The model computed a value that is not a finite number.
    Numeric = "NUMERIC", 500, false, 1;
    /// The work was cancelled; for unary answers only, a stream ends with `end{CANCELLED}`.
    Cancelled = "CANCELLED", 499, false, 130;
    /// The client did not read its stream.
    ClientStalled = "CLIENT_STALLED", 408, false, 1;
    /// The program is shutting down.
    Draining = "DRAINING", 503, true, 1;
    /// A chat template exceeded its budget or is not a template.
    TemplateInvalid = "TEMPLATE_INVALID", 422, false, 1;
    /// No profile, no alias of ssh and no address: nothing was tried.
    HostUnknown = "HOST_UNKNOWN", 404, false, 2;
    /// The host does not answer, or not in a way that can be used.
    HostUnreachable = "HOST_UNREACHABLE", 503, true, 69;
    /// The host knows none of the user's keys.
    HostUnauthorized = "HOST_UNAUTHORIZED", 401, false, 69;
    /// The host's key was never seen before.
    HostKeyUnknown = "HOST_KEY_UNKNOWN", 502, false, 69;
    /// The host's key is another than the known one, or was revoked.
    HostKeyChanged = "HOST_KEY_CHANGED", 502, false, 76;
    /// The connection went away under a task.
    ConnectionLost = "CONNECTION_LOST", 502, true, 69;
    /// What a task needs on the host is not there: the checkout, cargo, the installed command.
    HostNotReady = "HOST_NOT_READY", 503, false, 1;
    /// The host's copy of the working tree is not what was sent.
    SyncMismatch = "SYNC_MISMATCH", 502, true, 1;
    /// No valid API key.
    Unauthorized = "UNAUTHORIZED", 401, false, 1;
    /// The command could not do it, for a reason that only its message tells.
    Failed = "FAILED", 500, false, 1;
    /// A bug of ours.
    Internal = "INTERNAL", 500, false, 1;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Body of every error answer: `{"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What happened.
    pub error: ErrorDetail,
}

/// What an error answer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The machine's word for it.
    pub code: ErrorCode,
    /// The people's words: a lowercase fragment.
    pub message: String,
    /// What to do, usually a command to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Facts for machines; the shape depends on the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// Joins this answer to the log lines of every program it passed through.
    pub correlation_id: String,
}

/// Body of a 400 that lists every bad field: `{"errors":[…]}`. Values are never echoed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldErrors {
    /// One entry a bad field.
    pub errors: Vec<FieldError>,
}

/// One bad field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Name of the field, with index where it is a list: `stop[4]`; empty where the body as a whole is meant.
    pub field: String,
    /// Machine-readable rule: `range`, `type`, `required`, `unknown`, `length`, `format`, `exclusive`, `unsupported`, `json`.
    pub constraint: String,
    /// What would be accepted.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ErrorCode;

    #[test]
    fn the_table_is_consistent() {
        let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len(), "a name is one code's alone");
        for code in ErrorCode::ALL.iter().copied() {
            assert_eq!(code.to_string(), code.name());
            assert!(code.name().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            assert!((400..600).contains(&code.http_status()), "{code} is no error to HTTP");
            // What shells and sysexits have names for; everything else is a plain failure.
            assert!([1, 2, 69, 76, 130].contains(&code.exit_code()), "{code}");
            // Who is told to try again must not be told that the request itself is wrong.
            assert!(!code.retriable() || [409, 429, 502, 503, 504].contains(&code.http_status()), "{code}");
        }
    }
}
