//! A checkpoint directory (`config.json`, safetensors, tokenizer files) to GGUF, byte for byte as the reference converter writes it.

mod bounded;
mod card;
mod config;
mod files;
mod general;
mod keys;
mod library;
mod naming;
mod parameters;
mod pre_tokenizer;
mod sentencepiece;
mod special;
mod tensors;
mod tokenizer_json;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::error::ConvertError;
use crate::event::{Observer, Report};
use crate::pipeline::{self, Run};
use crate::plan::{Plan, Planned};
use crate::provenance;
pub use crate::provenance::SourceHash;
use crate::quantize::{self, QuantizeType};
use crate::safetensors::Shard;
use crate::source::SourceFile;
pub(crate) use library::{Loaded, load as load_tokenizer};
pub(crate) use tensors::MAX_COLUMNS;

/// How the matrices of the output are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outtype {
    /// 4 bytes a weight.
    F32,
    /// 2 bytes, 11 bits of precision.
    F16,
    /// 2 bytes, the range of F32.
    Bf16,
    /// Blocks of 32 in 34 bytes, by the converter's rules; rows that are no whole blocks become F16.
    Q8_0,
    /// Bf16 if the checkpoint's first half-precision matrix is, else F16.
    Auto,
    /// What quantizing the F32 output would give, without writing that first.
    Quantized(QuantizeType),
}

impl Outtype {
    /// `general.file_type`.
    fn file_type(self) -> u32 {
        match self {
            Outtype::F32 | Outtype::Auto => 0,
            Outtype::F16 => 1,
            Outtype::Bf16 => 32,
            Outtype::Q8_0 => 7,
            Outtype::Quantized(to) => to.file_type(),
        }
    }
}

/// Where a checkpoint came from, for the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// The repository, as `org/name`.
    pub repository: Option<&'a str>,
    /// Its commit.
    pub revision: Option<&'a str>,
    /// Hashes of files that were verified and have not changed since: they are not hashed again.
    pub hashes: &'a [SourceHash],
}

/// What to convert, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The checkpoint.
    pub directory: &'a Path,
    /// The file to write.
    pub output: &'a Path,
    /// How matrices are stored.
    pub outtype: Outtype,
    /// `general.name`; guessed where absent.
    pub model_name: Option<&'a str>,
    /// `tokenizer.ggml.pre`; recognised where absent.
    pub pre: Option<&'a str>,
    /// Written as `llorch.*` keys; none of them where absent.
    pub provenance: Option<Provenance<'a>>,
    /// Take weights that are not finite. Recorded in the provenance.
    pub allow_nonfinite: bool,
    /// Threads; 0 for one a processor.
    pub threads: usize,
}

/// Converts a checkpoint. Goes on where an interrupted run with the same request stopped. Set `cancel` to stop: it returns
/// [`ConvertError::Interrupted`] after the chunks in work, and keeps what is done.
///
/// # Errors
/// See [`ConvertError`]. The output has its name only after every tensor was written, read back and compared.
pub fn convert(
    request: &Request<'_>,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
) -> Result<Report, ConvertError> {
    let run = Run { output: request.output, threads: request.threads, cancel };
    let plan = plan(request)?;
    pipeline::run(&plan, run, observer)
}

/// Decides everything about the output without reading a weight.
pub(crate) fn plan(request: &Request<'_>) -> Result<Plan, ConvertError> {
    let model = config::read(request.directory)?;
    let shards = files::open_shards(request.directory)?;
    let outtype = if request.outtype == Outtype::Auto { tensors::automatic(&shards) } else { request.outtype };
    let mut keys = keys::Keys::default();
    keys.set("general.architecture", model.architecture);
    let extras = parameters::extras(&mut keys, &model)?;
    let planned = tensors::plan(&model, &shards, extras, outtype)?;
    check_complete(&model, &planned)?;
    let parameters = planned.iter().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.elements()));
    let sources = general::Sources {
        directory: request.directory,
        hyperparameters: &model,
        model_name: request.model_name,
        parameters,
    };
    general::write(&mut keys, &sources)?;
    let base = if matches!(outtype, Outtype::Quantized(_)) { Outtype::F32 } else { outtype };
    parameters::write(&mut keys, &model, base.file_type());
    keys.set("general.quantization_version", 2_u32);
    let tokenizer_json = vocabulary::write(&mut keys, request.directory, &model, request.pre)?;
    let files = shards.into_iter().map(|Shard { path, file, .. }| SourceFile::new(&path, file));
    let mut plan = Plan {
        metadata: keys.into_entries(),
        tensors: planned,
        files: files.collect::<Result<_, _>>()?,
        unhashed: Vec::new(),
        allow_nonfinite: request.allow_nonfinite,
        tokenizer_json,
    };
    if let Outtype::Quantized(to) = outtype {
        quantize::requantize(&mut plan, to)?;
    }
    if let Some(from) = request.provenance {
        let details = provenance::Details { from, directory: request.directory };
        provenance::write(&mut plan, &details)?;
    }
    Ok(plan)
}

/// Every block has the tensors that the others have, and the embedding has a row a token: a lost shard is an error here, not
/// in whatever reads the file.
fn check_complete(model: &config::Hyperparameters, planned: &[Planned]) -> Result<(), ConvertError> {
    let invalid = |reason: String| ConvertError::invalid(&model.path, reason);
    let embedding = planned.iter().find(|tensor| tensor.name == "token_embd.weight");
    let expected = [model.embedding_length, model.vocab_size];
    match embedding {
        None => return Err(invalid("the checkpoint has no token embedding".to_owned())),
        Some(tensor) if tensor.shape != expected => {
            return Err(invalid(format!(
                "tensor `{}` has the shape {:?}, but the configuration implies {expected:?} (row length first)",
                tensor.source_name, tensor.shape
            )));
        }
        Some(_) => {}
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in planned {
        let Some((block, kind)) = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        if block.parse::<u64>().is_ok_and(|block| block >= model.blocks) {
            return Err(invalid(format!("tensor `{}` is beyond the {} blocks", tensor.source_name, model.blocks)));
        }
        *kinds.entry(kind).or_default() += 1;
    }
    let usual = ["attn_norm.weight", "attn_output.weight", "ffn_norm.weight", "ffn_up.weight", "ffn_down.weight"];
    for kind in usual.into_iter().chain(kinds.keys().copied().collect::<Vec<_>>()) {
        let count = kinds.get(kind).copied().unwrap_or(0);
        if count != model.blocks {
            return Err(invalid(format!("{count} of {} blocks have a tensor `{kind}`", model.blocks)));
        }
    }
    Ok(())
}
