//! `worker list`: the records, made true first by looking at the processes behind them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use protocol::pool::{WorkerList, WorkerRecord, WorkerStatus};

use crate::error::PoolError;
use crate::identity::{self, Proof};
use crate::output::Output;
use crate::readiness::{self, Answer};
use crate::registry::{EndedRecord, Registry, Worker};
use crate::state::judge;
use crate::stop;

/// A worker on loopback answers within milliseconds, also while it computes.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// `worker list`. Stopped workers are listed with `all` only.
///
/// # Errors
/// The registry cannot be used.
pub fn run(output: Output, state_dir: &Path, all: bool) -> Result<(), PoolError> {
    let registry = Registry::open(state_dir)?;
    let listing = registry.list()?;
    if listing.damaged > 0 {
        output.note(&format!("warning: {} damaged records in pool.db are ignored", listing.damaged));
    }
    let mut workers = Vec::new();
    for worker in listing.workers {
        workers.push(refresh(&registry, worker)?);
    }
    workers.retain(|record| all || record.status != WorkerStatus::Stopped);
    let printed = if output.json {
        output.value(&WorkerList { workers })
    } else {
        workers.iter().try_for_each(|record| output.line(&row(record)))
    };
    drop(printed);
    Ok(())
}

/// The record as it is now; what has changed is written down.
///
/// # Errors
/// The registry cannot be written.
pub fn refresh(registry: &Registry, worker: Worker) -> Result<WorkerRecord, PoolError> {
    let worker_id = &worker.record.worker_id;
    let alive = identity::is_ours(&worker.process, Proof::Nonce(&worker.nonce));
    let supervised = identity::is_ours(&worker.supervisor, Proof::Supervises(worker_id));
    if let Some((status, reason)) = judge(worker.record.status, alive, supervised) {
        stop::end_leftovers(&worker);
        // Its supervisor may have written the last record between our reading and our looking: the first one stands.
        registry.set_ended(worker_id, &EndedRecord { status, reason, log_tail: &[] })?;
        return Ok(registry.get(worker_id)?.unwrap_or(worker).record);
    }
    let mut record = worker.record;
    if let (WorkerStatus::Ready, Some(url)) = (record.status, &record.url) {
        match readiness::ask(url, ANSWER_TIMEOUT) {
            Answer::Ready | Answer::Guarded => {}
            Answer::NotReady => record.reason = Some(String::from("running, but not ready for requests")),
            Answer::None => record.reason = Some(String::from("running, but does not answer")),
        }
    }
    Ok(record)
}

fn row(record: &WorkerRecord) -> String {
    let status = match record.status {
        WorkerStatus::Starting => "starting",
        WorkerStatus::Ready => "ready",
        WorkerStatus::Stopping => "stopping",
        WorkerStatus::Stopped => "stopped",
        WorkerStatus::Failed => "failed",
    };
    let url = record.url.as_deref().unwrap_or("-");
    let reason = record.reason.as_ref().map(|reason| format!("  {reason}")).unwrap_or_default();
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(record.started_at_ms);
    let age = started.elapsed().map_or_else(|_| String::from("0s"), |age| age_words(age.as_secs()));
    format!(
        "{}  {status:<8}  {}:{}  {}  {url}  pid {}  {age}{reason}",
        record.worker_id, record.backend, record.device, record.model, record.pid
    )
}

fn age_words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
