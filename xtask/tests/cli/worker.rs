//! `worker`: through the pool, which answers.

use testkit::fake_worker::Script;

use crate::support::Home;

#[test]
fn a_worker_lives_on_serves_and_is_stopped() {
    let home = Home::new().with_model().with_fake_worker(&Script::default());
    let started = home.run(&["worker", "start", "cpu", "--model", "tiny-model", "--json"]);
    assert_eq!(started.code, 0, "{started:?}");
    let done = started.last_event();
    let (url, id) = (done["url"].as_str().expect("url"), done["worker_id"].as_str().expect("worker_id"));
    assert!(done["event"] == "done" && done["pid"].is_u64(), "{done}");
    let listed = home.run(&["worker", "list"]);
    assert!(listed.stdout.contains(id) && listed.stdout.contains("ready"), "{listed:?}");

    let address = url.trim_start_matches("http://");
    let outcome = home.run(&["infer", "--worker", address, "--prompt", "x", "--max-tokens", "3", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["tokens_out"]), (0, &3.into()), "{outcome:?}");

    let logs = home.run(&["worker", "logs", id]);
    assert!(logs.code == 0 && logs.stdout.contains("listens on"), "{logs:?}");
    assert_eq!(home.run(&["worker", "stop", id]).code, 0);
    assert_eq!(home.run(&["worker", "stop", "--all"]).code, 0);
    home.assert_nothing_runs();
}

#[test]
fn the_pools_exit_code_stands() {
    let home = Home::new();
    let outcome = home.run(&["worker", "stop", "w-nobody", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"WORKER_NOT_FOUND".into()), "{outcome:?}");
}

#[test]
fn a_backend_without_a_worker_is_refused() {
    let home = Home::new().with_model();
    let outcome = home.run(&["worker", "start", "cuda", "--model", "tiny"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("cuda"), "{outcome:?}");
}
