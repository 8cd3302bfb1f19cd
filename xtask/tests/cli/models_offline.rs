//! A hub that is down or gone: what is here needs none, and what is missing is named.

use std::fs;

use testkit::fake_worker::Script;

use crate::outside::{may_trace, network_of_its_own, traced_to};
use crate::support::Home;

/// Reserved by RFC 6761: no resolver knows it.
const NO_SUCH_HUB: &str = "http://hub.invalid";

#[test]
fn what_is_here_needs_no_network() {
    if !may_trace() || !network_of_its_own() {
        return;
    }
    let home = Home::new().with("HF_ENDPOINT", NO_SUCH_HUB).with_fake_worker(&Script::default()).with_model();
    let log = home.path("trace.log").display().to_string();
    let connections = |arguments: &[&str], expected: i32| {
        let outcome = traced_to(&home, ("-e trace=connect,sendto,sendmsg", &log), arguments);
        assert_eq!(outcome.code, expected, "{outcome:?}");
        let text = fs::read_to_string(&log).expect("a log");
        text.lines().filter(|line| line.contains("sa_family=AF_INET")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (arguments, expected) in [
        (&["models", "list"][..], 0),
        (&["models", "verify"], 0),
        (&["models", "download", "tiny"], 0),
        (&["models", "catalog"], 0),
        (&["models", "disk-usage"], 0),
        // The stand-in is no GGUF file: it was read all the same.
        (&["models", "info", "tiny"], 1),
    ] {
        assert_eq!(connections(arguments, expected), Vec::<String>::new(), "{arguments:?}");
    }
    let inner = connections(&["infer", "--model", "tiny", "--prompt", "x", "--max-tokens", "3"], 0);
    assert!(!inner.is_empty(), "a worker is asked over the network");
    assert!(inner.iter().all(|line| line.contains("inet_addr(\"127.0.0.1\")")), "{inner:#?}");
    home.assert_nothing_runs();
}

#[test]
fn a_missing_file_is_named_whatever_keeps_the_hub_away() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let nobody = format!("http://{}", closed.expect("a port"));
    for (name, value) in [("HF_ENDPOINT", NO_SUCH_HUB), ("HF_ENDPOINT", &nobody), ("HF_HUB_OFFLINE", "1")] {
        let home = Home::new().with_model().with(name, value);
        fs::remove_file(home.model_folder().join("tiny.gguf")).expect("removed");
        for arguments in [
            &["models", "download", "tiny", "--json"][..],
            &["infer", "--model", "tiny", "--prompt", "x", "--json"],
            &["worker", "start", "cpu", "--model", "tiny", "--json"],
        ] {
            let outcome = home.run(arguments);
            let event = outcome.last_event();
            assert_eq!((outcome.code, &event["code"]), (1, &"OFFLINE_INCOMPLETE".into()), "{outcome:?}");
            assert!(event["message"].to_string().contains("missing: `tiny.gguf`"), "{event}");
            assert!(event["hint"].is_string(), "{event}");
        }
        // Of a model that was never here nothing is left.
        assert_eq!(home.run(&["models", "delete", "tiny", "--yes"]).code, 0);
        assert_eq!(home.run(&["models", "download", "tiny"]).code, 1);
        assert!(!home.model_folder().exists());
    }
}
