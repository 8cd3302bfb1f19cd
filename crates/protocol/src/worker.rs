//! What a worker says about itself: health, readiness, loading progress, and the callback to whoever started it.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::identifiers::{Backend, Digest, WorkerId};

/// Environment variable with the nonce that proves a callback comes from the process that was started.
pub const NONCE_VARIABLE: &str = "LLORCH_WORKER_NONCE";
/// Environment variable with the API key that a worker asks of its clients.
pub const API_KEY_VARIABLE: &str = "LLORCH_API_KEY";
/// How long a worker that was asked to stop lets running jobs go on. Whoever stops one waits longer before he kills it, so
/// that the streams that are cut off still end with an event.
pub const DRAIN_DEADLINE_SECONDS: u64 = 10;
/// Header that joins the log lines of one request across processes.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Overall state.
    pub status: HealthStatus,
    /// Whether requests can be served.
    pub model_loaded: bool,
    /// The worker.
    pub worker_id: WorkerId,
    /// Id of the model it was started with.
    pub model: String,
    /// Architecture of the loaded model.
    pub architecture: Option<String>,
    /// Type of most of its weights.
    pub quantization: Option<String>,
    /// Tokenizer and pre-tokenizer: `gpt2/smollm`.
    pub tokenizer: Option<String>,
    /// Rows of the output layer.
    pub vocab_size: Option<u64>,
    /// Positions a sequence may use.
    pub context_length: Option<u64>,
    /// What the binary was built for.
    pub backend: Backend,
    /// Device index.
    pub device: u32,
    /// Memory held by the process.
    pub memory_bytes: u64,
    /// Sequences that can run at once.
    pub slots_total: u32,
    /// Sequences that run now.
    pub slots_busy: u32,
    /// Time since start.
    pub uptime_seconds: u64,
    /// Version of the binary.
    pub version: String,
}

/// Overall state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Works, or is loading.
    Healthy,
    /// Works, but its recent answers failed.
    Degraded,
    /// Will not work again.
    Failed,
}

/// `GET /v1/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether requests are accepted.
    pub ready: bool,
    /// What it does.
    pub state: WorkerState,
    /// Where loading can be followed, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_url: Option<String>,
}

/// What a worker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Ready, no work.
    Idle,
    /// Ready, working.
    Busy,
    /// The model is being loaded.
    Loading,
    /// Finishing what it has, accepting nothing.
    Draining,
    /// Loading failed.
    Error,
}

/// One `data:` line of `GET /v1/loading/progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum LoadingProgress {
    /// Weights are on their way to the device.
    LoadingToVram {
        /// Blocks that are complete.
        layers_loaded: u64,
        /// Blocks of the model.
        layers_total: u64,
        /// Weights placed so far, in MiB.
        vram_mb: u64,
    },
    /// The model is loaded.
    Ready,
    /// The model is not going to load.
    Error {
        /// The machine's word for it.
        code: ErrorCode,
        /// The people's words.
        message: String,
    },
}

/// What a worker posts to its callback URL, after its socket is bound and before it loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The worker.
    pub worker_id: WorkerId,
    /// Where it listens: `http://host:port`.
    pub url: String,
    /// Id of the model it loads.
    pub model: String,
    /// SHA-256 of the model file, where known.
    pub model_digest: Option<Digest>,
    /// What the binary was built for.
    pub backend: Backend,
    /// Device index.
    pub device: u32,
    /// Memory it plans to hold; `/health` gives the actual figure.
    pub memory_bytes: u64,
    /// Its process id.
    pub pid: u32,
    /// The nonce it was started with.
    pub nonce: String,
}
