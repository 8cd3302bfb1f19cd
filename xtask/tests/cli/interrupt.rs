//! Ctrl-C at every stage: exit code 130, nothing left running, a partial download kept.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use testkit::fake_worker::Script;

use crate::support::{Home, finish, hub, interrupt, read_until};

/// A person waits this long for a command that was told to stop, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_download_is_interrupted_and_continued() {
    let slow = hub(Some(60_000));
    let home = Home::new().with("HF_ENDPOINT", &slow.endpoint());
    let mut child = home.start(&["models", "download", "tiny", "--json"]);
    read_until(&mut child, "\"progress\"");
    interrupt(&child, false);
    let started = Instant::now();
    let outcome = finish(child);
    assert!(started.elapsed() < SOON);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (130, &"CANCELLED".into()), "{outcome:?}");
    assert!(outcome.stderr.contains("error: interrupted") && outcome.stderr.contains("hint: "), "{outcome:?}");
    assert!(!home.model_folder().join("tiny.gguf").exists());
    let partial = home.model_folder().join("tiny.gguf.part");
    assert!(std::fs::metadata(partial).expect("the partial file is kept").len() > 0);

    drop(slow);
    let fast = hub(None);
    let home = home.with("HF_ENDPOINT", &fast.endpoint());
    assert_eq!(home.run(&["models", "download", "tiny"]).code, 0);
}

#[test]
fn infer_is_interrupted_while_it_fetches() {
    let slow = hub(Some(60_000));
    let home = Home::new().with("HF_ENDPOINT", &slow.endpoint()).with_fake_worker(&Script::default());
    let mut child = home.start(&["infer", "--model", "tiny", "--prompt", "x", "--json"]);
    read_until(&mut child, "\"progress\"");
    interrupt(&child, true);
    assert_eq!(finish(child).code, 130);
    home.assert_nothing_runs();
}

/// Interrupts `infer` once `wanted` was printed: the process alone, then with its group, as a terminal does.
fn check(script: &Script, wanted: &str) {
    for whole_group in [false, true] {
        let home = Home::new().with_model().with_fake_worker(script);
        let mut child = home.start(&["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "20000", "--json"]);
        read_until(&mut child, wanted);
        interrupt(&child, whole_group);
        let started = Instant::now();
        let outcome = finish(child);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!((outcome.code, &outcome.last_event()["code"]), (130, &"CANCELLED".into()), "{outcome:?}");
        home.assert_nothing_runs();
    }
}

#[test]
fn infer_is_interrupted_while_a_worker_loads() {
    check(&Script { layers: 1_000, layer_ms: 50, ..Script::default() }, "\"loading\"");
}

#[test]
fn infer_is_interrupted_mid_stream() {
    check(&Script { tokens_per_second: 20.0, ..Script::default() }, "\"token\"");
}

#[test]
fn infer_is_interrupted_while_a_worker_is_silent() {
    check(&Script { stall_after_tokens: Some(2), ..Script::default() }, "\"token\"");
}

#[test]
fn a_worker_that_ignores_everything_is_gone_all_the_same() {
    check(&Script { tokens_per_second: 20.0, ignore_sigterm: true, ..Script::default() }, "\"token\"");
}

#[test]
fn a_killed_command_leaves_no_worker() {
    let script = Script { tokens_per_second: 20.0, ..Script::default() };
    let home = Home::new().with_model().with_fake_worker(&script);
    let mut child = home.start(&["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "20000", "--json"]);
    read_until(&mut child, "\"token\"");
    child.kill().expect("it runs");
    finish(child);
    home.assert_nothing_runs();
}

#[test]
fn a_start_that_is_interrupted_leaves_no_worker() {
    let script = Script { layers: 1_000, layer_ms: 50, ..Script::default() };
    let home = Home::new().with_model().with_fake_worker(&script);
    let mut child = home.start(&["worker", "start", "cpu", "--model", "tiny", "--json"]);
    read_until(&mut child, "\"loading\"");
    interrupt(&child, false);
    let outcome = finish(child);
    assert_eq!(outcome.code, 130);
    assert_eq!(outcome.stdout.matches("\"error\"").count(), 1, "{outcome:?}");
    home.assert_nothing_runs();
}

#[test]
fn a_build_is_interrupted_with_all_it_started() {
    for whole_group in [false, true] {
        let home = Home::new();
        let cargo = home.path("cargo");
        // The shell makes its background child deaf to SIGINT, as a badly behaved compiler would be.
        std::fs::write(&cargo, "#!/bin/sh\nsleep 600 &\ntouch \"$HOME/started\"\nwait\n").expect("a script");
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let home = home.with("CARGO", &cargo.display().to_string());
        let child = home.start_in_checkout(&["build", "pool", "--json"]);
        let until = Instant::now() + SOON;
        while !home.path("started").exists() {
            assert!(Instant::now() < until, "cargo was not started");
            std::thread::sleep(Duration::from_millis(10));
        }
        interrupt(&child, whole_group);
        let outcome = finish(child);
        assert_eq!((outcome.code, &outcome.last_event()["code"]), (130, &"CANCELLED".into()), "{outcome:?}");
        home.assert_nothing_runs();
    }
}
