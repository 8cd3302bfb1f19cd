//! `worker spawn`: starts a supervisor, passes on what it says, and lets the worker live on, or holds it (`--attached`).
//!
//! Until it is kept, the worker belongs to this command: whatever ends the command, SIGKILL included, closes the control
//! pipe, and the supervisor stops the worker.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use protocol::pool::SpawnEvent;

use crate::error::PoolError;
use crate::launch::{Ended, KEEP, Launch, Limits, LogLimits, Report};
use crate::model::Wanted;
use crate::output::Output;
use crate::registry::{Registry, make_private_folder};
use crate::signals::Interrupt;
use crate::{binary, list, log, model, process, signals, stop};

/// A callback comes right after the bind, before the load; a minute covers a cold disk and a driver that wakes up.
const CALLBACK_MS_MAX: u64 = 60_000;
/// A load that moves all the time may take this many times the timeout: a large model from a slow disk.
const OVERALL_FACTOR: u64 = 12;
/// What a supervisor takes beyond the grace period: the kill of a large process, the last record.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(25);

/// What to start, resolved from the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where pool.db and the logs are.
    pub state_dir: PathBuf,
    /// Where the models are.
    pub models_dir: PathBuf,
    /// What the worker's program must be built for.
    pub backend: Backend,
    /// The model.
    pub model: Wanted,
    /// Device index.
    pub device: u32,
    /// Positions a sequence may use.
    pub context: Option<u32>,
    /// Sequences at once.
    pub slots: Option<u32>,
    /// The worker's program, if it was named.
    pub worker_binary: Option<PathBuf>,
    /// Longest time without progress.
    pub timeout: Duration,
    /// Between asking a worker to stop and killing it.
    pub grace: Duration,
    /// Hold the worker until standard input ends.
    pub attached: bool,
    /// Bounds of its log.
    pub log: LogLimits,
}

#[derive(Debug)]
enum Message {
    Report(Report),
    SupervisorGone,
    Interrupt(Interrupt),
    InputEnded,
}

/// What comes from outside, from before the model is checked until the command ends.
struct Outside {
    sender: Sender<Message>,
    inbox: Receiver<Message>,
    /// Set with the first request to end.
    ended: Arc<AtomicBool>,
}

impl Outside {
    fn watch(attached: bool) -> Result<Self, PoolError> {
        let failed = |cause: io::Error| PoolError::internal("failed to watch for signals", cause);
        let ((sender, inbox), ended) = (mpsc::channel(), Arc::new(AtomicBool::new(false)));
        let (interrupts, flag) = (sender.clone(), Arc::clone(&ended));
        signals::watch(move |interrupt| {
            flag.store(true, Ordering::Relaxed);
            let _the_command_ends = interrupts.send(Message::Interrupt(interrupt));
        })
        .map_err(failed)?;
        if attached {
            let (input, flag) = (sender.clone(), Arc::clone(&ended));
            std::thread::spawn(move || {
                wait_for_end_of_input();
                flag.store(true, Ordering::Relaxed);
                let _the_command_ends = input.send(Message::InputEnded);
            });
        }
        Ok(Self { sender, inbox, ended })
    }
}

/// `worker spawn`. Returns the exit code of a command that did what it was asked to.
///
/// # Errors
/// The worker was not ready in the end, or an attached one was lost. It is gone then.
pub fn run(output: Output, request: &Request) -> Result<u8, PoolError> {
    let binary = binary::find(request.worker_binary.as_deref(), request.backend)?;
    // Before anything is begun: from here on Ctrl-C finds somebody who clears away.
    let outside = Outside::watch(request.attached)?;
    let model = model::resolve(&request.model, &request.models_dir, &outside.ended)?;
    let launch = prepare(request, binary, model)?;
    output.detail(&format!("worker {}: {}", launch.worker_id, launch.binary.display()));
    let mut session = Session::open(output, launch, outside)?;
    let url = session.wait_until_ready()?;
    let (worker_id, pid) = (session.launch.worker_id.clone(), session.pid);
    output.event(&SpawnEvent::Ready { url: url.clone(), worker_id: worker_id.clone(), pid });
    if !output.json {
        let _nobody_reads = output.line(&format!("{worker_id}  {url}  pid {pid}"));
    }
    let exit_code = if request.attached { session.hold()? } else { session.keep()? };
    output.event(&SpawnEvent::Done { url, worker_id, pid });
    Ok(exit_code)
}

fn prepare(request: &Request, binary: PathBuf, model: model::Model) -> Result<Launch, PoolError> {
    let registry = Registry::open(&request.state_dir)?;
    let log_folder = log::folder(&request.state_dir);
    make_private_folder(&log_folder)?;
    for forgotten in registry.prune()? {
        let path = log::path(&request.state_dir, &forgotten);
        for age in 0..request.log.count {
            let _never_written = std::fs::remove_file(log::rotated(&path, age));
        }
    }
    let state_dir = std::fs::canonicalize(&request.state_dir)
        .map_err(|cause| PoolError::internal(&format!("failed to find `{}`", request.state_dir.display()), cause))?;
    let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
    let worker_id = format!("w-{}", &random_hex()?[..12]);
    let worker_id = worker_id.parse().map_err(|cause| PoolError::internal("failed to name the worker", cause))?;
    Ok(Launch {
        worker_id,
        binary,
        backend: request.backend,
        model: model.id,
        model_path: model.path,
        model_digest: model.digest,
        device: request.device,
        context: request.context,
        slots: request.slots,
        nonce: random_hex()?,
        state_dir,
        limits: Limits {
            callback_ms: timeout_ms.min(CALLBACK_MS_MAX),
            stall_ms: timeout_ms,
            overall_ms: timeout_ms.saturating_mul(OVERALL_FACTOR),
            grace_ms: u64::try_from(request.grace.as_millis()).unwrap_or(u64::MAX),
        },
        log: request.log,
    })
}

/// 128 random bits.
fn random_hex() -> Result<String, PoolError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|cause| PoolError::internal("failed to draw random bits", cause))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The command's side of a supervisor.
struct Session {
    output: Output,
    launch: Launch,
    child: Child,
    control: Option<ChildStdin>,
    inbox: Receiver<Message>,
    pid: u32,
}

impl Session {
    fn open(output: Output, launch: Launch, outside: Outside) -> Result<Self, PoolError> {
        let failed = |cause: io::Error| PoolError::internal("failed to start the supervisor", cause);
        let Outside { sender, inbox, .. } = outside;
        let instructions = serde_json::to_string(&launch)
            .map_err(|cause| PoolError::internal("failed to pass on a path that is not UTF-8", cause))?;
        let log = log::open(&log::path(&launch.state_dir, &launch.worker_id)).map_err(failed)?;
        let mut supervisor = process::spawn_supervisor(&launch.worker_id, log).map_err(failed)?;
        writeln!(supervisor.control, "{instructions}").map_err(failed)?;
        let reports = BufReader::new(supervisor.reports);
        std::thread::spawn(move || pass_on(reports, &sender));
        let (child, control) = (supervisor.child, Some(supervisor.control));
        Ok(Self { output, launch, child, control, inbox, pid: 0 })
    }

    /// The worker's address, once it is ready.
    fn wait_until_ready(&mut self) -> Result<String, PoolError> {
        loop {
            match self.receive(None)? {
                Message::Report(Report::Started { pid }) => {
                    self.pid = pid;
                    let worker_id = self.launch.worker_id.clone();
                    self.output.event(&SpawnEvent::Starting { worker_id, pid });
                }
                Message::Report(Report::CalledBack { url }) => self.output.detail(&format!("listening on {url}")),
                Message::Report(Report::Loading { layers_loaded, layers_total }) => {
                    self.output.event(&SpawnEvent::Loading { layers_loaded, layers_total });
                    if !self.output.json {
                        self.output.progress(&format!("loading: layer {layers_loaded} of {layers_total}"));
                    }
                }
                Message::Report(Report::Ready { url }) => {
                    self.output.end_progress();
                    return Ok(url);
                }
                Message::Report(Report::Ended(ended)) => {
                    self.output.end_progress();
                    self.reap();
                    return Err(self.ended_error(ended, ErrorCode::WorkerStartFailed));
                }
                Message::SupervisorGone => return Err(self.abandoned(ErrorCode::WorkerStartFailed)),
                Message::Interrupt(_) => return Err(self.cancel("interrupted")?),
                Message::InputEnded => return Err(self.cancel("standard input was closed")?),
            }
        }
    }

    fn cancel(&mut self, why: &str) -> Result<PoolError, PoolError> {
        self.output.end_progress();
        self.stop()?;
        Ok(PoolError::new(ErrorCode::Cancelled, format!("{why} before the worker was ready; it was stopped")))
    }

    /// Lets the worker live on without this command.
    fn keep(mut self) -> Result<u8, PoolError> {
        let kept = self.control.as_mut().map(|control| writeln!(control, "{KEEP}").and_then(|()| control.flush()));
        if !matches!(kept, Some(Ok(()))) {
            return Err(self.abandoned(ErrorCode::WorkerLost));
        }
        Ok(0)
    }

    /// Waits for the caller to go, then stops the worker.
    fn hold(mut self) -> Result<u8, PoolError> {
        loop {
            match self.receive(None)? {
                Message::Report(Report::Ended(ended)) => {
                    self.reap();
                    return Err(self.ended_error(ended, ErrorCode::WorkerLost));
                }
                Message::Report(_) => {}
                Message::SupervisorGone => return Err(self.abandoned(ErrorCode::WorkerLost)),
                Message::Interrupt(Interrupt::Interrupt) => {
                    self.stop()?;
                    return Ok(ErrorCode::Cancelled.exit_code());
                }
                Message::Interrupt(Interrupt::Terminate | Interrupt::HangUp) | Message::InputEnded => {
                    self.stop()?;
                    return Ok(0);
                }
            }
        }
    }

    /// Ends the lease and waits until the worker is gone. A second signal makes it quick.
    fn stop(&mut self) -> Result<(), PoolError> {
        drop(self.control.take());
        let deadline = Instant::now() + Duration::from_millis(self.launch.limits.grace_ms) + SUPERVISOR_MARGIN;
        let quick = loop {
            match self.receive(Some(deadline)) {
                Ok(Message::Report(Report::Ended(_)) | Message::SupervisorGone) => break false,
                Ok(Message::Report(_) | Message::InputEnded) => {}
                Ok(Message::Interrupt(_)) | Err(_) => break true,
            }
        };
        if quick {
            let registry = Registry::open(&self.launch.state_dir)?;
            stop::stop_one(&registry, &self.launch.worker_id, Duration::ZERO)?;
        }
        self.reap();
        Ok(())
    }

    fn receive(&self, deadline: Option<Instant>) -> Result<Message, PoolError> {
        let received = match deadline {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        received.map_err(|cause| PoolError::internal("failed to hear from the supervisor", cause))
    }

    fn reap(&mut self) {
        let _already_reaped = self.child.wait();
    }

    fn ended_error(&self, ended: Ended, otherwise: ErrorCode) -> PoolError {
        let path = log::path(&self.launch.state_dir, &self.launch.worker_id);
        let mut known = ended.log_tail;
        known.push(format!("log: {}", path.display()));
        let reason = if ended.code.is_none() { format!("the worker is gone: {}", ended.reason) } else { ended.reason };
        let hint = format!("`llorch-pool worker logs {}` prints its whole log", self.launch.worker_id);
        PoolError::new(ended.code.unwrap_or(otherwise), reason).known(known).hint(hint)
    }

    /// The supervisor ended without a last word, so the kernel has ended the worker: that is what gets written down.
    fn abandoned(&mut self, code: ErrorCode) -> PoolError {
        self.reap();
        let registry = Registry::open(&self.launch.state_dir);
        let recorded = registry.and_then(|registry| match registry.get(&self.launch.worker_id)? {
            Some(worker) => list::refresh(&registry, worker).map(drop),
            None => Ok(()),
        });
        match recorded {
            Ok(()) => PoolError::new(code, "the supervisor of the worker was killed, and the worker with it"),
            Err(error) => error,
        }
    }
}

fn pass_on(reports: impl BufRead, sender: &Sender<Message>) {
    for line in reports.lines().map_while(Result::ok) {
        if let Ok(report) = serde_json::from_str(&line) {
            let _the_command_ends = sender.send(Message::Report(report));
        }
    }
    let _the_command_ends = sender.send(Message::SupervisorGone);
}

/// Whatever comes in is not for us; that nothing can come any more is.
fn wait_for_end_of_input() {
    let mut buffer = [0_u8; 1024];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
