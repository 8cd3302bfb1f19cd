//! `llorch.*` keys: what a file was made from and by what. They come after the reference's own keys.

use std::path::Path;
use std::str::FromStr;

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

/// Where the hashes are.
const HASHES_KEY: &str = "llorch.source.sha256";

/// What a file's content hashes to, as somebody knows who has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHash {
    file: String,
    sha256: String,
}

impl FromStr for SourceHash {
    type Err = String;

    /// `FILE=HEX`: a name without a folder, and 64 lowercase digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected FILE=HEX, a name without a folder and 64 lowercase hexadecimal digits";
        let (file, sha256) = text.rsplit_once('=').ok_or(expected)?;
        let is_hex = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if file.is_empty() || file.contains('/') || !is_hex {
            return Err(expected.to_owned());
        }
        Ok(Self { file: file.to_owned(), sha256: sha256.to_owned() })
    }
}

/// What is said about the source.
pub(crate) struct Details<'a> {
    pub(crate) from: Provenance<'a>,
    pub(crate) directory: &'a Path,
}

/// A hash that is still to be computed: a text of the same length, so that the header keeps its length and everything behind
/// it its place.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Appends the keys. Small files are hashed here. Hashes of weights are taken from whoever knows them; where nobody does,
/// [`complete`] computes them, beside the conversion.
pub(crate) fn write(plan: &mut Plan, details: &Details<'_>) -> Result<(), ConvertError> {
    let known = |name: &str| details.from.hashes.iter().find(|hash| hash.file == name).map(|hash| &hash.sha256);
    let mut hashes: Vec<(String, String)> = Vec::new();
    for name in SMALL_FILES {
        let path = details.directory.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let sha256 = hex(&Sha256::digest(&bytes));
                if known(name).is_some_and(|known| *known != sha256) {
                    return Err(ConvertError::SourceChanged { path });
                }
                hashes.push((name.to_owned(), sha256));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConvertError::io("read", &path)(error)),
        }
    }
    for (index, file) in plan.files.iter().enumerate() {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = known(&name).cloned().unwrap_or_else(|| {
            plan.unhashed.push((hashes.len(), index));
            UNKNOWN.to_owned()
        });
        hashes.push((name, sha256));
    }
    let (names, sums): (Vec<String>, Vec<String>) = hashes.into_iter().unzip();
    let mut set = |key: &str, value: Value| plan.metadata.push((key.to_owned(), value));
    set("llorch.converter", Value::from(concat!("llorch-convert ", env!("CARGO_PKG_VERSION"))));
    if let Some(repository) = details.from.repository {
        set("llorch.source.repository", Value::from(repository));
    }
    if let Some(revision) = details.from.revision {
        set("llorch.source.revision", Value::from(revision));
    }
    set("llorch.source.files", strings(names));
    set(HASHES_KEY, strings(sums));
    if plan.allow_nonfinite {
        set("llorch.allow_nonfinite", Value::Bool(true));
    }
    Ok(())
}

fn strings(items: Vec<String>) -> Value {
    Value::Array(Array::String(items.into_iter().collect::<StringArray>()))
}

/// The metadata with every hash, computing those that nobody knew; `None` where there was none to compute. `proceed` is asked
/// before every piece and may call it off.
pub(crate) fn complete(
    plan: &Plan,
    proceed: &dyn Fn() -> Result<(), ConvertError>,
) -> Result<Option<Vec<(String, Value)>>, ConvertError> {
    if plan.unhashed.is_empty() {
        return Ok(None);
    }
    let mut metadata = plan.metadata.clone();
    let entry = metadata.iter_mut().find(|(key, _)| key == HASHES_KEY);
    let Some((_, Value::Array(Array::String(sums)))) = entry else { return Ok(None) };
    let mut completed: Vec<Vec<u8>> = sums.iter().map(<[u8]>::to_vec).collect();
    for &(place, file) in &plan.unhashed {
        completed[place] = plan.files[file].sha256(proceed)?.into_bytes();
    }
    *sums = completed.into_iter().collect();
    Ok(Some(metadata))
}

#[cfg(test)]
mod tests {
    use super::SourceHash;

    #[test]
    fn hashes_are_parsed_or_refused() {
        let hash = "0123456789abcdef".repeat(4);
        let parsed: SourceHash = format!("a=b.safetensors={hash}").parse().expect("a hash");
        assert_eq!((parsed.file.as_str(), parsed.sha256.as_str()), ("a=b.safetensors", hash.as_str()));
        let upper = hash.to_uppercase();
        for text in ["", "x", "x=", &hash, &format!("={hash}"), &format!("a/b={hash}"), &format!("a={upper}"), "a=0g"] {
            assert!(text.parse::<SourceHash>().is_err(), "{text}");
        }
    }
}
