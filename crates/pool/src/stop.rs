//! Stopping workers: ask, wait, kill, and wait until they are gone. Nobody is signalled who is not proven to be ours.

use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;
use protocol::identifiers::WorkerId;
use protocol::pool::{StopEvent, StopOutcome, WorkerStatus};

use crate::error::PoolError;
use crate::identity::{self, Identity, Proof};
use crate::output::Output;
use crate::process::{self, Force};
use crate::registry::{EndedRecord, Registry, Worker};
use crate::state::judge;

/// Between two looks at a process that is ending.
const PAUSE: Duration = Duration::from_millis(10);
/// A killed process disappears as soon as the kernel has freed its memory; tens of gigabytes take seconds.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
/// The supervisor writes the last record and ends within this; its own wait for output is 1 s.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(5);

/// Which workers to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// These.
    Ids(Vec<WorkerId>),
    /// All that run.
    All,
}

/// `worker stop`.
///
/// # Errors
/// An id is unknown, or a worker cannot be stopped; the others are stopped all the same.
pub fn run(output: Output, state_dir: &Path, which: &Which, grace: Duration) -> Result<(), PoolError> {
    let registry = Registry::open(state_dir)?;
    let (mut stopped, mut first_error) = (Vec::new(), None);
    let (ids, quiet_about_gone) = match which {
        Which::Ids(ids) => (ids.clone(), false),
        Which::All => {
            let open = |worker: &Worker| worker.record.status != WorkerStatus::Stopped;
            let workers = registry.list()?.workers.into_iter().filter(open);
            (workers.map(|worker| worker.record.worker_id).collect(), true)
        }
    };
    for (worker_id, result) in stop_side_by_side(state_dir, ids, grace) {
        match result {
            Ok(outcome) => {
                output.event(&StopEvent::Stopped { worker_id: worker_id.clone(), outcome });
                let worth_a_line = outcome != StopOutcome::AlreadyGone || !quiet_about_gone;
                if worth_a_line && !output.json {
                    let _nobody_reads = output.line(&format!("{worker_id}  {}", outcome_words(outcome)));
                }
                stopped.push(worker_id);
            }
            Err(error) if first_error.is_none() => first_error = Some(error),
            Err(error) => output.note(&format!("error: {error}")),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => {
            output.event(&StopEvent::Done { stopped });
            Ok(())
        }
    }
}

/// Each waits for its own grace period; together they take as long as the slowest.
fn stop_side_by_side(
    state_dir: &Path,
    ids: Vec<WorkerId>,
    grace: Duration,
) -> Vec<(WorkerId, Result<StopOutcome, PoolError>)> {
    thread::scope(|scope| {
        let stop = |worker_id: WorkerId| {
            let id = worker_id.clone();
            let one = move || Registry::open(state_dir).and_then(|registry| stop_one(&registry, &id, grace));
            (worker_id, scope.spawn(one))
        };
        let running: Vec<_> = ids.into_iter().map(stop).collect();
        let panicked = |_| Err(PoolError::internal("failed to stop a worker", "a bug, see above"));
        let joined = running.into_iter().map(|(worker_id, thread)| (worker_id, thread.join().unwrap_or_else(panicked)));
        joined.collect()
    })
}

fn outcome_words(outcome: StopOutcome) -> &'static str {
    match outcome {
        StopOutcome::Stopped => "stopped",
        StopOutcome::Killed => "killed: it did not end in time",
        StopOutcome::AlreadyGone => "already gone",
    }
}

/// Stops one worker and waits until it and its supervisor are gone. Doing so twice is no error.
///
/// # Errors
/// No such worker, or it does not go.
pub fn stop_one(registry: &Registry, worker_id: &WorkerId, grace: Duration) -> Result<StopOutcome, PoolError> {
    let Some(worker) = registry.get(worker_id)? else {
        let error = PoolError::new(ErrorCode::WorkerNotFound, format!("no worker `{worker_id}` on this machine"));
        return Err(error.hint("`llorch-pool worker list` shows those there are"));
    };
    let ours = identity::is_ours(&worker.process, Proof::Nonce(&worker.nonce));
    let outcome = if ours {
        registry.set_stopping(worker_id)?;
        end_process(&worker, grace)?
    } else {
        StopOutcome::AlreadyGone
    };
    end_supervisor(&worker, ours, grace);
    end_leftovers(&worker);
    let status = registry.get(worker_id)?.map_or(WorkerStatus::Stopped, |worker| worker.record.status);
    if let Some((status, reason)) = judge(status, false, false) {
        registry.set_ended(worker_id, &EndedRecord { status, reason, log_tail: &[] })?;
    }
    registry.set_dismissed(worker_id)?;
    Ok(outcome)
}

fn end_process(worker: &Worker, grace: Duration) -> Result<StopOutcome, PoolError> {
    let proof = Proof::Nonce(&worker.nonce);
    if !process::signal(&worker.process, proof, Force::Terminate) {
        return Ok(StopOutcome::AlreadyGone);
    }
    if wait_until_gone(&worker.process, grace) {
        return Ok(StopOutcome::Stopped);
    }
    let _ended_this_moment = process::signal(&worker.process, proof, Force::Kill);
    if wait_until_gone(&worker.process, KILL_TIMEOUT) {
        return Ok(StopOutcome::Killed);
    }
    let pid = worker.process.pid;
    let message = format!("worker `{}` (pid {pid}) was killed and does not go away", worker.record.worker_id);
    Err(PoolError::new(ErrorCode::Internal, message).hint("its driver or disk holds it: see `dmesg`"))
}

/// The supervisor ends by itself once its worker is gone. One whose record names another process than its worker is asked
/// to stop whatever worker it has; one that does not end is killed, and the kernel ends its worker with it.
fn end_supervisor(worker: &Worker, worker_was_ours: bool, grace: Duration) {
    let proof = Proof::Supervises(&worker.record.worker_id);
    let mut timeout = SUPERVISOR_TIMEOUT;
    if !worker_was_ours && process::signal(&worker.supervisor, proof, Force::Terminate) {
        timeout += grace;
    }
    while identity::is_ours(&worker.supervisor, proof) {
        if wait_until_gone(&worker.supervisor, timeout) || !process::signal(&worker.supervisor, proof, Force::Kill) {
            return;
        }
    }
}

/// Kills what the worker forked and left behind when its supervisor could not clear its group any more.
pub fn end_leftovers(worker: &Worker) {
    for leftover in identity::with_nonce(&worker.nonce) {
        let _ended_this_moment = process::signal(&leftover, Proof::Nonce(&worker.nonce), Force::Kill);
    }
}

fn wait_until_gone(process: &Identity, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    while identity::is_running(process) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(PAUSE);
    }
    true
}
