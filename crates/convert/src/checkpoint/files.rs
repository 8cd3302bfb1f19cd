//! The files of a checkpoint directory: bounded reads of the small ones, and which safetensors there are.
//!
//! Only `.safetensors` is ever opened for weights; pickled formats are refused by name, unopened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ConvertError;
use crate::safetensors::{MAX_TENSORS, Shard};

/// Greatest text file that is read: tokenizer.json of 250 k tokens takes 35 MB.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Greatest JSON file that is kept as free JSON, which takes forty times as much memory. The largest published
/// tokenizer_config.json takes 1.2 MB.
const MAX_FREE_JSON_BYTES: usize = 4 << 20;

/// Longest text of a parser that an error shows.
const MAX_REASON_CHARACTERS: usize = 300;

/// Endings of files that run code when they are read.
const PICKLED: [&str; 5] = [".bin", ".pt", ".pth", ".pkl", ".ckpt"];

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Reads a small file; `None` where there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<Vec<u8>>, ConvertError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConvertError::io("open", path)(error)),
    };
    if !file.metadata().map_err(ConvertError::io("measure", path))?.is_file() {
        return Err(ConvertError::invalid(path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(ConvertError::io("read", path))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(ConvertError::invalid(path, format!("more than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(Some(bytes))
}

/// Reads a small JSON file; `None` where there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConvertError> {
    let Some(bytes) = read_text(path)? else { return Ok(None) };
    if bytes.len() > MAX_FREE_JSON_BYTES {
        return Err(ConvertError::invalid(path, format!("more than {MAX_FREE_JSON_BYTES} bytes")));
    }
    parse(path, &bytes).map(Some)
}

/// Reads a JSON file whose type bounds everything it reads into; `None` where there is none.
pub(crate) fn read_large_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConvertError> {
    read_text(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ConvertError> {
    // serde_json bounds the depth. What it says may hold a text of the file.
    serde_json::from_slice(bytes).map_err(|error| {
        let reason = error.to_string();
        let shown: String = reason.chars().take(MAX_REASON_CHARACTERS).collect();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let place = if shown.len() == reason.len() { String::new() } else { format!("…{place}") };
        ConvertError::invalid(path, format!("{shown}{place}"))
    })
}

/// The index of a checkpoint in shards. Unknown keys are other tools' business.
#[derive(Deserialize)]
struct RawIndex {
    #[serde(default)]
    metadata: Option<RawIndexMetadata>,
    weight_map: RawWeightMap,
}

#[derive(Deserialize)]
struct RawIndexMetadata {
    total_size: Option<f64>,
}

/// Tensor to file, in the order of the index; duplicates are kept, to be refused.
struct RawWeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for RawWeightMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = RawWeightMap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map of tensor names to file names")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = entries.next_entry()? {
                    if pairs.len() == MAX_TENSORS {
                        return Err(serde::de::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    pairs.push(pair);
                }
                Ok(RawWeightMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Opens every shard of a checkpoint, in the order of their names, and checks them against the index.
pub(crate) fn open_shards(directory: &Path) -> Result<Vec<Shard>, ConvertError> {
    let index_path = directory.join(INDEX);
    let Some(index) = read_large_json::<RawIndex>(&index_path)? else { return open_single(directory) };
    let by_file = check_index(&index_path, &index)?;
    // Everything the index says is known to be sound before the first of its files is opened.
    for name in by_file.keys() {
        let path = directory.join(name);
        if !path.is_file() {
            return Err(ConvertError::Missing { what: "a shard of the index", path });
        }
    }
    let shards: Vec<Shard> =
        by_file.keys().map(|name| Shard::open(&directory.join(name))).collect::<Result<_, ConvertError>>()?;
    let mut total = 0_u64;
    for (shard, names) in shards.iter().zip(by_file.values()) {
        let found: BTreeSet<&str> = shard.header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        if let Some(missing) = names.difference(&found).next() {
            return Err(ConvertError::invalid(
                &shard.path,
                format!("tensor `{missing}`, which the index puts here, is missing"),
            ));
        }
        if let Some(extra) = found.difference(names).next() {
            return Err(ConvertError::invalid(&shard.path, format!("tensor `{extra}` is not in the index")));
        }
        total = shard.header.tensors.iter().fold(total, |sum, tensor| sum.saturating_add(tensor.size_bytes));
    }
    match index.metadata.and_then(|metadata| metadata.total_size) {
        // The index has it as any JSON number; 2^53 bytes are enough.
        Some(claimed) if claimed != total as f64 => Err(ConvertError::invalid(
            &index_path,
            format!("`total_size` is {claimed}, but the shards hold {total} bytes"),
        )),
        _ => Ok(shards),
    }
}

/// Tensors by file. A file name is one plain component that ends in `.safetensors`.
fn check_index<'a>(path: &Path, index: &'a RawIndex) -> Result<BTreeMap<&'a str, BTreeSet<&'a str>>, ConvertError> {
    let mut by_file: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (tensor, file) in &index.weight_map.0 {
        let refuse = |reason: &str| {
            let shown: String = file.chars().take(80).collect();
            Err(ConvertError::invalid(path, format!("shard {shown:?} {reason}")))
        };
        if PICKLED.iter().any(|ending| file.ends_with(ending)) {
            return refuse("is a pickle, which can run code and is never opened");
        }
        let is_plain =
            !file.starts_with('.') && !file.contains(['/', '\\', ':']) && !file.chars().any(char::is_control);
        if !is_plain || file.len() > 255 {
            return refuse("is not the name of a file beside the index");
        }
        if !file.ends_with(".safetensors") {
            return refuse("does not end in `.safetensors`");
        }
        if !seen.insert(tensor.as_str()) {
            return Err(ConvertError::invalid(path, format!("tensor `{tensor}` occurs twice")));
        }
        by_file.entry(file).or_default().insert(tensor);
    }
    if by_file.is_empty() {
        return Err(ConvertError::invalid(path, "`weight_map` is empty"));
    }
    Ok(by_file)
}

fn open_single(directory: &Path) -> Result<Vec<Shard>, ConvertError> {
    let path = directory.join(SINGLE);
    if path.is_file() {
        return Ok(vec![Shard::open(&path)?]);
    }
    let names = std::fs::read_dir(directory).map_err(ConvertError::io("list", directory))?;
    let mut names: Vec<PathBuf> = names.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let pickled = names.iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        PICKLED.iter().any(|ending| name.ends_with(ending))
    });
    if let Some(pickled) = pickled {
        return Err(ConvertError::Unsupported {
            reason: format!("`{}` is a pickle, which can run code and is never opened", pickled.display()),
            hint: Some("fetch the repository's safetensors files instead".to_owned()),
        });
    }
    let shard = names.iter().find(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    match shard {
        Some(shard) => Err(ConvertError::Unsupported {
            reason: format!("`{}` is there, but neither `{SINGLE}` nor `{INDEX}`", shard.display()),
            hint: Some("fetch the whole repository".to_owned()),
        }),
        None => Err(ConvertError::Missing { what: "the weights", path }),
    }
}
