//! Workers, and what they generate.

use serde_json::Value;
use testkit::fake_worker::Script;

use crate::page::{self, Scene, lines};
use crate::support::Home;

fn run(home: &Home, arguments: &[&str]) -> Vec<Value> {
    lines(&home.run(&[arguments, &["--json"]].concat()).stdout)
}

fn home() -> Home {
    Home::new().with_model().with_fake_worker(&Script::default())
}

fn start(home: &Home) -> (Vec<Value>, String) {
    let started = run(home, &["worker", "start", "cpu", "--model", "tiny"]);
    let id = started.last().and_then(|done| done["worker_id"].as_str()).expect("an id").to_owned();
    (started, id)
}

pub const SCENES: &[Scene] = &[
    ("infer", || {
        let told = home();
        let ended = run(&told, &["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "3"]);
        let stopping = Home::new().with_model().with_fake_worker(&Script { eos_after: Some(2), ..Script::default() });
        [ended, run(&stopping, &["infer", "--model", "tiny", "--prompt", "x"])].concat()
    }),
    ("worker start", || {
        let home = home();
        let (started, _) = start(&home);
        run(&home, &["worker", "stop", "--all"]);
        started
    }),
    ("worker list", || {
        let home = home();
        let (_, id) = start(&home);
        let running = run(&home, &["worker", "list"]);
        run(&home, &["worker", "stop", &id]);
        let home = home.with(
            testkit::fake_worker::SCRIPT_VARIABLE,
            &Script { exit_at_once: Some(9), ..Script::default() }.to_json(),
        );
        run(&home, &["worker", "start", "cpu", "--model", "tiny"]);
        [running, run(&home, &["worker", "list", "--all"])].concat()
    }),
    ("worker stop", || {
        let home = home();
        let (_, id) = start(&home);
        run(&home, &["worker", "stop", &id])
    }),
    ("worker logs", || {
        let home = home();
        let (_, id) = start(&home);
        run(&home, &["worker", "stop", &id]);
        run(&home, &["worker", "logs", &id])
    }),
];

#[test]
fn what_runs() {
    page::check(SCENES);
}
