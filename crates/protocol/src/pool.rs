//! What a pool says about its machine: workers and devices. `llorch-pool … --json` prints these, the daemon serves them.

use serde::{Deserialize, Serialize};

use crate::identifiers::{Backend, Digest, ModelId, WorkerId};

/// One worker process, as the pool knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The worker.
    pub worker_id: WorkerId,
    /// The model it serves.
    pub model: ModelId,
    /// SHA-256 of the model file, where known.
    pub model_digest: Option<Digest>,
    /// What its binary was built for.
    pub backend: Backend,
    /// Device index.
    pub device: u32,
    /// Its process id.
    pub pid: u32,
    /// Where it listens, once it has said so.
    pub url: Option<String>,
    /// What the pool makes of it.
    pub status: WorkerStatus,
    /// Milliseconds since 1970, for display only.
    pub started_at_ms: u64,
    /// Why it ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// State of a worker process in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerStatus {
    /// Started, not ready yet.
    Starting,
    /// Ready for requests.
    Ready,
    /// Was asked to stop.
    Stopping,
    /// Was stopped on request.
    Stopped,
    /// Ended by itself.
    Failed,
}

/// `llorch-pool worker list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerList {
    /// Every worker that is not forgotten, oldest first.
    pub workers: Vec<WorkerRecord>,
}

/// One place a model can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Which backend drives it.
    pub backend: Backend,
    /// Index among that backend's devices.
    pub device: u32,
    /// What its maker calls it.
    pub name: String,
    /// Physical memory, or the limit of the control group where lower.
    pub memory_bytes_total: u64,
    /// Memory that can be taken now.
    pub memory_bytes_available: u64,
    /// Threads that run at once (processors only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Instruction sets that kernels choose by (processors only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// `llorch-pool devices --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// Every device of this machine.
    pub devices: Vec<Device>,
}
