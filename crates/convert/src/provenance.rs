//! `llorch.*` keys: what a file was made from and by what. They come after the reference's own keys.

use std::path::Path;

use gguf::{Array, StringArray, Value};
use sha2::{Digest, Sha256};

use crate::checkpoint::Provenance;
use crate::error::ConvertError;
use crate::plan::Plan;
use crate::source::hex;

/// Small files of a checkpoint whose content reaches the output.
const SMALL_FILES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "README.md",
];

/// What is said about the source.
pub(crate) struct Details<'a> {
    pub(crate) from: Provenance<'a>,
    pub(crate) directory: &'a Path,
}

/// Appends the keys. Hashes every source file, which is the one time all weights are read before they are converted;
/// `proceed` is asked in between.
pub(crate) fn write(
    plan: &mut Plan,
    details: &Details<'_>,
    proceed: &dyn Fn() -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let mut hashes: Vec<(String, String)> = Vec::new();
    for name in SMALL_FILES {
        let path = details.directory.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => hashes.push((name.to_owned(), hex(&Sha256::digest(&bytes)))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConvertError::io("read", &path)(error)),
        }
    }
    for file in &plan.files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        hashes.push((name, file.sha256(proceed)?));
    }
    let strings = |items: Vec<String>| Value::Array(Array::String(items.into_iter().collect::<StringArray>()));
    let (names, sums): (Vec<String>, Vec<String>) = hashes.into_iter().unzip();
    let mut set = |key: &str, value: Value| plan.metadata.push((format!("llorch.{key}"), value));
    set("converter", Value::from(concat!("llorch-convert ", env!("CARGO_PKG_VERSION"))));
    if let Some(repository) = details.from.repository {
        set("source.repository", Value::from(repository));
    }
    if let Some(revision) = details.from.revision {
        set("source.revision", Value::from(revision));
    }
    set("source.files", strings(names));
    set("source.sha256", strings(sums));
    if plan.allow_nonfinite {
        plan.metadata.push(("llorch.allow_nonfinite".to_owned(), Value::Bool(true)));
    }
    Ok(())
}
