//! What tests do to the command from outside: faults in its calls to the system, a disk or a network of its own.
//!
//! Not every machine lets a test do that. Then it says what it lacks and passes; where everything is to be tested (`CI` is
//! set), lacking a namespace is a failure.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;

use crate::support::{Home, Outcome, finish};

/// Whether `strace` is here and may trace; says so if not.
pub fn may_trace() -> bool {
    let home = Home::new();
    // Without an executable there is no program: if that works, so does everything else.
    let can = traced(&home, "-e trace=execve -e inject=execve:error=ENOENT:when=2+", &["models", "list"]).code == 0;
    if !can {
        eprintln!("skipped: `strace` is not here, or may not trace");
    }
    can
}

/// Runs the command under `strace` with `options`, which a shell splits.
pub fn traced(home: &Home, options: &str, arguments: &[&str]) -> Outcome {
    traced_to(home, (options, "/dev/null"), arguments)
}

/// As [`traced`]; what was traced is written to `log`.
pub fn traced_to(home: &Home, (options, log): (&str, &str), arguments: &[&str]) -> Outcome {
    finish(start_traced(home, (options, log), arguments).spawn().expect("a shell"))
}

/// The command, to be started under `strace`.
pub fn start_traced(home: &Home, (options, log): (&str, &str), arguments: &[&str]) -> Command {
    shell(&format!("exec strace -f -qq -E LD_LIBRARY_PATH -o {log} {options} -- \"$@\""), home, arguments)
}

/// The command, to be started by a shell that does something first.
pub fn shell(script: &str, home: &Home, arguments: &[&str]) -> Command {
    let mut command =
        home.prepared(Path::new("/bin/sh"), &[&["-c", script, "sh", &home.program()], arguments].concat());
    command.stdin(Stdio::null());
    command
}

/// Moves this thread, and all it starts from now on, to where mounts are its own; whether that can be had.
pub fn mounts_of_its_own() -> bool {
    // SAFETY: no file descriptor table is unshared; no other thread of this test looks at the mounts.
    let moved = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    let moved = moved.map_err(|error| format!("no mount namespace: {error}"));
    has(moved.and_then(|()| run("mount", &["--make-rprivate", "/"])), "run it as root on Linux")
}

/// Moves this thread, and all it starts from now on, into a network with nothing in it but itself; whether that can be had.
pub fn network_of_its_own() -> bool {
    // SAFETY: no file descriptor table is unshared, only the network that new sockets belong to.
    let moved = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    let moved = moved.map_err(|error| format!("no network namespace: {error}"));
    has(moved.and_then(|()| run("ip", &["link", "set", "lo", "up"])), "run it as root on Linux, with iproute2")
}

fn has(had: Result<(), String>, hint: &str) -> bool {
    if let Err(reason) = &had {
        assert!(std::env::var_os("CI").is_none(), "{reason}; {hint}");
        eprintln!("skipped: {reason}; {hint}");
    }
    had.is_ok()
}

/// Runs a program of the system to its end.
#[expect(clippy::disallowed_methods, reason = "it must be a child of this thread, whose namespaces are meant")]
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("`{program}`: {error}"))?;
    let words = || format!("`{program} {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(words()) }
}
