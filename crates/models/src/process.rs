//! Running a helper program to its end: own process group, no terminal, its errors captured, ended with all it started
//! when the caller cancels or dies. The only place in this crate that starts a process.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Time to end by itself after being asked.
const GRACE: Duration = Duration::from_millis(150);
/// How much of what it writes to stderr is kept: the end of it.
const MAX_OUTPUT_BYTES: usize = 8 * 1024;

/// A program to run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Working folder; also where it puts temporary files.
    pub(crate) directory: PathBuf,
}

/// How it ended by itself.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// The end of what it wrote to stderr.
    pub(crate) output: String,
}

/// Why it did not end by itself.
#[derive(Debug)]
pub(crate) enum RunError {
    Start(io::Error),
    Interrupted,
}

/// Runs `program`; `tick` is called about twenty times a second.
pub(crate) fn run(program: &Program, cancel: &AtomicBool, tick: &mut dyn FnMut()) -> Result<Outcome, RunError> {
    let mut running = Running { child: command(program).spawn().map_err(RunError::Start)?, is_ended: false };
    let output = running.child.stderr.take().map(drain);
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        if let Some(status) = running.child.try_wait().map_err(RunError::Start)? {
            running.is_ended = true;
            // A program that something else still holds open does not keep us.
            let output = output.and_then(|output| output.recv_timeout(Duration::from_secs(1)).ok());
            return Ok(Outcome { status, output: output.unwrap_or_default() });
        }
        tick();
        std::thread::sleep(POLL);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that starts a process")]
fn command(program: &Program) -> std::process::Command {
    let mut command = std::process::Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.directory).env("TMPDIR", &program.directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    #[cfg(target_os = "linux")]
    // SAFETY: the closure only makes one system call, which is async-signal-safe; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command
}

/// Reads a stream to its end on a thread; keeps the end of it as text.
fn drain(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept: Vec<u8> = Vec::new();
        let mut buffer = [0_u8; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            let excess = kept.len().saturating_sub(MAX_OUTPUT_BYTES);
            kept.drain(..excess);
        }
        // Nobody may be waiting any more.
        let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receiver
}

/// A program that is ended with its whole group when this goes out of scope.
struct Running {
    child: Child,
    is_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let signal = |signal| group.map(|group| rustix::process::kill_process_group(group, signal));
        // A group that is gone is what we want.
        let _ = signal(Signal::TERM);
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
        }
        let _ = signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
