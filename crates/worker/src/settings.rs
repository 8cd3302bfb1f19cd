//! What a worker runs with, resolved once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use protocol::identifiers::{Backend, Digest, WorkerId};

/// How long a client may read nothing, or be out of reach, before its job ends: three keep-alives, as long as the
/// impatience of common reverse proxies.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Everything a worker is told from outside.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Id of this worker.
    pub worker_id: WorkerId,
    /// Name of the model in answers.
    pub model_id: String,
    /// The GGUF file.
    pub model_path: PathBuf,
    /// SHA-256 of the file, where known.
    pub model_digest: Option<Digest>,
    /// The backend, in the wire's words.
    pub backend: Backend,
    /// The backend, in the engine's words.
    pub engine_backend: engine::BackendKind,
    /// Device index.
    pub device: u32,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Host to put into the callback's URL.
    pub advertise: Option<String>,
    /// Where to post the callback.
    pub callback_url: Option<String>,
    /// Positions a sequence may use; the model's own limit when absent.
    pub context_length: Option<u64>,
    /// Sequences at once.
    pub slots: u32,
    /// Proves that the callback comes from the process that was started.
    pub nonce: String,
    /// What clients must show; nothing when absent.
    pub api_key: Option<String>,
    /// How long a client may read nothing, or be out of reach; [`STALL_LIMIT`] but for tests.
    pub stall_limit: Duration,
}

impl Settings {
    /// What the engine is asked to load.
    pub(crate) fn load_options(&self) -> engine::LoadOptions {
        engine::LoadOptions {
            path: self.model_path.clone(),
            backend: self.engine_backend,
            device: self.device,
            context_length: self.context_length,
            slots: self.slots,
        }
    }
}
