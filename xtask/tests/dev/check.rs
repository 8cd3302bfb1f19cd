//! `dev check`: each value with where it came from.

use serde_json::{Value, json};

use crate::support::{Machine, Outcome};

fn document(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

fn setting(document: &Value, name: &str) -> Value {
    let settings = document["settings"].as_array().expect("settings");
    settings.iter().find(|setting| setting["name"] == name).unwrap_or_else(|| panic!("no {name}: {document}")).clone()
}

#[test]
fn every_source_is_told_apart() {
    let machine = Machine::healthy()
        .configuration("[remote]\nkeepalive_seconds = 2\n\n[hosts.a]\nssh = 'me@a.lan'\n")
        .with("LLORCH_DATA_DIR", "/data")
        .with("LLORCH_DATA_DIRR", "/data")
        .with("HF_TOKEN", "secret")
        .with("LLORCH_API_KEY", "secret")
        .file("work/other.toml", include_str!("../../../catalog.toml"));
    let outcome = machine.run(&["dev", "check", "--json", "--catalog", "other.toml"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let document = document(&outcome);
    let file = machine.path("home/.config/llorch/config.toml").display().to_string();
    for (name, wanted) in [
        (
            "data",
            json!({"name": "data", "value": "/data", "source": "environment", "by": "LLORCH_DATA_DIR", "set_by": "LLORCH_DATA_DIR"}),
        ),
        (
            "catalog",
            json!({"name": "catalog", "value": "other.toml", "source": "flag", "by": "--catalog", "set_by": "LLORCH_CATALOG"}),
        ),
        (
            "remote.connect_timeout_seconds",
            json!({"name": "remote.connect_timeout_seconds", "value": "10", "source": "default", "set_by": "config.toml"}),
        ),
        (
            "remote.keepalive_seconds",
            json!({"name": "remote.keepalive_seconds", "value": "2", "source": "user_file", "set_by": "config.toml", "file": file, "line": 2}),
        ),
        (
            "hosts.a.ssh",
            json!({"name": "hosts.a.ssh", "value": "me@a.lan", "source": "user_file", "set_by": "config.toml", "file": file, "line": 5}),
        ),
        (
            "hub.token",
            json!({"name": "hub.token", "value": "(set)", "source": "environment", "by": "HF_TOKEN", "set_by": "HF_TOKEN"}),
        ),
        (
            "hub.offline",
            json!({"name": "hub.offline", "value": "true", "source": "environment", "by": "HF_HUB_OFFLINE", "set_by": "HF_HUB_OFFLINE"}),
        ),
    ] {
        assert_eq!(setting(&document, name), wanted);
    }
    assert_eq!(setting(&document, "state")["source"], "default");
    // What no file can set says what can.
    assert_eq!(setting(&document, "hub.endpoint")["set_by"], "HF_ENDPOINT");
    assert_eq!(document["unknown_variables"], json!(["LLORCH_DATA_DIRR"]));
    assert_eq!(document["files"][0], json!({"path": file, "exists": true}));
    assert!(!outcome.stdout.contains("secret"), "{}", outcome.stdout);
    let outcome = machine.with("LLORCH_CATALOG", "/c.toml").run(&["dev", "check"]);
    let has = |words: &[&str]| outcome.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["catalog ", "/c.toml", "variable `LLORCH_CATALOG`"]), "{outcome:?}");
    assert!(has(&["remote.keepalive_seconds ", "config.toml`, line 2"]), "{outcome:?}");
    assert!(has(&["hub.endpoint ", "default; `HF_ENDPOINT` sets it"]), "{outcome:?}");
    assert!(outcome.stderr.contains("`LLORCH_DATA_DIRR` is no setting"), "{outcome:?}");
}

#[test]
fn a_mistake_is_told_by_file_line_and_key_and_the_rest_is_printed() {
    let machine = Machine::healthy().configuration("[remote]\n\n[hosts.a]\nssh = '-oProxyCommand=x'\n");
    let outcome = machine.run(&["dev", "check", "--json"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let document = document(&outcome);
    let error = &document["errors"][0];
    assert_eq!((&error["line"], &error["column"], &error["key"]), (&json!(4), &json!(1), &json!("hosts.a.ssh")));
    assert!(error["file"].as_str().is_some_and(|file| file.ends_with("config.toml")), "{error}");
    assert!(error["message"].as_str().is_some_and(|words| words.contains("`hosts.a.ssh`")), "{error}");
    assert_eq!(setting(&document, "catalog")["value"], "built in");
    let machine = Machine::healthy().configuration("[hub]\nendpoint = 'x'\n");
    let error = self::document(&machine.run(&["dev", "check", "--json"]))["errors"][0].clone();
    assert_eq!((&error["line"], &error["column"], &error["key"]), (&json!(1), &json!(2), &json!("hub")), "{error}");
    assert_eq!(error["reason"], "unknown field `hub`, expected `hosts` or `remote`");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("config.toml")), "{error}");
    let outcome = Machine::healthy().configuration("x = [\n").run(&["dev", "check"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("line 1"), "{outcome:?}");
    let machine = Machine::healthy().with("HF_ENDPOINT", "ftp://x").with("LLORCH_CATALOG", "/none.toml");
    let outcome = machine.run(&["dev", "check"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("`HF_ENDPOINT`"), "{outcome:?}");
    assert!(outcome.stderr.contains("/none.toml") && outcome.stdout.contains("catalog"), "{outcome:?}");
    let errors = self::document(&machine.run(&["dev", "check", "--json"]))["errors"].clone();
    assert_eq!(errors.as_array().map(Vec::len), Some(2), "{errors}");
}
