//! The models of a machine.

use std::fs;

use serde_json::Value;

use crate::page::{self, Scene, lines};
use crate::shelf::world;
use crate::support::Home;

fn run(home: &Home, arguments: &[&str]) -> Vec<Value> {
    lines(&home.run(&[&["models"], arguments, &["--json"]].concat()).stdout)
}

/// A file of the store that is not what it was, other names of it left alone.
fn damage(home: &Home, name: &str) {
    let path = home.path(".local/share/llorch/models").join(name);
    let bytes = fs::read(&path).expect("a file");
    fs::remove_file(&path).expect("a file");
    fs::write(&path, vec![0; bytes.len()]).expect("a file");
}

pub const SCENES: &[Scene] = &[
    ("models catalog", || {
        let (home, _hub) = world();
        let tested = run(&home, &["catalog"]);
        fs::write(home.path("catalog.toml"), include_str!("../../../catalog.toml")).expect("a catalog");
        [tested, run(&home, &["catalog"])].concat()
    }),
    ("models list", || {
        let (home, _hub) = world();
        run(&home, &["download", "smollm2"]);
        for (file, text) in [("broken/manifest.json", "{"), ("begun/model.gguf.partial", "x")] {
            let file = home.path(".local/share/llorch/models").join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, text).expect("a file");
        }
        run(&home, &["list"])
    }),
    ("models info", || {
        let (home, _hub) = world();
        let absent = run(&home, &["info", "smollm2"]);
        run(&home, &["download", "smollm2"]);
        run(&home, &["download", "gpt2"]);
        run(&home, &["download", "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF"]);
        let here = ["smollm2", "gpt2", "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF"].map(|id| run(&home, &["info", id]));
        [absent, here.concat()].concat()
    }),
    ("models fit", || {
        let (home, _hub) = world();
        [run(&home, &["fit", "smollm2"]), run(&home, &["fit", "smollm2", "--slots", "100000000"])].concat()
    }),
    ("models download", || {
        let (home, hub) = world();
        let first = run(&home, &["download", "smollm2", "--hub-cache"]);
        let again = run(&home, &["download", "smollm2"]);
        let converted = run(&home, &["download", "gpt2"]);
        hub.faults(testkit::hub::On::Hub, 1, testkit::hub::Fault::status(503));
        let retried = run(&home, &["download", "tinyllama"]);
        hub.faults(testkit::hub::On::Hub, 100, testkit::hub::Fault::status(404));
        let failed = run(&home, &["download", "llama3", "granite"]);
        [first, again, converted, retried, failed].concat()
    }),
    ("models verify", || {
        let (home, _hub) = world();
        run(&home, &["download", "smollm2"]);
        let good = run(&home, &["verify"]);
        damage(&home, "smollm2/smollm2.gguf");
        let bad = run(&home, &["verify"]);
        let repaired = run(&home, &["verify", "--repair"]);
        fs::remove_file(home.path(".local/share/llorch/models/smollm2/smollm2.gguf")).expect("a file");
        [good, bad, repaired, run(&home, &["verify"])].concat()
    }),
    ("models convert", || {
        let (home, _hub) = world();
        run(&home, &["download", "gpt2"]);
        let beside = home.path("out.gguf").display().to_string();
        [
            run(&home, &["convert", "gpt2", "--outtype", "q8_0"]),
            run(&home, &["convert", "./my-checkpoint", "--outtype", "f16", "--output", &beside]),
        ]
        .concat()
    }),
    ("models lock", || {
        let home = Home::new().with_model();
        let written = run(&home, &["lock"]);
        run(&home, &["delete", "tiny", "--yes"]);
        [written, run(&home, &["lock", "--check"])].concat()
    }),
    ("models delete", || run(&Home::new().with_model(), &["delete", "tiny", "--yes"])),
    ("models prune", || {
        let home = Home::new().with_model();
        fs::write(home.path("catalog.toml"), "schema = 1\n").expect("a catalog");
        let manifest = home.model_folder().join("manifest.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&manifest).expect("a manifest")).expect("JSON");
        value["completed_at_ms"] = 1.into();
        fs::write(&manifest, value.to_string()).expect("a manifest");
        run(&home, &["prune", "--yes"])
    }),
    ("models disk-usage", || run(&Home::new().with_model(), &["disk-usage"])),
];

#[test]
fn what_is_stored() {
    page::check(SCENES);
}
