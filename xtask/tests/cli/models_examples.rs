//! The examples of `models --help` and of every verb below it, run as they stand: against a hub that has small models under
//! the names that the examples use.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::hub::{Hub, Repo, sha256_hex};
use testkit::tiny_model::TinyLlama;

use crate::support::{COMMIT, Home};

/// Names that the examples use for a GGUF file of the catalog.
const GGUF_MODELS: [&str; 4] = ["smollm2", "qwen", "tinyllama", "llama3"];
/// Names that they use for a checkpoint of the catalog, and the tiny one that stands for it.
const CHECKPOINTS: [(&str, &str); 2] = [("gpt2", "gpt2"), ("granite", "granite3")];
/// Repositories and files that they name.
const REFERENCES: [(&str, &str); 2] = [
    ("Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q8_0.gguf"),
    ("bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-Q8_0.gguf"),
];
/// A file that lies where the examples are typed.
const LOCAL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// A folder that does.
const LOCAL_FOLDER: &str = "my-checkpoint";

/// The files of a checkpoint of the converter's golden tests.
fn checkpoint(name: &str) -> Vec<(String, Vec<u8>)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates");
    let folder = fs::read_dir(crates.join("convert/tests/golden/inputs").join(name)).expect("a golden checkpoint");
    let file = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a file"))
    };
    let mut files: Vec<_> = folder.map(|entry| file(entry.expect("listed").path())).collect();
    files.sort();
    files
}

fn entry(id: &str, what: &str) -> String {
    format!(
        "[[model]]\nid = \"{id}\"\nrepo = \"org/{id}\"\nrevision = \"{COMMIT}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\n{what}\n"
    )
}

/// What the examples speak of, on a hub and in a home.
fn world() -> (Home, Hub) {
    let gguf = TinyLlama { context: 4096, ..TinyLlama::default() }.build().to_bytes().expect("a model");
    let sha256 = sha256_hex(&gguf);
    let mut catalog = "schema = 1\n".to_owned();
    let mut hub = Hub::builder();
    for id in GGUF_MODELS {
        // What `--from` imports under the first name must be its very file.
        let file = format!("file = \"{id}.gguf\"\nsize_bytes = {}\nsha256 = \"{sha256}\"", gguf.len());
        catalog += &entry(id, &file);
        hub = hub.repo(Repo::new(&format!("org/{id}"), COMMIT).large(&format!("{id}.gguf"), gguf.clone()));
    }
    for (id, golden) in CHECKPOINTS {
        let mut repo = Repo::new(&format!("org/{id}"), COMMIT);
        let mut lines = String::new();
        for (name, bytes) in checkpoint(golden) {
            let (size_bytes, sha256) = (bytes.len(), sha256_hex(&bytes));
            lines += &format!("  {{ name = \"{name}\", size_bytes = {size_bytes}, sha256 = \"{sha256}\" }},\n");
            repo = repo.large(&name, bytes);
        }
        catalog +=
            &entry(id, &format!("convert = {{ from = \"safetensors\", outtype = \"f32\" }}\nfiles = [\n{lines}]"));
        hub = hub.repo(repo);
    }
    for (repo, file) in REFERENCES {
        hub = hub.repo(Repo::new(repo, COMMIT).large(file, gguf.clone()));
    }
    let hub = hub.start();
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    fs::write(home.path("catalog.toml"), catalog).expect("a catalog");
    fs::write(home.path(LOCAL_FILE), gguf).expect("a file");
    fs::create_dir(home.path(LOCAL_FOLDER)).expect("a folder");
    for (name, bytes) in checkpoint("llama-spm") {
        fs::write(home.path(LOCAL_FOLDER).join(name), bytes).expect("a file");
    }
    (home, hub)
}

/// The verbs that a help lists.
fn verbs(help: &str) -> Vec<String> {
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|verb| verb != "help").collect()
}

/// The examples of a help.
fn examples(help: &str) -> Vec<String> {
    let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("no examples: {help}"));
    examples.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_example_of_every_verb_does_what_it_says() {
    let (home, _hub) = world();
    let verbs = verbs(&home.run(&["models", "--help"]).stdout);
    assert!(verbs.len() >= 11, "{verbs:?}");
    let mut run = 0;
    for verb in &verbs {
        let help = home.run(&["models", verb, "--help"]);
        let examples = examples(&help.stdout);
        assert!(!examples.is_empty(), "`models {verb}` has no example");
        for example in examples {
            prepare(&home, &example);
            let words: Vec<&str> = example.split_whitespace().collect();
            assert_eq!(words[..3], ["llorch", "models", verb.as_str()], "{example}");
            let mut arguments = words[1..].to_vec();
            let asks = ["delete", "prune"].contains(&verb.as_str());
            if asks && !arguments.contains(&"--yes") && !arguments.contains(&"--dry-run") {
                // There is no terminal here: it says so, and with the answer it goes on.
                assert_eq!(home.run(&arguments).code, 2, "{example}");
                arguments.push("--yes");
            }
            let outcome = home.run(&arguments);
            assert_eq!(outcome.code, 0, "{example}: {outcome:?}");
            run += 1;
        }
    }
    assert!(run >= 2 * verbs.len(), "{run} examples of {} verbs", verbs.len());
}

/// What an example expects to be here.
fn prepare(home: &Home, example: &str) {
    if example.contains("lock --check") {
        assert_eq!(home.run(&["models", "lock"]).code, 0);
    }
    for id in GGUF_MODELS.into_iter().filter(|id| example.split_whitespace().any(|word| word == *id)) {
        if ["delete", "verify", "info"].iter().any(|verb| example.contains(verb)) {
            assert_eq!(home.run(&["models", "download", id]).code, 0);
        }
    }
}
