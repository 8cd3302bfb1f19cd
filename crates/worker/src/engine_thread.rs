//! The one thread that owns the engine: takes jobs, steps, writes events.
//!
//! One loop owns the state. Everything that runs or waits is in [`Worker`]'s two lists; a job carries its admission
//! permit and its event writer, so that whatever way it goes, the permit is given back and the stream ends.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::{Engine, FinishReason, Finished, GenerationParameters, Output, Probe, SequenceId, TokenId};
use protocol::error::ErrorCode;
use protocol::event::{End, Event, Metrics, Started, StopReason, Token};
use protocol::identifiers::JobId;
use tokio::sync::OwnedSemaphorePermit;

use crate::failure::{Failure, load_error_code};
use crate::job_stream::EventWriter;
use crate::lifecycle::Phase;
use crate::shared::{Loaded, Shared};

/// Pause of the loop while every sequence waits for its reader.
const PAUSE: Duration = Duration::from_millis(5);
/// Distance of `metrics` events.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Work.
    Generate(Box<Job>),
    /// Fail what is left and end.
    Stop,
}

/// A job on its way to a slot, or in one.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: JobId,
    pub prompt: Vec<TokenId>,
    pub parameters: GenerationParameters,
    pub writer: EventWriter,
    pub accepted: Instant,
    /// Held until the job is gone.
    pub _permit: OwnedSemaphorePermit,
}

/// Starts the thread. It loads the model, reports how that goes through the phase, and works until told to stop.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    probe: Option<Box<dyn Probe>>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let guard = FailOnPanic(Arc::clone(&shared));
        if let Some(mut engine) = load(&shared) {
            if let Some(probe) = probe {
                engine.set_probe(probe);
            }
            let worker = Worker { engine, shared, commands, waiting: VecDeque::new(), running: Vec::new() };
            worker.run();
        }
        std::mem::forget(guard);
    })
}

/// A panic that no step contained leaves a worker that cannot answer: say so, so that the process ends.
struct FailOnPanic(Arc<Shared>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        let message = "the engine's thread panicked".to_owned();
        self.0.enter(Phase::Failed { code: ErrorCode::Internal, message });
    }
}

fn load(shared: &Shared) -> Option<Engine> {
    let options = shared.settings.load_options();
    let started = Instant::now();
    let mut report = |progress: engine::LoadProgress| {
        let entered = shared.enter(Phase::Loading {
            blocks_loaded: progress.blocks_loaded,
            blocks_total: progress.blocks_total,
            bytes_loaded: progress.bytes_loaded,
        });
        // Not entered means that draining has begun.
        if entered { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match Engine::load(&options, &mut report) {
        Ok(engine) => {
            let description = engine.description().clone();
            tracing::info!(?description, elapsed_ms = elapsed_ms(started), "model loaded");
            let _ = shared.loaded.set(Loaded { frontend: engine.frontend(), description });
            shared.enter(Phase::Ready).then_some(engine)
        }
        Err(error) => {
            tracing::error!(%error, "model not loaded");
            shared.enter(Phase::Failed { code: load_error_code(&error), message: error.to_string() });
            None
        }
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    duration_ms(since.elapsed())
}

fn duration_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A job in a slot.
struct Running {
    sequence: SequenceId,
    job: Job,
    queue_ms: u64,
    started: Instant,
    first_token: Option<Instant>,
    tokens_out: u64,
    token_events: u64,
    last_metrics: Instant,
    stalled_since: Option<Instant>,
}

struct Worker {
    engine: Engine,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    waiting: VecDeque<Job>,
    running: Vec<Running>,
}

impl Worker {
    fn run(mut self) {
        while self.receive() {
            self.drop_unwanted();
            self.start_waiting();
            let is_idle = !self.step();
            self.publish_gauges();
            if is_idle && !self.running.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        self.fail_everything();
        self.publish_gauges();
    }

    /// Takes in what was sent; waits if there is nothing else to do. False when told to stop.
    fn receive(&mut self) -> bool {
        loop {
            let is_idle = self.waiting.is_empty() && self.running.is_empty();
            let command = if is_idle {
                self.commands.recv_timeout(Duration::from_secs(3600))
            } else {
                self.commands.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            match command {
                Ok(Command::Generate(job)) => self.waiting.push_back(*job),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) if is_idle => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Ends jobs that nobody waits for any more, before they cost anything.
    fn drop_unwanted(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.waiting.retain(|job| {
            let is_wanted = !job.writer.stream().should_end();
            if !is_wanted {
                write_end(&shared, &job.writer, &cancelled_before_start(job));
            }
            is_wanted
        });
        let (now, stall_limit) = (Instant::now(), self.shared.settings.stall_limit);
        for index in (0..self.running.len()).rev() {
            let running = &mut self.running[index];
            let stream = running.job.writer.stream();
            running.stalled_since = stream.is_lagging().then(|| running.stalled_since.unwrap_or(now));
            let is_stalled = running.stalled_since.is_some_and(|since| now.duration_since(since) >= stall_limit);
            if is_stalled || stream.should_end() {
                let running = self.running.swap_remove(index);
                let finished = self.engine.cancel(running.sequence);
                if is_stalled {
                    let message = format!("the client read nothing for {} s", stall_limit.as_secs());
                    self.fail(&running, Failure::new(ErrorCode::ClientStalled, message));
                } else if let Some(finished) = finished {
                    self.end(&running, &finished);
                }
            }
        }
    }

    fn start_waiting(&mut self) {
        while self.running.len() < self.shared.settings.slots as usize {
            let Some(mut job) = self.waiting.pop_front() else { return };
            let seed = job.parameters.sampling.seed;
            let prompt = std::mem::take(&mut job.prompt);
            let prompt_tokens = prompt.len() as u64;
            match self.engine.start(prompt, job.parameters.clone()) {
                Ok(sequence) => {
                    self.shared.metrics.prompt_tokens.inc_by(prompt_tokens);
                    let started = Event::Started(self.started_event(&job.id, seed, prompt_tokens));
                    self.running.push(Running::new(sequence, job));
                    self.publish_gauges();
                    self.running[self.running.len() - 1].job.writer.write(&started);
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    self.shared.metrics.count(failure.code.name());
                    job.writer.write(&failure.into_event(0));
                }
            }
        }
    }

    fn started_event(&self, job_id: &JobId, seed: u64, prompt_tokens: u64) -> Started {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Started {
            job_id: job_id.clone(),
            model: self.shared.settings.model_id.clone(),
            model_digest: self.shared.settings.model_digest,
            seed,
            started_at: duration_ms(since_1970),
            prompt_tokens,
            cached_tokens: 0,
        }
    }

    /// One step of the engine; false if it had nothing it could do.
    fn step(&mut self) -> bool {
        let running = &self.running;
        let is_ready =
            |id: SequenceId| running.iter().any(|running| running.sequence == id && running.stalled_since.is_none());
        let before = Instant::now();
        let outputs = self.engine.step(&is_ready);
        let took_time = before.elapsed() > Duration::from_micros(50);
        let is_working = took_time || !outputs.is_empty();
        for (sequence, output) in outputs {
            let Some(index) = self.running.iter().position(|running| running.sequence == sequence) else { continue };
            match output {
                Output::Token(text) => self.token(index, text),
                Output::Finished(finished) => {
                    let running = self.running.swap_remove(index);
                    self.end(&running, &finished);
                }
                Output::Failed { error, .. } => {
                    let running = self.running.swap_remove(index);
                    tracing::error!(job = %running.job.id, %error, "job failed");
                    self.fail(&running, error.into());
                }
            }
        }
        is_working
    }

    fn token(&mut self, index: usize, text: String) {
        let running = &mut self.running[index];
        running.first_token.get_or_insert_with(Instant::now);
        running.tokens_out += 1;
        if !text.is_empty() {
            running.job.writer.write(&Event::Token(Token { t: text, i: running.token_events }));
            running.token_events += 1;
        }
        if running.last_metrics.elapsed() >= METRICS_INTERVAL {
            running.last_metrics = Instant::now();
            running.job.writer.write(&Event::Metrics(running.metrics()));
        }
    }

    /// Ends a job that holds its slot no longer.
    fn end(&self, running: &Running, finished: &Finished) {
        self.publish_gauges();
        if finished.reason != FinishReason::Cancelled {
            self.shared.count_numeric(false);
        }
        self.shared.metrics.prefill_seconds.observe(finished.prefill_time.as_secs_f64());
        self.shared.metrics.decode_seconds.observe(finished.decode_time.as_secs_f64());
        write_end(&self.shared, &running.job.writer, finished);
    }

    /// Fails a job that holds its slot no longer.
    fn fail(&self, running: &Running, failure: Failure) {
        self.publish_gauges();
        self.shared.count_numeric(failure.code == ErrorCode::Numeric);
        self.shared.metrics.count(failure.code.name());
        self.shared.metrics.generated_tokens.inc_by(running.tokens_out);
        running.job.writer.write(&failure.into_event(running.tokens_out));
    }

    /// Before the first and the last event of a job too: who has read them finds its slot busy, and free.
    fn publish_gauges(&self) {
        let busy = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        self.shared.slots_busy.store(busy, Ordering::Relaxed);
        self.shared.metrics.slots_busy.set(i64::from(busy));
        self.shared.metrics.waiting.set(i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
    }

    /// The worker ends: whoever still waits hears why.
    fn fail_everything(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Generate(job) = command {
                self.waiting.push_back(*job);
            }
        }
        let failure = || Failure::new(ErrorCode::Draining, "the worker is shutting down");
        for job in self.waiting.drain(..) {
            self.shared.metrics.count(ErrorCode::Draining.name());
            job.writer.write(&failure().into_event(0));
        }
        for running in std::mem::take(&mut self.running) {
            self.engine.cancel(running.sequence);
            self.fail(&running, failure());
        }
    }
}

impl Running {
    fn new(sequence: SequenceId, job: Job) -> Self {
        let now = Instant::now();
        Self {
            sequence,
            queue_ms: elapsed_ms(job.accepted),
            job,
            started: now,
            first_token: None,
            tokens_out: 0,
            token_events: 0,
            last_metrics: now,
            stalled_since: None,
        }
    }

    fn metrics(&self) -> Metrics {
        let first_token = self.first_token.unwrap_or(self.started);
        let decode_seconds = first_token.elapsed().as_secs_f64().max(1e-6);
        Metrics {
            tokens_out: self.tokens_out,
            tokens_per_sec: self.tokens_out as f64 / decode_seconds,
            queue_ms: self.queue_ms,
            prefill_ms: duration_ms(first_token - self.started),
            memory_bytes: crate::shared::resident_bytes(),
        }
    }
}

fn cancelled_before_start(job: &Job) -> Finished {
    Finished {
        reason: FinishReason::Cancelled,
        prompt_tokens: job.prompt.len() as u64,
        tokens_out: 0,
        prefill_time: Duration::ZERO,
        decode_time: Duration::ZERO,
    }
}

fn write_end(shared: &Shared, writer: &EventWriter, finished: &Finished) {
    let (stop_reason, outcome, stop_sequence) = match &finished.reason {
        FinishReason::EndOfGeneration => (StopReason::Eos, "eos", None),
        FinishReason::MaxTokens => (StopReason::MaxTokens, "max_tokens", None),
        FinishReason::Stop(text) => (StopReason::StopSequence, "stop_sequence", Some(text.clone())),
        FinishReason::Cancelled => (StopReason::Cancelled, "cancelled", None),
    };
    shared.metrics.count(outcome);
    shared.metrics.generated_tokens.inc_by(finished.tokens_out);
    writer.write(&Event::End(End {
        tokens_out: finished.tokens_out,
        prompt_tokens: finished.prompt_tokens,
        decode_time_ms: duration_ms(finished.decode_time),
        prefill_time_ms: duration_ms(finished.prefill_time),
        stop_reason,
        stop_sequence,
    }));
}
