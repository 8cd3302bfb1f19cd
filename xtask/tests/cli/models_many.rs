//! Several models, references, repair, locks, pruning: the verbs of `models` that go beyond one catalog entry.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::hub::{Fault, Hub, On, Repo, sha256_hex};

use crate::support::{COMMIT, Home, MODEL_BYTES, hub, model_bytes};

/// A home whose catalog has models `one`, `two` and `three` of the hub.
fn home(hub: &Hub) -> Home {
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let entry = |id: &&str| {
        format!(
            "[[model]]\nid = \"{id}\"\nrepo = \"org/{id}\"\nrevision = \"{COMMIT}\"\nfile = \"{id}.gguf\"\nsize_bytes = {}\n\
             sha256 = \"{}\"\nlicense = \"MIT\"\ngated = false\narchitecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\n",
            bytes(id).len(),
            sha256_hex(&bytes(id)),
        )
    };
    let text = format!("schema = 1\n{}", ["one", "two", "three"].iter().map(entry).collect::<String>());
    fs::write(home.path("catalog.toml"), text).expect("a catalog");
    home
}

fn bytes(id: &str) -> Vec<u8> {
    id.repeat(5000).into_bytes()
}

fn three() -> Hub {
    let repo = |id: &str| Repo::new(&format!("org/{id}"), COMMIT).large(&format!("{id}.gguf"), bytes(id));
    Hub::builder().repo(repo("one")).repo(repo("two")).repo(repo("three")).start()
}

#[test]
fn several_models_are_fetched_in_one_command_and_each_event_has_its_model() {
    let hub = three();
    let outcome = home(&hub).run(&["models", "download", "one", "two", "three", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let events = outcome.events();
    for id in ["one", "two", "three"] {
        assert!(events.iter().any(|event| event["event"] == "installed" && event["model"] == id), "{events:#?}");
    }
    let (done, others) = events.split_last().expect("events");
    assert!(others.iter().all(|event| event["model"].is_string()), "{events:#?}");
    let files: Vec<&str> =
        done["files"].as_array().expect("files").iter().filter_map(|file| file["model"].as_str()).collect();
    assert_eq!(files, ["one", "two", "three"]);
}

#[test]
fn one_that_fails_does_not_stop_the_others_and_each_failure_is_told() {
    let hub = Hub::builder().repo(Repo::new("org/two", COMMIT).large("two.gguf", bytes("two"))).start();
    let home = home(&hub);
    let outcome = home.run(&["models", "download", "one", "two", "three"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.ends_with("two/two.gguf\n") && outcome.stdout.lines().count() == 1, "{outcome:?}");
    assert!(outcome.stderr.contains("2 of 3 models"), "{outcome:?}");
    assert!(outcome.stderr.contains("  one: ") && outcome.stderr.contains("  three: "), "{outcome:?}");
    let outcome = home.run(&["models", "download", "one", "two", "--json"]);
    let failed: Vec<Value> = outcome.events().into_iter().filter(|event| event["event"] == "model_failed").collect();
    assert_eq!((failed.len(), &failed[0]["model"], &failed[0]["code"]), (1, &"one".into(), &"MODEL_NOT_FOUND".into()));
    assert_eq!((outcome.code, outcome.last_event()["event"].as_str()), (1, Some("error")));
}

#[test]
fn a_reference_to_the_hub_is_fetched_or_its_choices_are_listed() {
    let hub = Hub::builder()
        .repo(Repo::new("org/many", COMMIT).large("a.gguf", model_bytes()).large("b.gguf", bytes("b")))
        .start();
    let home = home(&hub);
    let outcome = home.run(&["models", "download", "hf:org/many"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("  a.gguf\n  b.gguf\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: name one: `llorch models download hf:org/many::a.gguf`"), "{outcome:?}");

    let reference = "hf:org/many::a.gguf";
    let outcome = home.run(&["models", "download", reference, "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.last_event()["files"][0]["size"], MODEL_BYTES);
    assert_eq!(home.run(&["models", "verify", reference]).code, 0);
    // Without the hub it is still known by its reference.
    let offline = home.with("HF_HUB_OFFLINE", "1");
    assert_eq!(offline.run(&["models", "download", reference]).code, 0);
    assert_eq!(offline.run(&["models", "delete", reference, "--yes"]).code, 0);
    assert_eq!(offline.run(&["models", "download", reference]).code, 1);
    for bad in ["hf:org", "hf:org/many::../x", "hf:org/many@../x::a.gguf", "file:x.gguf"] {
        let outcome = offline.run(&["models", "download", bad]);
        assert_eq!(outcome.code, 2, "{bad}: {outcome:?}");
    }
}

#[test]
fn a_path_is_imported_under_an_id_of_its_own() {
    let home = Home::new();
    let path = home.path("tiny.gguf").display().to_string();
    let outcome = home.run(&["models", "download", &format!("file:{path}"), "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let file = &outcome.last_event()["files"][0];
    assert!(file["model"].as_str().is_some_and(|id| id.starts_with("tiny-")), "{file}");
    assert_eq!(
        home.run(&["models", "download", "./tiny.gguf"]).stdout,
        format!("{}\n", file["path"].as_str().expect("a path"))
    );
    assert_eq!(home.run(&["models", "download", "./nothing.gguf"]).code, 1);
    fs::create_dir(home.path("empty")).expect("a folder");
    assert_eq!(home.run(&["models", "download", "./empty"]).code, 2);
}

#[test]
fn a_repair_fetches_what_is_damaged_and_says_so() {
    let hub = hub(None);
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint()).with_model();
    let path = home.model_folder().join("tiny.gguf");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions");
    fs::write(&path, vec![0; MODEL_BYTES]).expect("a file");
    let outcome = home.run(&["models", "verify", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let report = &outcome.events()[0];
    assert_eq!(
        (&report["details"][0]["kind"], &report["details"][0]["path"]),
        (&"content".into(), &"tiny.gguf".into())
    );
    assert!(outcome.last_event()["hint"].as_str().is_some_and(|hint| hint.contains("--repair")), "{outcome:?}");
    let outcome = home.run(&["models", "verify", "tiny", "--repair", "--json"]);
    assert_eq!((outcome.code, &outcome.last_event()["repaired"][0]), (0, &"tiny".into()), "{outcome:?}");
    assert_eq!(home.run(&["models", "verify"]).code, 0);

    // A repair that cannot be had is a failure, and the next one finds what is missing.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions");
    fs::write(&path, "x").expect("a file");
    hub.faults(On::Hub, 100, Fault::status(404));
    assert_eq!(home.run(&["models", "verify", "tiny", "--repair"]).code, 1);
    hub.clear_faults();
    assert_eq!(home.run(&["models", "download", "tiny"]).code, 0);
}

#[test]
fn a_machine_is_held_to_a_lock() {
    let home = Home::new().with_model();
    let outcome = home.run(&["models", "lock", "--json"]);
    assert_eq!((outcome.code, outcome.last_event()["models"].as_u64()), (0, Some(1)), "{outcome:?}");
    assert_eq!(home.run(&["models", "lock", "--check"]).code, 0);
    assert_eq!(home.run(&["models", "delete", "tiny", "--yes"]).code, 0);
    let outcome = home.run(&["models", "lock", "--check"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "model `tiny` is not installed\n"), "{outcome:?}");
    let outcome = home.run(&["models", "lock", "--check", "--output", "other.lock"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("models lock"), "{outcome:?}");
}

#[test]
fn pruning_shows_asks_and_spares_what_a_worker_serves() {
    let home = Home::new().with_fake_worker(&testkit::fake_worker::Script::default()).with_model();
    fs::write(home.path("catalog.toml"), "schema = 1\n").expect("a catalog");
    // Two days old, as its manifest says.
    let manifest = home.model_folder().join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let then = SystemTime::now() - Duration::from_secs(48 * 3600);
    let then_ms = then.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis();
    value["completed_at_ms"] = u64::try_from(then_ms).expect("a time").into();
    fs::write(&manifest, value.to_string()).expect("written");

    let started = home.run(&["worker", "start", "cpu", "--model", "tiny", "--json"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(home.run(&["models", "prune", "--yes", "--json"]).last_event()["pruned"], 0);
    assert!(home.model_folder().exists());
    assert_eq!(home.run(&["worker", "stop", "--all"]).code, 0);

    let preview = home.run(&["models", "prune", "--dry-run"]);
    assert!(preview.stdout.starts_with("remove tiny (") && preview.code == 0, "{preview:?}");
    let unasked = home.run(&["models", "prune"]);
    assert!(unasked.code == 2 && unasked.stderr.contains("not in the catalog"), "{unasked:?}");
    assert!(home.model_folder().exists());
    let outcome = home.run(&["models", "prune", "--yes", "--json"]);
    assert_eq!((outcome.code, outcome.last_event()["pruned"].as_u64()), (0, Some(1)), "{outcome:?}");
    assert!(!home.model_folder().exists());
    home.assert_nothing_runs();
}

#[test]
fn whether_a_model_fits_is_told_before_its_bytes_move() {
    let model = testkit::tiny_model::TinyLlama::default().build().to_bytes().expect("a model");
    let repo = Repo::new("org/one", COMMIT).large("one.gguf", model.clone());
    let hub = Hub::builder().repo(repo).start();
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let outcome = home.run(&["models", "fit", "hf:org/one", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let document = outcome.last_event();
    assert_eq!((&document["fits"], &document["devices"][0]["backend"]), (&true.into(), &"cpu".into()), "{document}");
    assert!(document["key_value_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{document}");
    assert!(!home.path(".local/share/llorch/models").exists(), "nothing was written");
    // More slots than any machine has memory for.
    let outcome = home.run(&["models", "fit", "hf:org/one", "--slots", "100000000"]);
    assert!(outcome.code == 1 && outcome.stdout.contains("no: "), "{outcome:?}");
    assert_eq!(home.run(&["models", "fit", "hf:org/one", "--context", "99999999"]).code, 2);
}

#[test]
fn what_the_hubs_cache_holds_needs_no_hub_and_what_we_have_can_go_there() {
    let hub = hub(None);
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let outcome = home.run(&["models", "download", "tiny", "--hub-cache", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let told = outcome.events().into_iter().find(|event| event["event"] == "in_hub_cache").expect("told");
    let snapshot = home.path(".cache/huggingface/hub/models--org--tiny/snapshots").join(COMMIT);
    assert_eq!(told["path"], snapshot.display().to_string());
    assert_eq!(fs::read(snapshot.join("tiny.gguf")).expect("the file"), model_bytes());
    assert_eq!(home.run(&["models", "delete", "tiny", "--yes"]).code, 0);
    let offline = home.with("HF_HUB_OFFLINE", "1");
    assert_eq!(offline.run(&["models", "download", "tiny"]).code, 0);
    assert_eq!(offline.run(&["models", "list", "--json"]).last_event()["models"][0]["source"], "cache");
}
