//! A hub with small models under the names that the examples of `models` use, and a home whose catalog has them.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::hub::{Hub, Repo, sha256_hex};
use testkit::tiny_model::TinyLlama;

use crate::support::{COMMIT, Home};

/// Names that the examples use for a GGUF file of the catalog.
pub const GGUF_MODELS: [&str; 4] = ["smollm2", "qwen", "tinyllama", "llama3"];
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
pub fn world() -> (Home, Hub) {
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
