//! Records that point at processes which are not ours: nobody is signalled, the record becomes what is true.

use std::process::{Child, Command};

use pool::identity::{Identity, identify};
use pool::registry::Worker;
use protocol::identifiers::Backend;
use protocol::pool::{WorkerRecord, WorkerStatus};

use crate::sandbox::{Sandbox, number, text};

/// A process of somebody else's. Ends with its value.
struct Stranger(Child);

impl Stranger {
    #[expect(clippy::disallowed_methods, reason = "the stranger is a process")]
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep"))
    }

    fn identity(&self) -> Identity {
        identify(self.0.id()).expect("it runs")
    }

    #[track_caller]
    fn assert_untouched(&mut self) {
        assert!(self.0.try_wait().expect("a status").is_none(), "the stranger was killed");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn record(id: &str, process: Identity, supervisor: Identity, nonce: &str) -> Worker {
    let record = WorkerRecord {
        worker_id: id.parse().expect("an id"),
        model: "m".parse().expect("an id"),
        model_digest: None,
        backend: Backend::Cpu,
        device: 0,
        pid: process.pid,
        url: Some(String::from("http://127.0.0.1:9")),
        status: WorkerStatus::Ready,
        started_at_ms: 1,
        reason: None,
    };
    Worker { record, process, supervisor, nonce: nonce.to_owned(), log_tail: Vec::new() }
}

#[test]
fn no_stranger_is_ever_signalled() {
    let sandbox = Sandbox::new();
    let mut stranger = Stranger::new();
    let foreign = stranger.identity();
    let nonce = "0123456789abcdef0123456789abcdef";
    let older = Identity { start_ticks: foreign.start_ticks - 1, ..foreign.clone() };
    let other_boot = Identity { boot_id: String::from("another"), ..foreign.clone() };
    let init = identify(1).expect("pid 1");
    let nobody = Identity { pid: 4_000_000_000, start_ticks: 1, boot_id: foreign.boot_id.clone() };
    let zero = Identity { pid: 0, start_ticks: 0, boot_id: foreign.boot_id.clone() };
    let registry = sandbox.registry();
    let cases = [
        ("w-same", foreign.clone(), foreign.clone(), nonce),
        ("w-empty", foreign.clone(), foreign.clone(), ""),
        ("w-older", older.clone(), older, nonce),
        ("w-boot", other_boot.clone(), other_boot, nonce),
        ("w-init", init.clone(), init, nonce),
        ("w-nobody", nobody.clone(), nobody, nonce),
        ("w-zero", zero.clone(), zero, nonce),
    ];
    for (id, process, supervisor, nonce) in cases.clone() {
        registry.insert(&record(id, process, supervisor, nonce)).expect("inserted");
    }
    // Half of them are looked at first, the other half are stopped as they are.
    for (id, ..) in &cases[..3] {
        assert_eq!(sandbox.run(&["worker", "stop", id, "--grace", "1"]).code, Some(0));
        stranger.assert_untouched();
    }
    let list = sandbox.list(&[]);
    assert_eq!(list.len(), 4);
    for worker in &list {
        assert_eq!((text(&worker["status"]), text(&worker["reason"])), ("failed", "process is gone"), "{worker}");
    }
    assert_eq!(sandbox.run(&["worker", "stop", "--all", "--grace", "1"]).code, Some(0));
    stranger.assert_untouched();
    assert!(sandbox.list(&[]).is_empty());
}

#[test]
fn a_record_that_was_edited_does_not_save_its_worker() {
    let sandbox = Sandbox::new();
    let mut stranger = Stranger::new();
    let spawned = sandbox.spawn_ready(&[]);
    let id = text(&spawned["worker_id"]);
    let connection = rusqlite::Connection::open(sandbox.state_dir().join("pool.db")).expect("the file");
    let foreign = stranger.identity();
    let ticks = i64::try_from(foreign.start_ticks).expect("ticks");
    connection.execute("UPDATE workers SET pid = ?1, start_ticks = ?2", (foreign.pid, ticks)).expect("an update");
    assert_eq!(sandbox.run(&["worker", "stop", id, "--grace", "1"]).code, Some(0));
    stranger.assert_untouched();
    assert!(!sandbox.running().contains(&number(&spawned["pid"])), "its supervisor has ended the real one");
}

#[test]
fn damaged_rows_are_passed_over() {
    let sandbox = Sandbox::new();
    let id = sandbox.spawn_ready(&[])["worker_id"].clone();
    let connection = rusqlite::Connection::open(sandbox.state_dir().join("pool.db")).expect("the file");
    let sql =
        "INSERT INTO workers (worker_id, model, backend, device, status, started_at_ms, pid, start_ticks, boot_id,
        nonce, supervisor_pid, supervisor_start_ticks) VALUES (?1, 'm', 'cpu', ?2, ?3, 0, ?4, 0, '', '', ?5, 0)";
    let rows = [("../../x", "0", "ready", "1", "1"), ("w-a", "x", "ready", "1", "1"), ("w-b", "0", "odd", "1", "1")];
    for row in rows.into_iter().chain([("w-c", "0", "ready", "-1", "1"), ("w-d", "0", "ready", "1", "garbage")]) {
        connection.execute(sql, row).expect("inserted");
    }
    let done = sandbox.run(&["--json", "worker", "list"]);
    assert_eq!(done.last()["workers"].as_array().expect("a list").len(), 1);
    assert!(done.stderr.contains("5 damaged records"), "{}", done.stderr);
    assert_eq!(sandbox.run(&["worker", "stop", text(&id)]).code, Some(0));
}
