//! The life of one worker, decided: events in, effects out. Pure: time is an argument, nothing here touches the world.

use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::pool::WorkerStatus;

use crate::ending::Ending;
use crate::launch::{Limits, Report};

/// What the supervisor heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The worker's own callback, nonce and all.
    CalledBack {
        /// Where it listens.
        url: String,
    },
    /// A callback that did not come from our worker.
    CallbackRefused {
        /// What was wrong with it.
        why: &'static str,
    },
    /// Loading progress as the worker tells it.
    Loading(Progress),
    /// `/v1/ready` answered 200.
    Ready,
    /// The worker says that it will not become ready.
    LoadFailed {
        /// Its code.
        code: ErrorCode,
        /// Its words.
        message: String,
    },
    /// The command lets go: the worker lives on without it.
    Keep,
    /// The command is gone, or wants the worker gone.
    LeaseLost,
    /// The supervisor itself was asked to end.
    StopRequested,
    /// The process is gone.
    Ended {
        /// How.
        ending: Ending,
        /// Whether another command had recorded that it stops this worker.
        stop_recorded: bool,
    },
    /// Nothing happened until the deadline.
    Tick,
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Blocks that are complete.
    pub layers_loaded: u64,
    /// Blocks of the model.
    pub layers_total: u64,
    /// Weights placed so far, in MiB.
    pub vram_mb: u64,
}

/// What the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell the command, if it still listens.
    Report(Report),
    /// Follow the worker at this address until it is ready.
    Follow {
        /// Where it listens.
        url: String,
    },
    /// Write down that it is ready.
    RecordReady {
        /// Where it listens.
        url: String,
    },
    /// Write down that it is being stopped.
    RecordStopping,
    /// Ask it to end.
    Terminate,
    /// End it and its whole process group.
    Kill,
    /// Write the last record, report, and end.
    Finish(Verdict),
}

/// How a worker's life is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Stopped` or `Failed`.
    pub status: WorkerStatus,
    /// The machine's word for it; absent when stopped on request.
    pub code: Option<ErrorCode>,
    /// The people's words: a complete fragment.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Calling,
    Loading { url: String, reached: (u64, u64), moved_at: Duration },
    Ready,
    Stopping { cause: Cause, kill_at: Duration, killed: bool },
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Requested,
    Failed { code: ErrorCode, reason: String },
}

/// The state of one worker's supervision.
#[derive(Debug)]
pub struct Supervision {
    phase: Phase,
    limits: Limits,
    kept: bool,
    refused: Option<&'static str>,
}

impl Supervision {
    /// A worker whose process was just made. Times given to [`Self::step`] count from now.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { phase: Phase::Calling, limits, kept: false, refused: None }
    }

    /// When [`Event::Tick`] is due, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let overall = Duration::from_millis(self.limits.overall_ms);
        match &self.phase {
            Phase::Calling => Some(overall.min(Duration::from_millis(self.limits.callback_ms))),
            Phase::Loading { moved_at, .. } => {
                Some(overall.min(moved_at.saturating_add(Duration::from_millis(self.limits.stall_ms))))
            }
            Phase::Stopping { kill_at, killed: false, .. } => Some(*kill_at),
            Phase::Ready | Phase::Over | Phase::Stopping { killed: true, .. } => None,
        }
    }

    /// Takes one event at a time `now` and says what to do about it.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::CalledBack { url } => self.called_back(now, url),
            Event::CallbackRefused { why } => {
                self.refused = Some(why);
                Vec::new()
            }
            Event::Loading(progress) => self.loading(now, progress),
            Event::Ready => self.ready(),
            Event::LoadFailed { code, message } => match self.phase {
                Phase::Loading { .. } => self.stop(now, Cause::Failed { code, reason: message }),
                Phase::Calling | Phase::Ready | Phase::Stopping { .. } | Phase::Over => Vec::new(),
            },
            Event::Keep => {
                self.kept = true;
                Vec::new()
            }
            Event::LeaseLost if self.kept => Vec::new(),
            Event::LeaseLost | Event::StopRequested => self.stop(now, Cause::Requested),
            Event::Ended { ending, stop_recorded } => self.ended(ending, stop_recorded),
            Event::Tick => self.tick(now),
        }
    }

    fn called_back(&mut self, now: Duration, url: String) -> Vec<Effect> {
        if self.phase != Phase::Calling {
            return Vec::new();
        }
        self.phase = Phase::Loading { url: url.clone(), reached: (0, 0), moved_at: now };
        vec![Effect::Report(Report::CalledBack { url: url.clone() }), Effect::Follow { url }]
    }

    /// Only a figure that grew is progress: a worker that repeats itself is as stuck as a silent one.
    fn loading(&mut self, now: Duration, progress: Progress) -> Vec<Effect> {
        let Phase::Loading { reached, moved_at, .. } = &mut self.phase else { return Vec::new() };
        let Progress { layers_loaded, layers_total, vram_mb } = progress;
        if layers_loaded <= reached.0 && vram_mb <= reached.1 {
            return Vec::new();
        }
        let layers_moved = layers_loaded > reached.0;
        *reached = (reached.0.max(layers_loaded), reached.1.max(vram_mb));
        *moved_at = now;
        if layers_moved { vec![Effect::Report(Report::Loading { layers_loaded, layers_total })] } else { Vec::new() }
    }

    fn ready(&mut self) -> Vec<Effect> {
        let Phase::Loading { url, .. } = &self.phase else { return Vec::new() };
        let url = url.clone();
        self.phase = Phase::Ready;
        vec![Effect::RecordReady { url: url.clone() }, Effect::Report(Report::Ready { url })]
    }

    fn stop(&mut self, now: Duration, cause: Cause) -> Vec<Effect> {
        match self.phase {
            // The first cause stands: a failed load stays one when Ctrl-C comes while it is being cleared away.
            Phase::Stopping { .. } | Phase::Over => Vec::new(),
            Phase::Calling | Phase::Loading { .. } | Phase::Ready => {
                let requested = cause == Cause::Requested;
                let kill_at = now.saturating_add(Duration::from_millis(self.limits.grace_ms));
                self.phase = Phase::Stopping { cause, kill_at, killed: false };
                if requested { vec![Effect::RecordStopping, Effect::Terminate] } else { vec![Effect::Terminate] }
            }
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let timed_out = |reason| Cause::Failed { code: ErrorCode::WorkerStartTimeout, reason };
        match &mut self.phase {
            Phase::Calling => {
                let seconds = Duration::from_millis(self.limits.callback_ms.min(self.limits.overall_ms)).as_secs_f64();
                let remark = self.refused.map(|why| format!("; a callback was refused: {why}")).unwrap_or_default();
                self.stop(now, timed_out(format!("the worker did not call back within {seconds} s{remark}")))
            }
            Phase::Loading { moved_at, .. } => {
                let stall = Duration::from_millis(self.limits.stall_ms);
                let reason = if now >= moved_at.saturating_add(stall) {
                    format!("loading made no progress for {} s", stall.as_secs_f64())
                } else {
                    format!("the worker was not ready after {} s", now.as_secs())
                };
                self.stop(now, timed_out(reason))
            }
            Phase::Stopping { killed, .. } => {
                *killed = true;
                vec![Effect::Kill]
            }
            Phase::Ready | Phase::Over => Vec::new(),
        }
    }

    fn ended(&mut self, ending: Ending, stop_recorded: bool) -> Vec<Effect> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let failed = |code, reason| Verdict { status: WorkerStatus::Failed, code: Some(code), reason };
        let stopped = |reason: &str| Verdict { status: WorkerStatus::Stopped, code: None, reason: reason.to_owned() };
        let verdict = match phase {
            Phase::Over => return Vec::new(),
            Phase::Stopping { cause: Cause::Requested, killed: false, .. } => stopped("stopped on request"),
            Phase::Stopping { cause: Cause::Requested, killed: true, .. } => {
                stopped("stopped on request, killed because it did not end by itself in time")
            }
            Phase::Stopping { cause: Cause::Failed { code, reason }, .. } => failed(code, reason),
            Phase::Calling | Phase::Loading { .. } | Phase::Ready if stop_recorded => stopped("stopped on request"),
            Phase::Calling => {
                failed(ErrorCode::WorkerStartFailed, format!("the worker {} before it called back", ending.words()))
            }
            Phase::Loading { .. } => {
                failed(ErrorCode::WorkerStartFailed, format!("the worker {} while loading", ending.words()))
            }
            // Code 0 is what a worker ends with after `POST /v1/shutdown` or SIGTERM, whoever sent it.
            Phase::Ready if ending.is_clean() => stopped("the worker was shut down"),
            Phase::Ready => failed(ErrorCode::WorkerLost, format!("the worker {}", ending.words())),
        };
        vec![Effect::Finish(verdict)]
    }
}

/// What a record becomes when another command looks at it and the processes behind it. `None`: it stands.
///
/// While the supervisor lives the record is the supervisor's to write; a worker cannot outlive its supervisor.
#[must_use]
pub fn judge(status: WorkerStatus, worker_alive: bool, supervisor_alive: bool) -> Option<(WorkerStatus, &'static str)> {
    match status {
        WorkerStatus::Stopped | WorkerStatus::Failed => None,
        WorkerStatus::Starting | WorkerStatus::Ready | WorkerStatus::Stopping if worker_alive || supervisor_alive => {
            None
        }
        WorkerStatus::Starting | WorkerStatus::Ready => Some((WorkerStatus::Failed, "process is gone")),
        WorkerStatus::Stopping => Some((WorkerStatus::Stopped, "stopped on request")),
    }
}

#[cfg(test)]
mod tests;
