//! One task on one connection: its streams, its status, and the guard that ends it when the line drops.
//!
//! The task's shell says its pid and waits; the connection's guard is told that pid and holds it; only then the task is
//! sent over. From then on the guard hears a beat twice a second. When beats stop coming, or its
//! input ends, it ends every process of the task's session. Nothing is written to the far disk.

use std::io::{self, PipeWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;

use super::connection::{Connection, MARK_PREFIX, SSH_FAILED, strange_shell};
use super::filter::Status;
use super::paced::Paced;
use super::random_word;
use super::script::{Script, start_command};
use super::streams::{Event, Pump, Sink, Source, pipe, pump, spawn};
use crate::failure::Failure;
use crate::interrupt;
use crate::process::exit_code;

/// Between two beats. The guard gives up after seven half seconds without one, which leaves it 1.5 s of the 5 s in which
/// the far side of a dead line has to be empty.
const BEAT: Duration = Duration::from_millis(500);
/// After this long without a beat the guard ends the task.
const GUARD_PATIENCE: Duration = Duration::from_millis(3_500);
/// Between two looks at signals.
const TICK: Duration = Duration::from_millis(50);
/// What a task that was interrupted has to end by itself.
const INTERRUPT_GRACE: Duration = Duration::from_secs(4);
/// A task that has ended may have left somebody who holds its output open; after this long without a byte he is not
/// waited for.
const LEFT_OPEN: Duration = Duration::from_secs(5);
/// What a guard has to say that it let go.
const GUARD_GRACE: Duration = Duration::from_secs(2);
/// What the start of both shells may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A task for a far shell.
pub struct Task {
    /// What to run. It ends with the status line, see [`Task::new`].
    script: Script,
    /// Its standard input; none is the end of file at once.
    pub input: Option<Source>,
    /// Where its standard output goes.
    pub stdout: Sink,
    /// Where its standard error goes.
    pub stderr: Sink,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It ran; its exit code.
    Code(u8),
    /// A step before it did not succeed.
    Step(String),
}

impl Task {
    /// A task without input whose output is dropped. In `script`, `step NAME` ends the task before its command, and the
    /// last command's exit code is the task's.
    pub fn new(script: Script) -> Self {
        Self { script, input: None, stdout: Box::new(|_| Ok(())), stderr: Box::new(|_| Ok(())) }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Exit code 69 if the line drops; 130 on Ctrl-C, after the far side was told and had time to end.
    pub fn run(self, connection: &Connection) -> Result<End, Failure> {
        let before = interrupt::begin()?;
        Running::start(self, connection, before)?.follow()
    }
}

/// A task that was started.
struct Running<'a> {
    connection: &'a Connection,
    task: duct::Handle,
    payload: Option<(Vec<u8>, PipeWriter, Option<Source>)>,
    inbox: Receiver<Event>,
    is_writing: Arc<AtomicBool>,
    state: State,
}

/// What is known of them.
struct State {
    started: Instant,
    is_started: bool,
    is_sent: bool,
    last_echo: Instant,
    last_beat: Instant,
    last_bytes: Instant,
    status: Option<Status>,
    noise: Vec<String>,
    open_streams: u8,
    interrupts_before: usize,
    interrupts_sent: usize,
    end_by: Option<Instant>,
    is_reader_gone: bool,
}

impl<'a> Running<'a> {
    fn start(task: Task, connection: &'a Connection, interrupts_before: usize) -> Result<Self, Failure> {
        let mark = format!("{MARK_PREFIX}{}", random_word()?);
        let command = start_command(&mark);
        let (sender, inbox) = channel();
        let call = connection.session(&command);
        let is_writing = Arc::new(AtomicBool::new(false));
        connection.guard().tell(sender.clone());
        let (errors, errors_writer) = pipe()?;
        let (handle, input, output) = spawn(&call, errors_writer)?;
        let payload = (frame(&mark, &task.script).line(), input, task.input);
        let writing = Arc::clone(&is_writing);
        pump(output, &mark, Pump { sink: task.stdout, sender: sender.clone(), writing, has_status: false });
        let writing = Arc::clone(&is_writing);
        pump(errors, &mark, Pump { sink: task.stderr, sender, writing, has_status: true });
        let state = State::new(interrupts_before);
        Ok(Self { connection, task: handle, payload: Some(payload), inbox, is_writing, state })
    }

    fn follow(mut self) -> Result<End, Failure> {
        let outcome = self.wait();
        if outcome.is_err() || self.state.status.is_none() {
            self.say("KILL");
        }
        self.say("done");
        let _gone = self.task.kill();
        let is_lost = outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::ConnectionLost);
        // On a dead line there is nobody to wait for.
        let released = if is_lost { Ok(()) } else { self.wait_for_guard() };
        outcome.and_then(|end| released.map(|()| end))
    }

    /// A guard whose line is cut before it heard that all is done would end what the task left running on purpose. One
    /// that had given up by then has ended the task itself, and the status it came to says nothing.
    fn wait_for_guard(&self) -> Result<(), Failure> {
        let until = Instant::now() + GUARD_GRACE;
        while Instant::now() < until {
            match self.inbox.recv_timeout(TICK) {
                Ok(Event::Released) => return Ok(()),
                Ok(Event::Lost) => return Err(self.connection.lost(self.last_sign())),
                Ok(_) => {}
                Err(_) if !self.connection.is_open() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
        }
        // One that is slow to answer on a line that stands has given nothing up.
        if !self.connection.is_open() && self.state.last_echo.elapsed() > GUARD_PATIENCE {
            return Err(self.connection.lost(self.last_sign()));
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<End, Failure> {
        loop {
            match self.inbox.recv_timeout(TICK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            self.pass_interrupts()?;
            self.beat();
            if let Some(end) = self.ended()? {
                return end;
            }
            self.check_line()?;
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Started(pid) => {
                self.state.is_started = true;
                let pid: u32 = pid.parse().map_err(|_| self.strange(vec![format!("its shell has the pid {pid:?}")]))?;
                self.say(&format!("hold {pid}"));
            }
            Event::Held => {
                self.connection.check_key()?;
                self.send_payload();
            }
            Event::Beat => self.state.last_echo = Instant::now(),
            Event::Released => {}
            Event::Lost => return Err(self.connection.lost(self.last_sign())),
            // What a step says comes first, and stands.
            Event::Status(status) => drop(self.state.status.get_or_insert(status)),
            // Where the way back is slow, an answer may stand behind a lot of them: they are signs of life as well.
            Event::Bytes => (self.state.last_bytes, self.state.last_echo) = (Instant::now(), Instant::now()),
            Event::ReaderGone => self.state.is_reader_gone = true,
            Event::Closed { noise } => {
                self.state.open_streams = self.state.open_streams.saturating_sub(1);
                self.state.noise.extend(noise);
            }
        }
        Ok(())
    }

    fn send_payload(&mut self) {
        self.state.is_sent = true;
        self.state.last_echo = Instant::now();
        let Some((payload, mut input, source)) = self.payload.take() else { return };
        let guard = self.connection.guard();
        std::thread::spawn(move || {
            if input.write_all(&payload).is_ok()
                && let Some(source) = source
            {
                source(Paced::new(input, guard));
            }
        });
    }

    fn say(&self, words: &str) {
        self.connection.guard().say(words);
    }

    fn beat(&mut self) {
        if self.state.is_sent && self.state.last_beat.elapsed() >= BEAT {
            self.state.last_beat = Instant::now();
            self.connection.guard().beat();
        }
    }

    /// The first goes over as it came, the second as TERM; after a grace the guard ends whoever does not listen.
    fn pass_interrupts(&mut self) -> Result<(), Failure> {
        let count = interrupt::count() - self.state.interrupts_before;
        if count == 0 && !self.state.is_reader_gone {
            return Ok(());
        }
        if !self.state.is_sent {
            interrupt::check()?;
        }
        if count > self.state.interrupts_sent || self.state.end_by.is_none() {
            let is_first = self.state.end_by.is_none();
            let word = match interrupt::signal() {
                Some(15) => "TERM",
                Some(1) => "HUP",
                Some(_) if is_first => "INT",
                _ => "TERM",
            };
            self.say(word);
            self.state.interrupts_sent = count;
            self.state.end_by = Some(self.state.end_by.unwrap_or_else(|| Instant::now() + INTERRUPT_GRACE));
        }
        if self.state.end_by.is_some_and(|moment| Instant::now() >= moment) {
            self.say("KILL");
            return Err(self.stopped());
        }
        Ok(())
    }

    fn stopped(&self) -> Failure {
        if self.state.is_reader_gone { Failure::reader_gone() } else { Failure::interrupted() }
    }

    fn ended(&mut self) -> Result<Option<Result<End, Failure>>, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot wait for ssh: {error}"));
        let Some(status) = self.state.status.clone() else {
            let ssh = self.task.try_wait().map_err(failed)?.map(|output| exit_code(output.status));
            // Its last words may still be in the pipes.
            return match ssh {
                Some(code) if self.state.open_streams == 0 => Ok(Some(Err(self.without_status(code)))),
                _ => Ok(None),
            };
        };
        let is_idle = self.state.last_bytes.elapsed() > LEFT_OPEN && !self.is_writing.load(Ordering::SeqCst);
        if self.state.open_streams > 0 && !is_idle {
            return Ok(None);
        }
        if self.state.end_by.is_some() {
            return Ok(Some(Err(self.stopped())));
        }
        Ok(Some(Ok(match status {
            Status::Ended(code) => End::Code(code),
            Status::Step(name) => End::Step(name),
        })))
    }

    /// The task's session is over and nobody said how it ended.
    fn without_status(&mut self, code: u8) -> Failure {
        if self.state.end_by.is_some() {
            return self.stopped();
        }
        if !self.state.is_started && code != SSH_FAILED {
            let noise = std::mem::take(&mut self.state.noise);
            return self.strange(noise);
        }
        // The connection's own end is told a moment later than its sessions'.
        let until = Instant::now() + Duration::from_millis(500);
        while code == SSH_FAILED && self.connection.is_open() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        if !self.connection.is_open() {
            return self.connection.lost(self.last_sign());
        }
        let known = vec![format!("its shell was ended from outside (ssh says {code})")];
        self.connection.lost(known)
    }

    fn strange(&self, known: Vec<String>) -> Failure {
        strange_shell(self.connection.host(), known.into_iter().take(8).collect())
    }

    fn last_sign(&self) -> Vec<String> {
        let seconds = self.state.last_echo.elapsed().as_secs();
        if self.state.is_sent { vec![format!("last sign of life {seconds} s ago")] } else { Vec::new() }
    }

    fn check_line(&mut self) -> Result<(), Failure> {
        if self.state.is_sent {
            // The guard answers beats.
            if self.state.last_echo.elapsed() > self.connection.ssh().silence() {
                return Err(self.connection.lost(self.last_sign()));
            }
        } else if self.state.started.elapsed() > START_LIMIT {
            return Err(self.strange(vec![format!("it said nothing for {} s", START_LIMIT.as_secs())]));
        }
        Ok(())
    }
}

impl State {
    fn new(interrupts_before: usize) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            is_started: false,
            is_sent: false,
            last_echo: now,
            last_beat: now,
            last_bytes: now,
            status: None,
            noise: Vec::new(),
            open_streams: 2,
            interrupts_before,
            interrupts_sent: 0,
            end_by: None,
            is_reader_gone: false,
        }
    }
}

/// The script between its two ends: `step` for what does not succeed before the task, the status line after it. The trap
/// keeps this shell alive to say how the task ended when a signal ends the task.
fn frame(mark: &str, script: &Script) -> Script {
    Script::new("step() { printf '\\036%s step %s\\n' ")
        .word(mark)
        .then(" \"$1\" >&2; exit 0; }\ntrap : INT TERM HUP\n")
        .append(script)
        .then("\nprintf '\\036%s end %s\\n' ")
        .word(mark)
        .then(" $? >&2\n:")
}
