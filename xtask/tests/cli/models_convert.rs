//! Conversions through the command: into the store, beside it, again, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::hub::{Hub, Repo, sha256_hex};

use crate::support::{COMMIT, Home};

/// A tiny checkpoint of the converter's golden files.
fn checkpoint(name: &str) -> PathBuf {
    golden().join("inputs").join(name)
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates").join("convert/tests/golden")
}

/// A hub with the tiny gpt2, and a home whose catalog has it as a checkpoint to convert.
fn home() -> (Home, Hub) {
    home_with("gpt2", "gpt2", "f32")
}

/// The same with any of the tiny checkpoints, under an id of the catalog.
fn home_with(id: &str, input: &str, outtype: &str) -> (Home, Hub) {
    let mut repo = Repo::new(&format!("org/{id}"), COMMIT);
    let mut files = String::new();
    let folder = fs::read_dir(checkpoint(input)).expect("the golden checkpoint");
    for entry in folder.flatten() {
        let (name, bytes) = (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("a file"));
        files +=
            &format!("  {{ name = \"{name}\", size_bytes = {}, sha256 = \"{}\" }},\n", bytes.len(), sha256_hex(&bytes));
        repo = if name.ends_with(".safetensors") { repo.large(&name, bytes) } else { repo.small(&name, bytes) };
    }
    let hub = Hub::builder().repo(repo).start();
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let catalog = format!(
        "schema = 1\n[[model]]\nid = \"{id}\"\nrepo = \"org/{id}\"\nrevision = \"{COMMIT}\"\n\
         convert = {{ from = \"safetensors\", outtype = \"{outtype}\" }}\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"{id}\"\ntokenizer = \"gpt2/gpt-2\"\ncontext_length = 64\nfiles = [\n{files}]\n"
    );
    fs::write(home.path("catalog.toml"), catalog).expect("a catalog");
    (home, hub)
}

fn document(home: &Home, arguments: &[&str]) -> Value {
    let outcome = home.run(arguments);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.last_event()
}

#[test]
fn a_checkpoint_is_fetched_and_converted_in_one_go() {
    let (home, hub) = home();
    let outcome = home.run(&["models", "download", "gpt2", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let events = outcome.events();
    assert!(events.iter().any(|event| event["event"] == "converting" && event["model"] == "gpt2"), "{outcome:?}");
    let done = outcome.last_event();
    let path = done["files"][0]["path"].as_str().expect("the converted file comes first").to_owned();
    assert!(path.ends_with("/gpt2/gpt2-f32.gguf"), "{path}");
    assert_eq!(done["files"][0]["sha256"], sha256_hex(&fs::read(&path).expect("it is there")));

    let info = document(&home, &["models", "info", "gpt2", "--json"]);
    let provenance = info["header"]["provenance"].to_string();
    assert!(provenance.contains(COMMIT) && provenance.contains("llorch-convert"), "{info}");
    assert_eq!(home.run(&["models", "verify", "gpt2"]).code, 0);

    // Nothing is fetched or converted a second time; another type is made from what is here, with the hub gone.
    let again = home.run(&["models", "download", "gpt2", "--json"]);
    assert!(!again.stdout.contains("converting"), "{again:?}");
    drop(hub);
    let smaller = document(&home, &["models", "convert", "gpt2", "--outtype", "q8_0", "--json"]);
    assert!(smaller["files"][0]["path"].as_str().is_some_and(|path| path.ends_with("gpt2-q8_0.gguf")), "{smaller}");
    assert!(smaller.to_string().contains("gpt2-f32.gguf"), "both are kept: {smaller}");

    // A worker is not started on an architecture that has no program yet, and is told so before anything is built.
    let refused = home.run(&["infer", "--model", "gpt2", "--prompt", "x"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("`gpt2`") && refused.stderr.contains("hint: "), "{refused:?}");
}

/// In two shards, with a layer torn between them, and every hash of the provenance is the hub's.
#[test]
fn granite_is_fetched_and_converted_in_one_go() {
    let (home, _hub) = home_with("granite", "granite-4.0-micro", "bf16");
    let done = document(&home, &["models", "download", "granite", "--json"]);
    let path = done["files"][0]["path"].as_str().expect("the converted file comes first");
    assert!(path.ends_with("/granite/granite-bf16.gguf"), "{path}");
    let provenance = document(&home, &["models", "info", "granite", "--json"])["header"]["provenance"].to_string();
    for entry in fs::read_dir(checkpoint("granite-4.0-micro")).expect("the golden checkpoint").flatten() {
        let hash = sha256_hex(&fs::read(entry.path()).expect("a file"));
        assert!(provenance.contains(&hash), "{:?}: {provenance}", entry.file_name());
    }
    // A shard that somebody wrote to since it was verified is not taken at its word.
    let folder = Path::new(path).parent().expect("a folder");
    let shard = folder.join("model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&shard).expect("a shard");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&shard).expect("removed");
    fs::write(&shard, bytes).expect("damaged");
    let refused = home.run(&["models", "convert", "granite", "--outtype", "q8_0"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("model-00002-of-00002.safetensors"), "{refused:?}");
}

#[test]
fn a_damaged_conversion_is_found_and_made_again() {
    let (home, _hub) = home();
    let path = document(&home, &["models", "download", "gpt2", "--json"])["files"][0]["path"].clone();
    let path = path.as_str().expect("a path");
    let good = fs::read(path).expect("it is there");
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(path, bad).expect("damaged");
    assert_eq!(home.run(&["models", "verify", "gpt2"]).code, 1);
    let repaired = home.run(&["models", "verify", "gpt2", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert_eq!(fs::read(path).expect("it is there"), good);
    assert_eq!(home.run(&["models", "verify", "gpt2"]).code, 0);
}

#[test]
fn a_folder_is_converted_beside_the_store_to_the_reference_bytes() {
    let home = Home::new();
    let (input, output) = (checkpoint("gpt2-prefixed"), home.path("out.gguf"));
    let words =
        ["models", "convert", input.to_str().expect("a path"), "--outtype", "f16", "--model-name", "Golden GPT2"];
    let more = ["--provenance", "none", "--allow-nonfinite", "--output", output.to_str().expect("a path"), "--json"];
    let done = document(&home, &[&words[..], &more[..]].concat());
    let expected = fs::read(golden().join("expected/gpt2-prefixed.f16.gguf")).expect("a golden file");
    assert_eq!(done["sha256"], sha256_hex(&expected));
    assert_eq!(fs::read(&output).expect("it is there"), expected);
    assert!(!home.path(".local/share/llorch/models").exists(), "the store is not touched");
}

#[test]
fn what_cannot_be_converted_is_said() {
    let (home, _hub) = home();
    let empty = home.path("empty");
    fs::create_dir(&empty).expect("a folder");
    let output = home.path("x.gguf");
    let outcome =
        home.run(&["models", "convert", empty.to_str().expect("a path"), "--output", output.to_str().expect("a path")]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("error: ") && outcome.stderr.contains("config.json"), "{outcome:?}");
    assert!(!output.exists());
    let outcome = home.run(&["models", "convert", "gpt2", "--outtype", "q9"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let plan = home.run(&["models", "convert", "gpt2", "--dry-run"]);
    assert_eq!((plan.code, plan.stdout.as_str()), (0, "ensure checkpoint gpt2\nconvert gpt2 to f32\n"), "{plan:?}");
}
