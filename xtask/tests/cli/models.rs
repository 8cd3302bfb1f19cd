//! `models`, from a file and from a hub.

use crate::support::{COMMIT, Home, MODEL_BYTES, catalog, hub};

#[test]
fn a_download_on_a_pipe_prints_nothing_but_the_result() {
    let home = Home::new();
    let outcome = home.run(&["models", "download", "tiny", "--from", "tiny.gguf"]);
    let path = home.model_folder().join("tiny.gguf");
    assert_eq!((outcome.code, outcome.stdout, outcome.stderr), (0, format!("{}\n", path.display()), String::new()));
    assert_eq!(std::fs::metadata(path).expect("the model").len() as usize, MODEL_BYTES);
}

#[test]
fn a_download_with_json_ends_with_its_files() {
    let hub = hub(None);
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let outcome = home.run(&["models", "download", "tiny-model", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let events = outcome.events();
    for name in ["resolving", "started", "file_finished", "installed"] {
        assert!(events.iter().any(|event| event["event"] == name), "no {name} in {events:#?}");
    }
    let done = outcome.last_event();
    assert_eq!(done["event"], "done");
    let file = &done["files"][0];
    assert_eq!(file["path"], home.model_folder().join("tiny.gguf").display().to_string());
    assert_eq!((file["size"].as_u64(), file["sha256"].as_str().map(str::len)), (Some(MODEL_BYTES as u64), Some(64)));

    let info = home.run(&["models", "verify", "--json"]);
    assert_eq!((info.code, info.last_event()["models"].as_u64()), (0, Some(1)), "{info:?}");
}

#[test]
fn an_unknown_model_is_never_another_one() {
    let home = Home::new();
    for arguments in [
        &["models", "download", "tiny-modle"][..],
        &["models", "info", "tiny-modle"],
        &["models", "delete", "tiny-modle", "--yes"],
        &["infer", "--prompt", "x", "--model", "tiny-modle"],
        &["worker", "start", "cpu", "--model", "tiny-modle"],
    ] {
        let outcome = home.run(arguments);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.stderr.starts_with("error: model `tiny-modle` is not in the catalog"), "{outcome:?}");
        assert!(outcome.stderr.contains("`tiny-model`"), "{outcome:?}");
        assert!(outcome.stderr.contains("hint: list the models with `llorch models catalog`"), "{outcome:?}");
    }
    let event = home.run(&["models", "info", "nothing-like-it", "--json"]).last_event();
    assert_eq!((&event["event"], &event["code"]), (&"error".into(), &"MODEL_NOT_FOUND".into()));
    assert!(event["hint"].is_string() && event["message"].is_string());
}

#[test]
fn wrong_bytes_are_refused() {
    let home = Home::new();
    std::fs::write(home.path("other.gguf"), vec![1; MODEL_BYTES]).expect("a file");
    let outcome = home.run(&["models", "download", "tiny", "--from", "other.gguf", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"MODEL_INVALID".into()), "{outcome:?}");
    assert!(!home.model_folder().join("tiny.gguf").exists());
}

#[test]
fn delete_asks_and_without_a_terminal_refuses() {
    let home = Home::new().with_model();
    let outcome = home.run(&["models", "delete", "tiny"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("hint: `--yes`"), "{outcome:?}");
    assert!(home.model_folder().exists());
    assert_eq!(home.run(&["models", "delete", "tiny", "--dry-run"]).code, 0);
    assert!(home.model_folder().exists());
    let event = home.run(&["models", "delete", "tiny", "--yes", "--json"]).last_event();
    assert!(event["freed_bytes"].as_u64().is_some_and(|bytes| bytes >= MODEL_BYTES as u64), "{event}");
    assert!(!home.model_folder().exists());
    assert_eq!(home.run(&["models", "delete", "tiny", "--yes"]).code, 1);
}

#[test]
fn damage_is_found() {
    let home = Home::new().with_model();
    let path = home.model_folder().join("tiny.gguf");
    std::fs::remove_file(&path).expect("a file");
    std::fs::write(&path, vec![0; MODEL_BYTES]).expect("a file");
    let outcome = home.run(&["models", "verify", "tiny", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"MODEL_INVALID".into()), "{outcome:?}");
    assert_eq!(outcome.events()[0]["good"], false);
}

#[test]
fn lists_are_one_document() {
    let home = Home::new().with_model();
    let one = |arguments: &[&str]| {
        let outcome = home.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.lines().count(), outcome.stderr.as_str()), (0, 1, ""), "{outcome:?}");
        outcome.last_event()
    };
    let entry = &one(&["models", "catalog", "--json"])["models"][0];
    assert_eq!((&entry["id"], &entry["installed"], &entry["revision"]), (&"tiny".into(), &true.into(), &COMMIT.into()));
    assert_eq!(one(&["models", "list", "--json"])["models"][0]["size_bytes"], MODEL_BYTES);
    assert!(one(&["models", "disk-usage", "--json"])["free_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
}

#[test]
fn what_a_model_says_of_itself_is_shown_when_its_file_is_a_model() {
    // The stand-in is no GGUF file: told, with what to do.
    let home = Home::new().with_model();
    let outcome = home.run(&["models", "info", "tiny", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"MODEL_INVALID".into()), "{outcome:?}");
    // Before it is here, the catalog speaks.
    let info = Home::new().run(&["models", "info", "tiny", "--json"]).last_event();
    assert_eq!((&info["installed"], info["files"].as_array().map(Vec::len)), (&false.into(), Some(0)));
    assert_eq!(info["catalog"]["license"], "MIT");
}

#[test]
fn a_broken_catalog_is_named_with_table_and_key() {
    let home = Home::new();
    let text = catalog().replace("size_bytes = 300000", "size_bytes = \"big\"");
    std::fs::write(home.path("broken.toml"), text).expect("a file");
    let outcome = home.run(&["models", "catalog", "--catalog", "broken.toml"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("broken.toml") && outcome.stderr.contains("size_bytes"), "{outcome:?}");
}

#[test]
fn a_checkpoint_is_not_fetched_for_a_worker_that_cannot_load_it() {
    let home = Home::new().with("LLORCH_CATALOG", concat!(env!("CARGO_MANIFEST_DIR"), "/../catalog.toml"));
    let outcome = home.run(&["infer", "--prompt", "x", "--model", "gpt2", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"MODEL_UNSUPPORTED".into()), "{outcome:?}");
}
