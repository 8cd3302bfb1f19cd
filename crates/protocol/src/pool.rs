//! What a pool says: documents about its machine (workers, devices), and the events of its commands, one a line.
//!
//! `llorch-pool … --json` prints all of these. What a supervisor tells the command that started it is the pool's own.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
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

/// One line of `llorch-pool worker spawn --json`: `starting` → `loading`* → `ready` → `done`, or `error` at any point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SpawnEvent {
    /// The process exists.
    Starting {
        /// The worker.
        worker_id: WorkerId,
        /// Its process id.
        pid: u32,
    },
    /// Loading moved.
    Loading {
        /// Blocks that are complete.
        layers_loaded: u64,
        /// Blocks of the model.
        layers_total: u64,
    },
    /// Requests are accepted.
    Ready {
        /// Where it listens.
        url: String,
        /// The worker.
        worker_id: WorkerId,
        /// Its process id.
        pid: u32,
    },
    /// The command ends well: the worker lives on, or with `--attached` was stopped.
    Done {
        /// Where it listens, or did.
        url: String,
        /// The worker.
        worker_id: WorkerId,
        /// Its process id.
        pid: u32,
    },
    /// The command failed; the worker is gone.
    Error(CommandError),
}

/// One line of `llorch-pool worker stop --json` and `stop-all --json`: `stopped`* → `done` or `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StopEvent {
    /// A worker is gone.
    Stopped {
        /// The worker.
        worker_id: WorkerId,
        /// How it went.
        outcome: StopOutcome,
    },
    /// Every worker that was named is gone.
    Done {
        /// The workers, in the order they were named.
        stopped: Vec<WorkerId>,
    },
    /// A worker is not known or does not go; the others were stopped all the same.
    Error(CommandError),
}

/// What became of a worker that was to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// It ended when asked.
    Stopped,
    /// It had to be killed.
    Killed,
    /// It had ended before.
    AlreadyGone,
}

/// One line of `llorch-pool worker logs --json`: `line`* → `done` or `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LogsEvent {
    /// A whole line of the worker's output.
    Line {
        /// The line, without its end; what is not UTF-8 is replaced.
        line: String,
    },
    /// Everything asked for was printed.
    Done {
        /// The worker.
        worker_id: WorkerId,
        /// The current log file.
        path: String,
    },
    /// The log cannot be read.
    Error(CommandError),
}

/// The last line of any `llorch-pool … --json` command that fails, before its verb is known too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ErrorEvent {
    /// The command failed.
    Error(CommandError),
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandError {
    /// The machine's word for it; decides the exit code.
    pub code: ErrorCode,
    /// What the command ends with.
    #[serde(default = "plain_failure")]
    pub exit_code: u8,
    /// The people's words: a lowercase fragment.
    pub message: String,
    /// What to do, usually a command to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was known when it happened: the end of a log, the values that disagree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
}

/// A pool that says no exit code is older than the field.
fn plain_failure() -> u8 {
    1
}
