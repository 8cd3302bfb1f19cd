//! The one file that makes processes and sends signals.
//!
//! Three kinds of children: the supervisor (detached, a session of its own), the worker (the supervisor's child, a
//! process group of its own, killed by the kernel when the supervisor dies) and a short-lived `BINARY --version --json`.

use std::io::{PipeWriter, Read};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io};

use protocol::identifiers::WorkerId;
use protocol::worker::NONCE_VARIABLE;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, setsid, waitid,
};

use crate::ending::Ending;
use crate::identity::{Identity, Proof, is_ours};
use crate::launch::Launch;

/// A worker prints its stamp from memory; whoever needs longer is not a worker (or hangs).
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// A stamp is a few hundred bytes.
const VERSION_BYTES_MAX: u64 = 64 * 1024;

/// A supervisor and the two pipes to it.
pub struct Supervisor {
    /// The process.
    pub child: Child,
    /// Commands down; closing it stops a worker that is not kept.
    pub control: ChildStdin,
    /// Reports up.
    pub reports: ChildStdout,
}

/// Starts this very binary as the supervisor of a worker. What it may have to say itself goes to `errors`.
///
/// # Errors
/// The system refuses another process.
#[expect(clippy::disallowed_methods, reason = "this file is the owner of worker processes")]
pub fn spawn_supervisor(worker_id: &WorkerId, errors: fs::File) -> io::Result<Supervisor> {
    // Through /proc the same program starts even if its file was replaced meanwhile.
    let program = Path::new("/proc/self/exe");
    let mut command = if program.exists() { Command::new(program) } else { Command::new(std::env::current_exe()?) };
    command
        .arg0("llorch-pool")
        .args(["supervise", worker_id.as_str()])
        .env_remove(NONCE_VARIABLE)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and touches no memory of ours.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(io::Error::from)) };
    let mut child = command.spawn()?;
    let (control, reports) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Supervisor { child, control, reports })
}

/// Starts the worker with both outputs into one pipe. Must be called on a thread that lives as long as this process: the
/// kernel kills the worker when the *thread* that made it ends.
///
/// # Errors
/// The binary cannot be executed.
#[expect(clippy::disallowed_methods, reason = "this file is the owner of worker processes")]
pub fn spawn_worker(launch: &Launch, callback_url: &str, output: PipeWriter) -> io::Result<Child> {
    let mut command = Command::new(&launch.binary);
    command
        .args(launch.arguments(callback_url))
        .env(NONCE_VARIABLE, &launch.nonce)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only prctl and getppid are called; both are plain system calls that are
        // async-signal-safe, and the closure allocates nothing (an error is made from a number).
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the line above: then nobody would send the signal.
                let orphaned = rustix::process::getppid() != Some(parent);
                if orphaned { Err(io::Error::from_raw_os_error(3)) } else { Ok(()) }
            })
        };
    }
    command.spawn()
}

/// Waits until a child of this process has ended, kills what is left of its process group, and only then reaps it: as
/// long as it is not reaped its number cannot be given to anybody else.
#[must_use]
pub fn wait_and_clear_group(child: &mut Child, out_of_memory: impl FnOnce() -> bool) -> Ending {
    let pid = Pid::from_child(child);
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    let _nobody_left = kill_process_group(pid, Signal::KILL);
    let Ok(status) = child.wait() else { return Ending::Unknown };
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    match (status.code(), signal) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(number)) => Ending::Signal { number, out_of_memory: number == 9 && out_of_memory() },
        (None, None) => Ending::Unknown,
    }
}

/// Processes the kernel has killed for lack of memory since boot; `None` where it does not say.
#[must_use]
pub fn out_of_memory_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// How hard a process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// SIGTERM: finish and go.
    Terminate,
    /// SIGKILL, to the process and to its whole group.
    Kill,
}

/// Signals a process if, and only if, it is the one that is meant. Returns whether it was.
///
/// The handle is taken first and the identity checked after: what the handle names cannot be exchanged in between.
#[must_use]
pub fn signal(identity: &Identity, proof: Proof<'_>, force: Force) -> bool {
    let Some(pid) = i32::try_from(identity.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    if !is_ours(identity, proof) {
        return false;
    }
    match force {
        Force::Terminate => pidfd_send_signal(&handle, Signal::TERM).is_ok(),
        Force::Kill => {
            // The group first, while its leader is still there to keep the number taken.
            let leads_group = rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == pid);
            let _group = leads_group.then(|| kill_process_group(pid, Signal::KILL));
            pidfd_send_signal(&handle, Signal::KILL).is_ok()
        }
    }
}

/// What `BINARY --version --json` prints.
///
/// # Errors
/// It cannot be executed, fails, or does not end in time.
#[expect(clippy::disallowed_methods, reason = "this file is the owner of worker processes")]
pub fn ask_version(binary: &Path) -> io::Result<String> {
    let mut child = Command::new(binary)
        .args(["--version", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (sender, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let result = stdout.take(VERSION_BYTES_MAX).read_to_string(&mut text).map(|_| text);
        let _nobody_waits_any_more = sender.send(result);
    });
    let answer = answer.recv_timeout(VERSION_TIMEOUT);
    if answer.is_err() {
        let _already_gone = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait()?;
    match answer {
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) if !status.success() => Err(io::Error::other(format!("`--version --json` ended with {status}"))),
        Ok(Ok(text)) => Ok(text),
    }
}

/// Closes every descriptor above standard error that this process was started with. A caller's pipe or lock that leaked
/// into the supervisor would stay open as long as the worker lives. Call first thing, before anything is opened.
pub fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let inherited: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in inherited.into_iter().filter(|descriptor| *descriptor > 2) {
        // The listing's own descriptor was among them and is closed already.
        if fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok() {
            // SAFETY: the process is single-threaded and has opened nothing that is still open (the listing above was
            // consumed), so no other owner of this open descriptor exists in the program.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
}
