//! What an installed model says about itself: the header of its GGUF file, summed up. No weights are read.

use std::collections::BTreeMap;

use gguf::{Gguf, Metadata, MetadataError, OpenError};
use protocol::error::ErrorCode;
use protocol::identifiers::ModelId;

use crate::store::Installed;
use crate::store::manifest::Manifest;

/// An installed model, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// What was fetched, and from where.
    pub manifest: Manifest,
    /// What the file's header says; absent for a checkpoint, which has none before it is converted.
    pub header: Option<HeaderInfo>,
}

/// What a GGUF header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderInfo {
    /// Architecture by name.
    pub architecture: String,
    /// The model's own name, if it has one.
    pub name: Option<String>,
    /// Type of most of its weights.
    pub quantization: String,
    /// Every tensor type, most bytes first.
    pub tensor_types: Vec<TensorTypeUsage>,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of weights.
    pub parameters: u64,
    /// Positions it was made for.
    pub context_length: Option<u64>,
    /// Blocks (layers).
    pub block_count: Option<u64>,
    /// Width of the residual stream.
    pub embedding_length: Option<u64>,
    /// Tokenizer and, after a slash, pre-tokenizer.
    pub tokenizer: Option<String>,
    /// Tokens of the vocabulary.
    pub vocab_size: Option<u64>,
    /// Whether it carries a chat template.
    pub has_chat_template: bool,
    /// What it was made from and by what, where a converter of ours says so: names without `llorch.`, and values.
    pub provenance: Vec<(String, String)>,
}

/// One tensor type of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorTypeUsage {
    /// Its name.
    pub name: String,
    /// Tensors of it.
    pub tensors: u64,
    /// Bytes of them.
    pub size_bytes: u64,
}

/// Why a model cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// The file is not a usable GGUF file.
    #[error("model `{id}`: {source}")]
    Open {
        /// The model.
        id: ModelId,
        /// What is wrong.
        source: Box<OpenError>,
    },
    /// A key of the header is missing or holds what it must not.
    #[error("model `{id}`: {source}")]
    Metadata {
        /// The model.
        id: ModelId,
        /// What is wrong.
        source: MetadataError,
    },
}

impl InfoError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            InfoError::Open { id, .. } | InfoError::Metadata { id, .. } => {
                format!("check its bytes: `cargo xtask models verify {id}`")
            }
        }
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::ModelInvalid
    }
}

/// Reads the header of an installed model.
///
/// # Errors
/// See [`InfoError`].
pub fn info(installed: &Installed) -> Result<ModelInfo, InfoError> {
    let manifest = installed.manifest.clone();
    let header = match installed.is_gguf() {
        false => None,
        true => {
            let id = || manifest.id.clone();
            let file = Gguf::open(&installed.model_file())
                .map_err(|source| InfoError::Open { id: id(), source: Box::new(source) })?;
            Some(describe(&file).map_err(|source| InfoError::Metadata { id: id(), source })?)
        }
    };
    Ok(ModelInfo { manifest, header })
}

fn describe(file: &Gguf) -> Result<HeaderInfo, MetadataError> {
    let metadata = file.metadata();
    let architecture = metadata.str("general.architecture")?.to_owned();
    let of_architecture = |key: &str| metadata.opt_u64(&format!("{architecture}.{key}"));
    let tensor_types = tensor_types(file);
    Ok(HeaderInfo {
        name: metadata.opt_str("general.name")?.map(str::to_owned),
        quantization: tensor_types.first().map_or_else(|| "none".to_owned(), |most| most.name.clone()),
        tensors: file.tensors().len() as u64,
        parameters: file.tensors().iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements())),
        context_length: of_architecture("context_length")?,
        block_count: of_architecture("block_count")?,
        embedding_length: of_architecture("embedding_length")?,
        tokenizer: tokenizer(metadata)?,
        vocab_size: metadata.opt_string_array("tokenizer.ggml.tokens")?.map(|tokens| tokens.len() as u64),
        has_chat_template: metadata.get("tokenizer.chat_template").is_some(),
        provenance: provenance(metadata),
        architecture,
        tensor_types,
    })
}

fn provenance(metadata: &Metadata) -> Vec<(String, String)> {
    let single = ["converter", "quantizer", "source.repository", "source.revision"].into_iter().filter_map(|key| {
        let value = metadata.opt_str(&format!("llorch.{key}")).ok().flatten()?;
        Some((key.to_owned(), value.to_owned()))
    });
    let list = |key: &str| metadata.opt_string_array(&format!("llorch.source.{key}")).ok().flatten();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let files = list("files").zip(list("sha256")).into_iter();
    let files = files.flat_map(|(names, sums)| names.iter().zip(sums.iter()));
    let files = files.map(|(name, sum)| (format!("source.{}", text(name)), format!("sha256:{}", text(sum))));
    single.chain(files).collect()
}

fn tokenizer(metadata: &Metadata) -> Result<Option<String>, MetadataError> {
    let pre = metadata.opt_str("tokenizer.ggml.pre")?;
    let model = metadata.opt_str("tokenizer.ggml.model")?;
    Ok(model.map(|model| pre.map_or_else(|| model.to_owned(), |pre| format!("{model}/{pre}"))))
}

fn tensor_types(file: &Gguf) -> Vec<TensorTypeUsage> {
    let mut usage: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for tensor in file.tensors() {
        let (tensors, size_bytes) = usage.entry(tensor.ggml_type.name().into_owned()).or_default();
        *tensors += 1;
        *size_bytes = size_bytes.saturating_add(tensor.size_bytes);
    }
    let named = usage.into_iter().map(|(name, (tensors, size_bytes))| TensorTypeUsage { name, tensors, size_bytes });
    let mut tensor_types: Vec<TensorTypeUsage> = named.collect();
    tensor_types.sort_by_key(|usage| std::cmp::Reverse(usage.size_bytes));
    tensor_types
}
