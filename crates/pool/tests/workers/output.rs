//! What a worker prints: always drained, bounded on disk, shown on request. And what the pool says about itself.

use std::process::Stdio;

use testkit::fake_worker::Script;

use crate::sandbox::{Sandbox, text};

fn flood(bytes: u64, line_bytes: u64) -> Script {
    Script { flood_stderr_bytes: bytes, flood_line_bytes: line_bytes, ..Script::default() }
}

#[test]
fn a_flood_neither_blocks_the_worker_nor_fills_the_disk() {
    for line_bytes in [0, 100, 1 << 20] {
        let sandbox = Sandbox::with(flood(40_000_000, line_bytes));
        // The flood comes before the callback: a worker that blocks on it is never ready.
        sandbox.spawn_ready(&["--log-bytes", "300000", "--log-files", "3"]);
        let logs = std::fs::read_dir(sandbox.state_dir().join("logs")).expect("a folder").flatten();
        let sizes: Vec<u64> = logs.map(|log| log.metadata().expect("metadata").len()).collect();
        assert!(sizes.len() <= 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= 300_000), "{sizes:?}");
    }
}

#[test]
fn logs_are_printed_and_followed_to_the_end() {
    let sandbox = Sandbox::with(flood(2_000, 100));
    let id = sandbox.spawn_ready(&[])["worker_id"].clone();
    let last = sandbox.run(&["worker", "logs", text(&id), "-n", "3"]);
    assert_eq!((last.code, last.stdout.lines().count()), (Some(0), 3));
    let mut following = sandbox.start(&["--json", "worker", "logs", text(&id), "--follow"], Stdio::null());
    assert!(text(&following.event("line")["line"]).contains("listens on"));
    assert_eq!(sandbox.run(&["worker", "stop", text(&id)]).code, Some(0));
    let (code, events) = following.finish();
    assert_eq!((code, text(&events.last().expect("events")["event"])), (Some(0), "done"));
    // 20 lines of the flood.
    assert_eq!(events.iter().filter(|event| event["event"] == "line").count(), 20);
    sandbox.run(&["--json", "worker", "logs", "w-unknown"]).assert_error("WORKER_NOT_FOUND");
}

#[test]
fn nothing_of_ours_is_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.spawn_ready(&[]);
    let mode = |path: &str| std::fs::metadata(sandbox.state_dir().join(path)).expect(path).permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("logs"), mode("pool.db")), (0o700, 0o700, 0o600));
    for log in std::fs::read_dir(sandbox.state_dir().join("logs")).expect("a folder").flatten() {
        assert_eq!(log.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_callers_descriptors_do_not_live_on_in_the_worker() {
    let sandbox = Sandbox::new();
    let done = sandbox.spawn_ready(&[]);
    let supervisor = sandbox.registry().list().expect("rows").workers[0].supervisor.pid;
    let worker = crate::sandbox::number(&done["pid"]);
    for (pid, pipes_most) in [(supervisor, 3), (worker, 2)] {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten();
        let pipes = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let pipes = pipes.filter(|target| target.to_string_lossy().starts_with("pipe:")).count();
        assert!(pipes <= pipes_most, "{pid} holds {pipes} pipes");
    }
}

#[test]
fn stamp_and_devices() {
    let sandbox = Sandbox::new();
    for arguments in [["--version", "--json"], ["--json", "--version"]] {
        let done = sandbox.run(&arguments);
        assert_eq!((done.code, text(&done.last()["program"])), (Some(0), "llorch-pool"));
    }
    assert!(sandbox.run(&["--version"]).stdout.starts_with("llorch-pool 0."));
    let devices = sandbox.run(&["devices", "--json"]);
    let first = &devices.last()["devices"][0];
    assert_eq!((text(&first["backend"]), first["device"].as_u64()), ("cpu", Some(0)));
    assert!(first["memory_bytes_total"].as_u64() >= first["memory_bytes_available"].as_u64());
    assert!(sandbox.run(&["--help"]).stdout.contains("Examples:"));
    assert!(!sandbox.run(&["--help"]).stdout.contains("supervise"));
}
