//! What the spawning command and the supervisor say to each other, through the supervisor's standard input and output.
//!
//! Down: one line with a [`Launch`], later one line [`KEEP`]. End of file before `KEEP` means that the command is gone
//! or has changed its mind, and the worker is stopped: until it is kept, a worker belongs to the command.
//! Up: one [`Report`] a line, the last is `ended`. Both ends are the same binary, so the types may change freely.

use std::ffi::OsString;
use std::path::PathBuf;

use protocol::error::ErrorCode;
use protocol::identifiers::{Backend, Digest, ModelId, WorkerId};
use serde::{Deserialize, Serialize};

/// The line that lets the supervisor outlive the command.
pub const KEEP: &str = "keep";

/// Everything a supervisor needs to start its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The worker's id.
    pub worker_id: WorkerId,
    /// Its program, absolute.
    pub binary: PathBuf,
    /// What the program was built for.
    pub backend: Backend,
    /// The model's id.
    pub model: ModelId,
    /// The model's file, absolute.
    pub model_path: PathBuf,
    /// SHA-256 of that file, where known.
    pub model_digest: Option<Digest>,
    /// Device index.
    pub device: u32,
    /// Positions a sequence may use; the model's own limit when absent.
    pub context: Option<u32>,
    /// Sequences at once; the worker's own choice when absent.
    pub slots: Option<u32>,
    /// 128 random bits in hexadecimal. Travels through pipes and environments, never through argv.
    pub nonce: String,
    /// Folder of pool.db and logs.
    pub state_dir: PathBuf,
    /// Clocks.
    pub limits: Limits,
    /// Bounds of the log.
    pub log: LogLimits,
}

/// How long the steps of a start and a stop may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the start to the callback.
    pub callback_ms: u64,
    /// Between two steps of loading progress.
    pub stall_ms: u64,
    /// From the start to ready, whatever the progress.
    pub overall_ms: u64,
    /// Between the request to stop and the kill.
    pub grace_ms: u64,
}

/// Bounds of one worker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Size of one file.
    pub size_bytes: u64,
    /// Files kept, the current one included.
    pub count: u32,
}

impl Launch {
    /// Arguments of the worker (design §4). It binds port 0 and says in its callback what it got.
    #[must_use]
    pub fn arguments(&self, callback_url: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut pair = |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);
        pair("--worker-id", self.worker_id.as_str().into());
        pair("--model", self.model_path.clone().into_os_string());
        pair("--model-id", self.model.as_str().into());
        if let Some(digest) = self.model_digest {
            pair("--model-digest", digest.to_string().into());
        }
        pair("--backend", self.backend.name().into());
        pair("--device", self.device.to_string().into());
        pair("--port", "0".into());
        pair("--callback-url", callback_url.into());
        if let Some(context) = self.context {
            pair("--context", context.to_string().into());
        }
        if let Some(slots) = self.slots {
            pair("--slots", slots.to_string().into());
        }
        arguments
    }
}

/// What the supervisor tells the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// The process exists.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The worker listens; loading begins.
    CalledBack {
        /// Where it listens.
        url: String,
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
    },
    /// The process is gone. Always the last report.
    Ended(Ended),
}

/// The last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Absent when it ended because somebody asked for it.
    pub code: Option<ErrorCode>,
    /// What happened, a complete fragment.
    pub reason: String,
    /// Its last lines of output.
    pub log_tail: Vec<String>,
}
