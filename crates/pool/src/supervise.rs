//! The hidden verb `supervise`: owns one worker for as long as it lives, and ends with it.
//!
//! One loop owns the state ([`Supervision`]); threads send it events; it carries out the effects. The loop runs on the
//! main thread, which also makes the worker: the kernel's parent-death signal is bound to that very thread.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime};

use protocol::error::ErrorCode;
use protocol::identifiers::WorkerId;
use protocol::pool::{WorkerRecord, WorkerStatus};

use crate::callback::{Expected, Listener};
use crate::ending::Ending;
use crate::error::PoolError;
use crate::identity::{Identity, Proof, identify};
use crate::launch::{Ended, KEEP, Launch, Report};
use crate::log::Tail;
use crate::process::Force;
use crate::registry::{EndedRecord, Registry, Worker};
use crate::state::{Effect, Event, Supervision, Verdict};
use crate::{log, process, readiness, signals};

/// After the worker and its group are gone, its output ends at once; a process that left the group may hold it open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs until the worker is gone. Errors before the worker exists are reported like the ends of workers.
pub fn run(worker_id: &WorkerId) {
    process::close_inherited();
    let mut line = String::new();
    let launch = io::stdin().read_line(&mut line).ok().and_then(|_| serde_json::from_str::<Launch>(&line).ok());
    let Some(launch) = launch.filter(|launch| launch.worker_id == *worker_id) else {
        return report(&failed_start("the supervisor was started without its instructions", None));
    };
    match start(launch) {
        Ok((running, events)) => running.attend(&events),
        Err(error) => report(&failed_start(&error.message, Some(error.code))),
    }
}

fn failed_start(reason: &str, code: Option<ErrorCode>) -> Report {
    let code = Some(code.unwrap_or(ErrorCode::Internal));
    Report::Ended(Ended { code, reason: reason.to_owned(), log_tail: Vec::new() })
}

/// The command may be gone; then nobody needs to know.
fn report(report: &Report) {
    let mut output = io::stdout().lock();
    let line = serde_json::to_string(report).unwrap_or_default();
    let _nobody_listens = writeln!(output, "{line}").and_then(|()| output.flush());
}

struct Running {
    launch: Launch,
    identity: Identity,
    registry: Registry,
    supervision: Supervision,
    started: Instant,
    events: Sender<Event>,
    tail: Tail,
    drained: Receiver<()>,
}

fn start(launch: Launch) -> Result<(Running, Receiver<Event>), PoolError> {
    let failed = |doing: &str| {
        let doing = format!("failed to {doing}");
        move |cause: io::Error| PoolError::internal(&doing, cause)
    };
    let (sender, events) = mpsc::channel();
    let stop = sender.clone();
    signals::watch(move |_| drop(stop.send(Event::StopRequested))).map_err(failed("watch for signals"))?;
    let registry = Registry::open(&launch.state_dir)?;
    let listener = Listener::bind().map_err(failed("bind a loopback port for the callback"))?;
    let (output, worker_output) = io::pipe().map_err(failed("make a pipe"))?;
    let kills_before = process::out_of_memory_kills();

    let started = Instant::now();
    let child = process::spawn_worker(&launch, &listener.url(), worker_output).map_err(|cause| {
        PoolError::new(
            ErrorCode::WorkerStartFailed,
            format!("failed to execute `{}`: {cause}", launch.binary.display()),
        )
    })?;
    // From here on an error return ends this process, and the kernel ends the worker with it.
    let pid = child.id();
    let identity = identify(pid).map_err(failed("identify the worker's process"))?;
    registry.insert(&new_record(&launch, identity.clone())?)?;
    report(&Report::Started { pid });

    let expected = Expected { worker_id: launch.worker_id.clone(), nonce: launch.nonce.clone(), pid };
    listener.serve(expected, sender.clone()).map_err(failed("start a thread"))?;
    let tail = Tail::default();
    let drained = start_drain(&launch, output, tail.clone()).map_err(failed("start a thread"))?;
    start_waiter(&launch, child, kills_before, sender.clone()).map_err(failed("start a thread"))?;
    start_control(sender.clone()).map_err(failed("start a thread"))?;
    let supervision = Supervision::new(launch.limits);
    Ok((Running { launch, identity, registry, supervision, started, events: sender, tail, drained }, events))
}

fn new_record(launch: &Launch, process: Identity) -> Result<Worker, PoolError> {
    let supervisor = identify(std::process::id())
        .map_err(|cause| PoolError::internal("failed to identify the supervisor's process", cause))?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let record = WorkerRecord {
        worker_id: launch.worker_id.clone(),
        model: launch.model.clone(),
        model_digest: launch.model_digest,
        backend: launch.backend,
        device: launch.device,
        pid: process.pid,
        url: None,
        status: WorkerStatus::Starting,
        started_at_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        reason: None,
    };
    Ok(Worker { record, process, supervisor, nonce: launch.nonce.clone(), log_tail: Vec::new() })
}

fn start_drain(launch: &Launch, output: io::PipeReader, tail: Tail) -> io::Result<Receiver<()>> {
    let (path, limits): (PathBuf, _) = (log::path(&launch.state_dir, &launch.worker_id), launch.log);
    let (sender, drained) = mpsc::channel();
    Builder::new().name(String::from("drain")).spawn(move || {
        log::drain(output, path, limits, &tail);
        drop(sender);
    })?;
    Ok(drained)
}

/// Waits for the worker's end, whenever that is.
fn start_waiter(launch: &Launch, mut child: Child, kills_before: Option<u64>, events: Sender<Event>) -> io::Result<()> {
    let (state_dir, worker_id) = (launch.state_dir.clone(), launch.worker_id.clone());
    Builder::new().name(String::from("wait")).spawn(move || {
        let out_of_memory = || process::out_of_memory_kills() > kills_before;
        let ending: Ending = process::wait_and_clear_group(&mut child, out_of_memory);
        let record = Registry::open(&state_dir).and_then(|registry| registry.get(&worker_id)).ok().flatten();
        let stop_recorded = record.is_some_and(|worker| worker.record.status == WorkerStatus::Stopping);
        let _the_loop_is_gone = events.send(Event::Ended { ending, stop_recorded });
    })?;
    Ok(())
}

/// Listens to the command until it lets go or is gone.
fn start_control(events: Sender<Event>) -> io::Result<()> {
    Builder::new().name(String::from("control")).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == KEEP {
                let _the_loop_is_gone = events.send(Event::Keep);
            }
        }
        let _the_loop_is_gone = events.send(Event::LeaseLost);
    })?;
    Ok(())
}

impl Running {
    fn attend(mut self, events: &Receiver<Event>) {
        loop {
            let now = self.started.elapsed();
            let event = match self.supervision.deadline() {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => events.recv_timeout(deadline.saturating_sub(now)),
            };
            let event = match event {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => Event::Tick,
                // `self.events` is a sender, so this cannot be.
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for effect in self.supervision.step(self.started.elapsed(), event) {
                if let Effect::Finish(verdict) = effect {
                    return self.finish(&verdict);
                }
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&self, effect: Effect) {
        let worker_id = &self.launch.worker_id;
        let proof = Proof::Nonce(&self.launch.nonce);
        match effect {
            Effect::Report(what) => report(&what),
            Effect::Follow { url } => {
                let events = self.events.clone();
                std::thread::spawn(move || readiness::follow(&url, &events));
            }
            // A record that cannot be written is made good by the last one, or by whoever looks next.
            Effect::RecordReady { url } => drop(self.registry.set_ready(worker_id, &url)),
            Effect::RecordStopping => drop(self.registry.set_stopping(worker_id)),
            Effect::Terminate => drop(process::signal(&self.identity, proof, Force::Terminate)),
            Effect::Kill => drop(process::signal(&self.identity, proof, Force::Kill)),
            Effect::Finish(_) => {}
        }
    }

    fn finish(&self, verdict: &Verdict) {
        let _held_open_by_a_stranger = self.drained.recv_timeout(DRAIN_TIMEOUT);
        let log_tail = self.tail.lines();
        let record = EndedRecord { status: verdict.status, reason: &verdict.reason, log_tail: &log_tail };
        let _made_good_by_whoever_looks_next = self.registry.set_ended(&self.launch.worker_id, &record);
        report(&Report::Ended(Ended { code: verdict.code, reason: verdict.reason.clone(), log_tail }));
    }
}
