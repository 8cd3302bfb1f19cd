//! Starts that fail: each a typed error with a hint, and nothing left running.

use std::process::Stdio;

use rustix::process::Signal;
use testkit::fake_worker::Script;

use crate::sandbox::{Sandbox, signal, text};

#[test]
fn death_while_loading_shows_the_last_lines_and_where_the_log_is() {
    let sandbox = Sandbox::with(Script { die_after_layers: Some(2), ..Script::default() });
    let done = sandbox.spawn(&[]);
    let error = done.assert_error("WORKER_START_FAILED");
    assert_eq!(text(&error["message"]), "the worker exited with code 3 while loading");
    assert!(done.stderr.contains("dying while loading, as told"), "{}", done.stderr);
    let path = done.stderr.lines().find_map(|line| line.trim().strip_prefix("log: ")).expect("a path");
    assert!(std::fs::read_to_string(path).expect("the log").contains("listens on"));
    assert!(done.stderr.contains("\nhint: "), "{}", done.stderr);
    assert!(sandbox.running().is_empty());
    assert_eq!(text(&sandbox.list(&[])[0]["status"]), "failed");
}

#[test]
fn death_before_the_callback_and_by_signal() {
    let sandbox = Sandbox::with(Script { exit_at_once: Some(42), ..Script::default() });
    let done = sandbox.spawn(&[]);
    assert!(
        text(&done.assert_error("WORKER_START_FAILED")["message"])
            .contains("exited with code 42 before it called back")
    );

    let sandbox = Sandbox::with(Script { die_after_layers: Some(1), die_by_signal: Some(7), ..Script::default() });
    let done = sandbox.spawn(&[]);
    assert!(
        text(&done.assert_error("WORKER_START_FAILED")["message"]).contains("SIGBUS (a mapped file became shorter")
    );
}

#[test]
fn a_load_that_fails_keeps_the_workers_own_code() {
    let sandbox =
        Sandbox::with(Script { fail_loading: Some(String::from("tensor count is absurd")), ..Script::default() });
    let done = sandbox.spawn(&[]);
    assert_eq!(text(&done.assert_error("MODEL_INVALID")["message"]), "tensor count is absurd");
    assert!(sandbox.running().is_empty());
}

#[test]
fn silence_times_out() {
    let sandbox = Sandbox::with(Script { never_call_back: true, ..Script::default() });
    let done = sandbox.spawn(&["--timeout", "1"]);
    assert!(text(&done.assert_error("WORKER_START_TIMEOUT")["message"]).contains("did not call back within 1 s"));
    assert!(sandbox.running().is_empty());

    let sandbox = Sandbox::with(Script { hang_after_layers: Some(2), ignore_sigterm: true, ..Script::default() });
    let done = sandbox.spawn(&["--timeout", "1", "--grace", "1"]);
    assert!(text(&done.assert_error("WORKER_START_TIMEOUT")["message"]).contains("no progress for 1 s"));
    assert!(sandbox.running().is_empty());
}

#[test]
fn slow_is_not_stuck() {
    // Three times the timeout in all, but never without progress for so long.
    let sandbox = Sandbox::with(Script { layers: 10, layer_ms: 300, ..Script::default() });
    sandbox.spawn_ready(&["--timeout", "1"]);
}

#[test]
fn a_callback_with_another_nonce_is_not_believed() {
    let sandbox = Sandbox::with(Script { wrong_nonce: true, ..Script::default() });
    let done = sandbox.spawn(&["--timeout", "1"]);
    assert!(text(&done.assert_error("WORKER_START_TIMEOUT")["message"]).contains("wrong nonce"));
    assert!(done.events.iter().all(|event| event["event"] != "ready"));
}

#[test]
fn interrupted_while_loading_leaves_nothing() {
    for interrupt in [Signal::INT, Signal::TERM, Signal::HUP] {
        let sandbox = Sandbox::with(Script { hang_after_layers: Some(1), ..Script::default() });
        let mut spawning = sandbox.start_spawn(&[], Stdio::null());
        spawning.event("loading");
        signal(spawning.child.id(), interrupt);
        let (code, events) = spawning.finish();
        assert_eq!((code, text(&events.last().expect("events")["code"])), (Some(130), "CANCELLED"));
        assert!(sandbox.running().is_empty());
        assert!(sandbox.list(&[]).is_empty());
    }
}

#[test]
fn a_command_that_is_killed_while_loading_takes_its_worker_along() {
    let sandbox = Sandbox::with(Script { hang_after_layers: Some(1), ..Script::default() });
    let mut spawning = sandbox.start_spawn(&[], Stdio::null());
    spawning.event("loading");
    signal(spawning.child.id(), Signal::KILL);
    assert_eq!(spawning.finish().0, None);
    sandbox.assert_nothing_runs();
}

#[test]
fn the_wrong_program_is_refused_before_it_runs() {
    let sandbox = Sandbox::new();
    let model = sandbox.path("model.gguf").display().to_string();
    let refused = |backend: &str, binary: &str| {
        let arguments = ["--json", "worker", "spawn", backend, "--model-path", &model, "--worker-binary", binary];
        let done = sandbox.run(&arguments);
        let error = done.assert_error("WORKER_START_FAILED").clone();
        assert_eq!(text(&error["hint"]), format!("run `cargo xtask build worker {backend}`"));
        text(&error["message"]).to_owned()
    };
    let fake = testkit::fake_worker::binary().display().to_string();
    assert!(refused("cuda", &fake).contains("it was built for `cpu`"));
    assert!(refused("cpu", env!("CARGO_BIN_EXE_llorch-pool")).contains("`llorch-pool`, which has no backend"));
    assert!(refused("cpu", "/nonexistent/worker").contains("not a file"));
    assert!(refused("cpu", &model).contains("ermission denied"));
    assert!(refused("cpu", "/bin/true").contains("does not print a llorch stamp"));
    assert!(sandbox.list(&["--all"]).is_empty());
}

#[test]
fn a_missing_model_is_named_with_the_command_that_gets_it() {
    let sandbox = Sandbox::new();
    let done = sandbox.run(&["--json", "worker", "spawn", "cpu", "--model", "smollm2"]);
    let error = done.assert_error("MODEL_NOT_FOUND");
    assert_eq!(text(&error["hint"]), "run `cargo xtask models download smollm2`");
    let done = sandbox.run(&["--json", "worker", "spawn", "cpu", "--model-path", "/nonexistent/model.gguf"]);
    done.assert_error("MODEL_NOT_FOUND");
}

#[test]
fn usage_errors_are_exit_2_in_both_shapes() {
    let sandbox = Sandbox::new();
    let unusable: [&[&str]; 6] = [
        &["worker", "spawn", "cpu"],
        &["worker", "spawn", "rocm", "--model", "m"],
        &["worker", "spawn", "cpu", "--model", "../m"],
        &["worker", "spawn", "cpu", "--model", "m", "--model-path", "m"],
        &["worker", "stop"],
        &["worker", "stop", "w-1", "--all"],
    ];
    for arguments in unusable {
        let plain = sandbox.run(arguments);
        assert_eq!((plain.code, plain.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let json = sandbox.run(&arguments);
        assert_eq!((json.code, text(&json.last()["code"])), (Some(2), "INVALID_PARAMS"), "{arguments:?}");
    }
}

#[test]
fn a_registry_that_is_not_ours_is_left_alone() {
    let sandbox = Sandbox::new();
    drop(sandbox.registry());
    let path = sandbox.state_dir().join("pool.db");
    let connection = rusqlite::Connection::open(&path).expect("the file");
    connection.execute("UPDATE meta SET value = 2", []).expect("an update");
    drop(connection);
    let done = sandbox.run(&["--json", "worker", "list"]);
    let message = text(&done.assert_error("INTERNAL")["message"]).to_owned();
    assert!(message.contains("schema version 2, this program knows 1"), "{message}");

    for extension in ["", "-wal", "-shm"] {
        let _absent = std::fs::remove_file(sandbox.state_dir().join(format!("pool.db{extension}")));
    }
    std::fs::write(&path, "garbage, not a database, long enough to have a header of its own").expect("a file");
    let done = sandbox.run(&["--json", "worker", "list"]);
    assert!(text(&done.assert_error("INTERNAL")["message"]).contains("pool.db"));
    assert!(done.last()["hint"].is_string());
    std::fs::remove_file(&path).expect("removed");
}
