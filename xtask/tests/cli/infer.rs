//! `infer`: the chain through a real pool, with a worker that needs no model.

use testkit::fake_worker::{Misbehaviour, Script, token_text};

use crate::support::Home;

fn text(seed: u64, tokens: u64) -> String {
    (0..tokens).map(|index| token_text(seed, index)).collect()
}

#[test]
fn the_text_alone_goes_to_standard_output() {
    let home = Home::new().with_model().with_fake_worker(&Script::default());
    let outcome = home.run(&["infer", "--model", "tiny", "--prompt", "x", "--seed", "7", "--max-tokens", "12"]);
    assert_eq!((outcome.code, outcome.stdout), (0, text(7, 12)), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("12 tokens in") && outcome.stderr.contains("MAX_TOKENS"), "{}", outcome.stderr);
    home.assert_nothing_runs();
    assert_eq!(home.workers().len(), 1);
}

#[test]
fn with_json_every_step_is_an_event_and_done_the_last() {
    let home = Home::new().with_model().with_fake_worker(&Script { eos_after: Some(5), ..Script::default() });
    let outcome = home.run(&["infer", "--model", "tiny", "--message", "hi", "--seed", "3", "--json", "--quiet"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let events = outcome.events();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((of("starting"), of("ready"), of("started"), of("token"), of("done")), (1, 1, 1, 5, 1));
    assert!(outcome.stdout.lines().all(|line| line.starts_with("{\"event\":")), "{}", outcome.stdout);
    let done = outcome.last_event();
    assert_eq!(
        (&done["event"], &done["stop_reason"], &done["text"]),
        (&"done".into(), &"EOS".into(), &text(3, 5).into())
    );
}

#[test]
fn a_model_that_is_not_here_is_fetched_first() {
    let hub = crate::support::hub(None);
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint()).with_fake_worker(&Script::default());
    let outcome = home.run(&["infer", "--model", "tiny", "--prompt", "x", "--seed", "1", "--max-tokens", "3"]);
    assert_eq!((outcome.code, outcome.stdout), (0, text(1, 3)), "{}", outcome.stderr);
    assert!(home.model_folder().join("manifest.json").exists());
}

#[test]
fn a_worker_that_dies_is_an_error_with_its_log() {
    let fails = |script: Script, code: &str| {
        let home = Home::new().with_model().with_fake_worker(&script);
        let outcome = home.run(&["infer", "--model", "tiny", "--prompt", "x", "--json"]);
        let event = outcome.last_event();
        assert_eq!((outcome.code, &event["event"], &event["code"]), (1, &"error".into(), &code.into()), "{outcome:?}");
        assert!(event["hint"].as_str().is_some_and(|hint| hint.contains("logs")), "{event}");
        home.assert_nothing_runs();
    };
    fails(Script { die_after_tokens: Some(3), ..Script::default() }, "WORKER_LOST");
    fails(Script { die_after_tokens: Some(3), die_by_signal: Some(9), ..Script::default() }, "WORKER_LOST");
    fails(Script { die_after_layers: Some(2), ..Script::default() }, "WORKER_START_FAILED");
    fails(Script { exit_at_once: Some(9), ..Script::default() }, "WORKER_START_FAILED");
}

#[test]
fn a_stream_that_breaks_the_contract_is_an_error() {
    for misbehaviour in
        [Misbehaviour::OmitTerminal, Misbehaviour::OmitDone, Misbehaviour::TokenAfterEnd, Misbehaviour::InvalidJson]
    {
        let home =
            Home::new().with_model().with_fake_worker(&Script { misbehave: vec![misbehaviour], ..Script::default() });
        let outcome = home.run(&["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "4", "--json"]);
        let event = outcome.last_event();
        assert_eq!((outcome.code, &event["event"]), (1, &"error".into()), "{misbehaviour:?}: {outcome:?}");
        home.assert_nothing_runs();
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let script = Script { tokens_per_second: 50.0, ..Script::default() };
    let home = Home::new().with_model().with_fake_worker(&script);
    let mut child = home.start(&["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "20000"]);
    let start = crate::support::read_until(&mut child, " ");
    assert!(!start.is_empty());
    drop(child.stdout.take());
    let outcome = crate::support::finish(child);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    home.assert_nothing_runs();
}

#[test]
fn a_worker_that_is_not_there_is_an_error() {
    let outcome = Home::new().run(&["infer", "--prompt", "x", "--worker", "127.0.0.1:1", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"WORKER_UNAVAILABLE".into()), "{outcome:?}");
}

#[test]
fn without_the_pool_beside_it_the_command_says_what_is_missing() {
    let home = Home::new().with_model();
    std::fs::remove_file(home.path("bin/llorch-pool")).expect("a pool");
    let outcome = home.run(&["infer", "--model", "tiny", "--prompt", "x"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("bin/llorch-pool` is not there") && outcome.stderr.contains("hint: "),
        "{outcome:?}"
    );
}
