//! What the HTTP side and the engine's thread both see. The engine itself belongs to its thread alone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::{Frontend, ModelDescription};
use protocol::error::ErrorCode;
use protocol::worker::{Health, HealthStatus};
use tokio::sync::{Semaphore, watch};

use crate::engine_thread::Command;
use crate::failure::Failure;
use crate::jobs::Jobs;
use crate::lifecycle::Phase;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Jobs that may wait for a slot; more is refused with QUEUE_FULL.
pub(crate) const QUEUE_LIMIT: usize = 64;
/// Steps in a row that failed numerically before the worker calls itself degraded.
const NUMERIC_FAILURES_LIMIT: u32 = 3;

/// A loaded model, as the HTTP side needs it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub frontend: Arc<Frontend>,
    pub description: ModelDescription,
}

/// Texts that are read at once: a processor each on a small machine, and one left for the engine on a larger.
const TEXTS_AT_ONCE: usize = 2;

/// State of one worker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Settings,
    pub loaded: OnceLock<Loaded>,
    pub jobs: Jobs,
    pub metrics: Metrics,
    /// One permit a job that waits or runs; it travels with the job, so that it cannot leak.
    pub admission: Arc<Semaphore>,
    texts: Arc<Semaphore>,
    pub commands: std::sync::mpsc::SyncSender<Command>,
    pub slots_busy: AtomicU32,
    numeric_failures: AtomicU32,
    phase: watch::Sender<Phase>,
    started: Instant,
    next_correlation: AtomicU64,
}

impl Shared {
    pub(crate) fn new(settings: Settings, commands: std::sync::mpsc::SyncSender<Command>) -> Arc<Self> {
        let permits = settings.slots as usize + QUEUE_LIMIT;
        Arc::new(Self {
            settings,
            loaded: OnceLock::new(),
            jobs: Jobs::default(),
            metrics: Metrics::new(),
            admission: Arc::new(Semaphore::new(permits)),
            texts: Arc::new(Semaphore::new(TEXTS_AT_ONCE)),
            commands,
            slots_busy: AtomicU32::new(0),
            numeric_failures: AtomicU32::new(0),
            phase: watch::Sender::new(Phase::Loading { blocks_loaded: 0, blocks_total: 0, bytes_loaded: 0 }),
            started: Instant::now(),
            next_correlation: AtomicU64::new(1),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves on to `next` if that may follow; whether it did.
    pub(crate) fn enter(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let may = phase.may_become(&next);
            if may {
                *phase = next;
            }
            may
        })
    }

    /// A job ended: `numeric` if by a value that was not finite.
    pub(crate) fn count_numeric(&self, numeric: bool) {
        if numeric {
            self.numeric_failures.fetch_add(1, Ordering::Relaxed);
        } else {
            self.numeric_failures.store(0, Ordering::Relaxed);
        }
    }

    /// Templates and tokenizers take time that grows with the text: off the threads that serve everybody, and a few at a
    /// time, also when clients leave and come again.
    pub(crate) async fn read_text<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let broken = |what: &str| Failure::new(ErrorCode::Internal, what);
        let permit = Arc::clone(&self.texts).acquire_owned().await.map_err(|_| broken("the worker reads no more"))?;
        let counted = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(counted).await.map_err(|_| broken("the tokenizer panicked"))
    }

    /// A correlation id of our own for a request that came without one.
    pub(crate) fn new_correlation_id(&self) -> String {
        let number = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{number}", self.settings.worker_id, std::process::id())
    }

    /// `/health`; never waits for inference.
    pub(crate) fn health(&self) -> Health {
        let phase = self.phase();
        let description = self.loaded.get().map(|loaded| &loaded.description);
        let is_degraded = self.numeric_failures.load(Ordering::Relaxed) >= NUMERIC_FAILURES_LIMIT;
        let status = match phase {
            Phase::Failed { .. } => HealthStatus::Failed,
            Phase::Loading { .. } | Phase::Ready | Phase::Draining if is_degraded => HealthStatus::Degraded,
            Phase::Loading { .. } | Phase::Ready | Phase::Draining => HealthStatus::Healthy,
        };
        Health {
            status,
            model_loaded: matches!(phase, Phase::Ready | Phase::Draining) && description.is_some(),
            worker_id: self.settings.worker_id.clone(),
            model: self.settings.model_id.clone(),
            architecture: description.map(|description| description.architecture.clone()),
            quantization: description.map(|description| description.quantization.clone()),
            tokenizer: description.map(|description| description.tokenizer.clone()),
            vocab_size: description.map(|description| description.vocab_size),
            context_length: description.map(|description| description.context_length),
            backend: self.settings.backend,
            device: self.settings.device,
            memory_bytes: resident_bytes(),
            slots_total: self.settings.slots,
            slots_busy: self.slots_busy.load(Ordering::Relaxed),
            uptime_seconds: self.started.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Memory this process holds; 0 where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
