//! `--attached`: the worker lives as long as the caller holds the other end of standard input.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use testkit::fake_worker::Script;

use crate::sandbox::{Live, Sandbox, number, signal, text};

fn start(sandbox: &Sandbox, stdin: Stdio) -> (Live, u32) {
    let mut live = sandbox.start_spawn(&["--attached", "--grace", "1"], stdin);
    let pid = number(&live.event("ready")["pid"]);
    (live, pid)
}

#[track_caller]
fn assert_done(sandbox: &Sandbox, (code, events): (Option<i32>, Vec<serde_json::Value>), expected: i32) {
    let last = events.last().expect("events");
    assert_eq!((code, text(&last["event"])), (Some(expected), "done"), "{last}");
    assert!(sandbox.running().is_empty());
    assert!(sandbox.list(&[]).is_empty());
}

#[test]
fn the_end_of_standard_input_stops_the_worker() {
    let sandbox = Sandbox::new();
    let (live, _) = start(&sandbox, Stdio::piped());
    assert_done(&sandbox, live.finish(), 0);
}

/// A process that holds the writing end of a pipe, as `cargo xtask infer` does, and the reading end.
#[expect(clippy::disallowed_methods, reason = "the caller is a process")]
fn holder() -> (Child, Stdio) {
    let mut holder = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().expect("sleep");
    let pipe = holder.stdout.take().expect("a pipe");
    (holder, Stdio::from(pipe))
}

#[test]
fn a_caller_that_is_killed_cannot_leave_a_worker() {
    let sandbox = Sandbox::new();
    let (mut caller, pipe) = holder();
    let (live, _) = start(&sandbox, pipe);
    signal(caller.id(), Signal::KILL);
    caller.wait().expect("a status");
    assert_done(&sandbox, live.finish(), 0);

    // And while it still loads.
    let sandbox = Sandbox::with(Script { hang_after_layers: Some(1), ..Script::default() });
    let (mut caller, pipe) = holder();
    let mut live = sandbox.start_spawn(&["--attached"], pipe);
    live.event("loading");
    signal(caller.id(), Signal::KILL);
    caller.wait().expect("a status");
    assert_eq!(live.finish().0, Some(130));
    assert!(sandbox.running().is_empty());
}

#[test]
fn a_command_that_is_killed_cannot_leave_a_worker() {
    let sandbox = Sandbox::with(Script { ignore_sigterm: true, ..Script::default() });
    let (live, _) = start(&sandbox, Stdio::piped());
    signal(live.child.id(), Signal::KILL);
    assert_eq!(live.finish().0, None);
    sandbox.assert_nothing_runs();
}

#[test]
fn a_command_that_is_killed_at_any_moment_leaves_nothing() {
    for delay_ms in (0..120).step_by(6) {
        let sandbox = Sandbox::with(Script { ignore_sigterm: true, fork_grandchild: true, ..Script::default() });
        let live = sandbox.start_spawn(&["--attached", "--grace", "0"], Stdio::piped());
        // Not a wait for something: another stage of the start each time.
        std::thread::sleep(Duration::from_millis(delay_ms));
        signal(live.child.id(), Signal::KILL);
        live.finish();
        sandbox.assert_nothing_runs();
    }
}

#[test]
fn signals_stop_the_worker() {
    for (number, expected) in [(Signal::INT, 130), (Signal::TERM, 0), (Signal::HUP, 0)] {
        let sandbox = Sandbox::new();
        let (live, _) = start(&sandbox, Stdio::piped());
        signal(live.child.id(), number);
        assert_done(&sandbox, live.finish_holding_stdin(), expected);
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let sandbox = Sandbox::with(Script { ignore_sigterm: true, ..Script::default() });
    let mut live = sandbox.start_spawn(&["--attached", "--grace", "3600"], Stdio::piped());
    live.event("ready");
    signal(live.child.id(), Signal::INT);
    // Two signals that come at once are one; the second counts when the first was seen.
    crate::sandbox::wait_until("the worker is being stopped", || {
        sandbox.list(&[]).first().is_none_or(|worker| worker["status"] == "stopping")
    });
    signal(live.child.id(), Signal::INT);
    assert_done(&sandbox, live.finish_holding_stdin(), 130);
}

#[test]
fn a_worker_that_dies_first_is_lost() {
    let sandbox = Sandbox::new();
    let (live, pid) = start(&sandbox, Stdio::piped());
    signal(pid, Signal::ABORT);
    let (code, events) = live.finish_holding_stdin();
    let last = events.last().expect("events");
    assert_eq!((code, text(&last["code"])), (Some(1), "WORKER_LOST"), "{last}");
    assert!(text(&last["message"]).contains("SIGABRT"), "{last}");
    assert!(sandbox.running().is_empty());
}

#[test]
fn a_supervisor_that_is_killed_is_a_loss_too() {
    let sandbox = Sandbox::new();
    let (live, _) = start(&sandbox, Stdio::piped());
    let supervisor = sandbox.registry().list().expect("rows").workers[0].supervisor.pid;
    signal(supervisor, Signal::KILL);
    let (code, events) = live.finish_holding_stdin();
    assert_eq!((code, text(&events.last().expect("events")["code"])), (Some(1), "WORKER_LOST"));
    sandbox.assert_nothing_runs();
}
