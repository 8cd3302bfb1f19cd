//! Workers that behave: started, found again, stopped, side by side.

use std::collections::HashSet;
use std::time::Duration;

use pool::readiness::{Answer, ask};
use protocol::worker::API_KEY_VARIABLE;
use rustix::process::Signal;
use testkit::fake_worker::Script;

use crate::sandbox::{Sandbox, number, signal, text, wait_until};

#[test]
fn spawn_list_stop() {
    let sandbox = Sandbox::new();
    let spawned = sandbox.spawn(&["--context", "128", "--slots", "2", "--gpu", "0"]);
    assert_eq!(spawned.code, Some(0), "{}", spawned.stderr);
    let names: Vec<&str> = spawned.events.iter().map(|event| text(&event["event"])).collect();
    assert_eq!(names.first(), Some(&"starting"));
    assert!(names.contains(&"loading") && names.contains(&"ready"), "{names:?}");
    let done = spawned.last();
    let (id, url, pid) = (text(&done["worker_id"]), text(&done["url"]), number(&done["pid"]));

    // The command is gone, the worker is not.
    assert_eq!(ask(url, Duration::from_secs(5)), Answer::Ready);
    let list = sandbox.list(&[]);
    assert_eq!(list.len(), 1);
    assert_eq!((text(&list[0]["worker_id"]), number(&list[0]["pid"]), text(&list[0]["url"])), (id, pid, url));
    assert_eq!((text(&list[0]["status"]), text(&list[0]["model"])), ("ready", "model"));
    assert!(list[0].get("reason").is_none());

    let nonce = sandbox.registry().get(&id.parse().expect("an id")).expect("a row").expect("a worker").nonce;
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("its arguments");
    assert_eq!(nonce.len(), 32);
    assert!(!arguments.contains(&nonce), "the nonce is in no argument");
    assert!(arguments.contains("--port\x000\0") && arguments.contains("--slots\x002\0"), "{arguments:?}");

    let stopped = sandbox.run(&["--json", "worker", "stop", id]);
    assert_eq!((stopped.code, text(&stopped.events[0]["outcome"])), (Some(0), "stopped"));
    assert_eq!(text(&stopped.last()["event"]), "done");
    assert!(sandbox.running().is_empty(), "stop returns when worker and supervisor are gone");
    assert!(sandbox.list(&[]).is_empty());
    assert_eq!(text(&sandbox.list(&["--all"])[0]["status"]), "stopped");

    let again = sandbox.run(&["--json", "worker", "stop", id]);
    assert_eq!((again.code, text(&again.events[0]["outcome"])), (Some(0), "already_gone"));
    sandbox.run(&["--json", "worker", "stop", "w-unknown"]).assert_error("WORKER_NOT_FOUND");
}

#[test]
fn a_worker_with_an_api_key_is_followed_with_it_and_listed_without() {
    let sandbox = Sandbox::new();
    let model = sandbox.path("model.gguf").display().to_string();
    let mut command = sandbox.command(&sandbox.spawn_arguments(&model, &[]));
    let spawned = command.env(API_KEY_VARIABLE, "kept secret").output().expect("the program runs");
    assert!(spawned.status.success(), "{}", String::from_utf8_lossy(&spawned.stderr));
    let list = sandbox.list(&[]);
    assert_eq!((text(&list[0]["status"]), list[0].get("reason")), ("ready", None));
    assert_eq!(ask(text(&list[0]["url"]), Duration::from_secs(5)), Answer::Guarded);
}

#[test]
fn sixteen_at_once_are_sixteen() {
    let sandbox = Sandbox::new();
    let live: Vec<_> = (0..16).map(|_| sandbox.start_spawn(&[], std::process::Stdio::null())).collect();
    let mut seen = HashSet::new();
    for command in live {
        let (code, events) = command.finish();
        let done = events.last().expect("events");
        assert_eq!((code, text(&done["event"])), (Some(0), "done"), "{done}");
        for field in ["worker_id", "url", "pid"] {
            assert!(seen.insert(done[field].to_string()), "{field} {} twice", done[field]);
        }
    }
    assert_eq!(sandbox.list(&[]).len(), 16);
    let stopped = sandbox.run(&["--json", "worker", "stop-all"]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert_eq!(stopped.last()["stopped"].as_array().expect("ids").len(), 16);
    assert!(sandbox.running().is_empty());
}

#[test]
fn a_worker_that_ignores_sigterm_is_killed_with_all_it_started() {
    let sandbox = Sandbox::with(Script { ignore_sigterm: true, fork_grandchild: true, ..Script::default() });
    let id = sandbox.spawn_ready(&[])["worker_id"].clone();
    assert_eq!(sandbox.running().len(), 3, "supervisor, worker, its child");
    let stopped = sandbox.run(&["--json", "worker", "stop", text(&id), "--grace", "1"]);
    assert_eq!((stopped.code, text(&stopped.events[0]["outcome"])), (Some(0), "killed"));
    assert!(sandbox.running().is_empty());
}

#[test]
fn a_worker_that_ends_by_itself_is_written_down_with_its_cause() {
    let sandbox = Sandbox::new();
    let killed = number(&sandbox.spawn_ready(&[])["pid"]);
    signal(killed, Signal::KILL);
    sandbox.assert_nothing_runs();
    let list = sandbox.list(&[]);
    assert_eq!(text(&list[0]["status"]), "failed");
    assert!(text(&list[0]["reason"]).contains("SIGKILL (not by this pool"), "{}", list[0]);
    let worker = &sandbox.registry().list().expect("rows").workers[0];
    assert!(worker.log_tail.iter().any(|line| line.contains("listens on")), "{:?}", worker.log_tail);

    // A failed worker is listed until somebody has dealt with it.
    assert_eq!(sandbox.run(&["worker", "stop", text(&list[0]["worker_id"])]).code, Some(0));
    assert!(sandbox.list(&[]).is_empty());

    let asked = number(&sandbox.spawn_ready(&[])["pid"]);
    signal(asked, Signal::TERM);
    sandbox.assert_nothing_runs();
    let worker = sandbox.list(&["--all"]).pop().expect("a worker");
    assert_eq!((text(&worker["status"]), text(&worker["reason"])), ("stopped", "the worker was shut down"));
}

#[test]
fn the_kernel_ends_the_worker_of_a_killed_supervisor() {
    let sandbox = Sandbox::with(Script { fork_grandchild: true, ignore_sigterm: true, ..Script::default() });
    let pid = number(&sandbox.spawn_ready(&[])["pid"]);
    let supervisor = sandbox.registry().list().expect("rows").workers[0].supervisor.pid;
    signal(supervisor, Signal::KILL);
    wait_until("the worker is gone", || !sandbox.running().contains(&pid));
    // What the worker had started is nobody's child now; whoever looks next finds it by its nonce.
    let list = sandbox.list(&[]);
    assert_eq!((text(&list[0]["status"]), text(&list[0]["reason"])), ("failed", "process is gone"));
    sandbox.assert_nothing_runs();
}

#[test]
fn a_supervisor_that_is_killed_at_any_moment_takes_its_worker_along() {
    for delay_ms in (0..60).step_by(4) {
        let sandbox = Sandbox::with(Script { ignore_sigterm: true, ..Script::default() });
        let mut live = sandbox.start_spawn(&[], std::process::Stdio::null());
        live.event("starting");
        let supervisor = sandbox.registry().list().expect("rows").workers[0].supervisor.pid;
        // Not a wait for something: another stage of the load each time.
        std::thread::sleep(Duration::from_millis(delay_ms));
        signal(supervisor, Signal::KILL);
        live.finish();
        sandbox.assert_nothing_runs();
        assert_eq!(text(&sandbox.list(&[])[0]["status"]), "failed");
    }
}

#[test]
fn stopping_while_it_loads_ends_both_commands() {
    let sandbox = Sandbox::with(Script { hang_after_layers: Some(2), ..Script::default() });
    let mut spawning = sandbox.start_spawn(&[], std::process::Stdio::null());
    let id = spawning.event("starting")["worker_id"].clone();
    spawning.event("loading");
    assert_eq!(text(&sandbox.list(&[])[0]["status"]), "starting");
    assert_eq!(sandbox.run(&["worker", "stop", text(&id)]).code, Some(0));
    let (code, events) = spawning.finish();
    let last = events.last().expect("events");
    assert_eq!((code, text(&last["code"])), (Some(1), "WORKER_START_FAILED"), "{last}");
    assert!(text(&last["message"]).contains("stopped on request"), "{last}");
}

#[test]
fn ended_workers_are_forgotten_in_the_end() {
    let sandbox = Sandbox::with(Script { exit_at_once: Some(1), ..Script::default() });
    for _ in 0..36 {
        sandbox.spawn(&[]).assert_error("WORKER_START_FAILED");
    }
    assert!(sandbox.list(&["--all"]).len() <= 33);
    let logs = std::fs::read_dir(sandbox.state_dir().join("logs")).expect("a folder").count();
    assert!(logs <= 33, "{logs} logs");
}
