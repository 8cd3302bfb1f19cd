//! A GGUF file to a smaller one: the reference quantizer's mixtures, metadata and order, and its bytes.

pub(crate) mod types;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use gguf::{Gguf, Value};

use crate::blocks::Encoding;
use crate::error::ConvertError;
use crate::event::{Observer, Report};
use crate::pipeline::{self, Run};
use crate::plan::{Content, Plan, Planned};
use crate::source::{Layout, SourceFile, Stored};

/// A mixture of encodings, by the reference's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeType {
    /// No blocks: what a quantized file holds, as plain numbers.
    F32,
    /// Half precision.
    F16,
    /// The upper half of F32.
    Bf16,
    /// 4.5 bits a weight, one scale a block.
    Q4_0,
    /// 4.5 bits, more for the tensors that need it.
    Q4KM,
    /// 5.5 bits, more for the tensors that need it.
    Q5KM,
    /// 6.6 bits.
    Q6K,
    /// 8.5 bits.
    Q8_0,
}

impl QuantizeType {
    /// `general.file_type` (the reference's list of file types).
    #[must_use]
    pub fn file_type(self) -> u32 {
        match self {
            QuantizeType::F32 => 0,
            QuantizeType::F16 => 1,
            QuantizeType::Bf16 => 32,
            QuantizeType::Q4_0 => 2,
            QuantizeType::Q8_0 => 7,
            QuantizeType::Q4KM => 15,
            QuantizeType::Q5KM => 17,
            QuantizeType::Q6K => 18,
        }
    }

    /// What a tensor gets that no rule names.
    pub(crate) fn base(self) -> Encoding {
        match self {
            QuantizeType::F32 => Encoding::F32,
            QuantizeType::F16 => Encoding::F16,
            QuantizeType::Bf16 => Encoding::BF16,
            QuantizeType::Q4_0 => Encoding::Q4_0,
            QuantizeType::Q4KM => Encoding::Q4K,
            QuantizeType::Q5KM => Encoding::Q5K,
            QuantizeType::Q6K => Encoding::Q6K,
            QuantizeType::Q8_0 => Encoding::Q8_0,
        }
    }
}

/// What to quantize, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// A GGUF file.
    pub input: &'a Path,
    /// The file to write.
    pub output: &'a Path,
    /// The mixture.
    pub to: QuantizeType,
    /// Take an input that is quantized already. Errors add up.
    pub allow_requantize: bool,
    /// Say in the metadata what was done (`llorch.quantized_by`).
    pub provenance: bool,
    /// Take weights that are not finite.
    pub allow_nonfinite: bool,
    /// Threads; 0 for one a processor.
    pub threads: usize,
}

/// Quantizes a file. Resumes and stops as [`crate::checkpoint::convert`] does.
///
/// # Errors
/// See [`ConvertError`].
pub fn quantize(
    request: &Request<'_>,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
) -> Result<Report, ConvertError> {
    let mut plan = read(request)?;
    requantize(&mut plan, request.to)?;
    if request.provenance {
        let by = concat!("llorch-convert ", env!("CARGO_PKG_VERSION"));
        set_last(&mut plan.metadata, "llorch.quantized_by", Value::from(by));
    }
    pipeline::run(&plan, Run { output: request.output, threads: request.threads, cancel }, observer)
}

/// The input as a plan that would copy it.
fn read(request: &Request<'_>) -> Result<Plan, ConvertError> {
    let path = request.input;
    let refused = |error: gguf::OpenError| match error {
        gguf::OpenError::Io { action, path, source } => ConvertError::Io { action, path, source },
        other => ConvertError::invalid(path, other.to_string()),
    };
    let file = std::fs::File::open(path).map_err(ConvertError::io("open", path))?;
    let gguf = Gguf::open(path).map_err(refused)?;
    let mut tensors = Vec::with_capacity(gguf.tensors().len());
    for info in gguf.tensors() {
        if !info.ggml_type.is_known() {
            let (name, kind) = (&info.name, info.ggml_type.name());
            return Err(ConvertError::unsupported(format!(
                "tensor `{name}` is stored as {kind}, whose size is not known"
            )));
        }
        let encoding = Encoding::of(info.ggml_type);
        let columns = info.row_elements();
        let content = match encoding {
            Some(encoding) => {
                // As in `checkpoint::tensors`: a vector is rows of one.
                let is_vector = info.shape.len() == 1 && !encoding.is_quantized();
                let (columns, rows) = if is_vector { (1, columns) } else { (columns, info.elements() / columns) };
                let layout = Layout::Straight { first: 0 };
                Content::Encoded {
                    from: Stored { file: 0, offset: info.offset, encoding, rows, columns, layout },
                    to: encoding,
                }
            }
            None => Content::Copied { file: 0, offset: info.offset, tensor_type: info.ggml_type },
        };
        if columns > crate::checkpoint::MAX_COLUMNS && info.shape.len() > 1 {
            return Err(ConvertError::invalid(path, format!("tensor `{}` has rows of {columns} elements", info.name)));
        }
        let (name, shape) = (info.name.clone(), info.shape.clone());
        tensors.push(Planned { source_name: name.clone(), name, shape, content });
    }
    check_input(request, &tensors)?;
    let metadata = gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    Ok(Plan {
        unhashed: Vec::new(),
        metadata,
        tensors,
        files: vec![SourceFile::new(path, file)?],
        allow_nonfinite: request.allow_nonfinite,
        tokenizer_json: None,
    })
}

/// An input that lost precision already is taken only on demand.
fn check_input(request: &Request<'_>, tensors: &[Planned]) -> Result<(), ConvertError> {
    for tensor in tensors {
        let of_rules = types::Tensor { name: &tensor.name, shape: &tensor.shape };
        if !types::is_quantized(&of_rules) {
            continue;
        }
        match &tensor.content {
            Content::Encoded { from, .. } if !from.encoding.is_quantized() || request.allow_requantize => {}
            Content::Encoded { from, .. } => {
                return Err(ConvertError::Unsupported {
                    reason: format!(
                        "tensor `{}` is {} already; quantizing it again loses more",
                        tensor.name, from.encoding
                    ),
                    hint: Some(
                        "convert from the F32, F16 or BF16 file, or allow it with `--allow-requantize`".to_owned(),
                    ),
                });
            }
            Content::Copied { tensor_type, .. } => {
                let name = &tensor.name;
                return Err(ConvertError::unsupported(format!(
                    "tensor `{name}` is stored as {tensor_type}, which cannot be read"
                )));
            }
            Content::Computed(_) => {}
        }
    }
    Ok(())
}

/// Turns a plan whose tensors are plain numbers into the quantizer's: order, encodings, the two keys that change.
pub(crate) fn requantize(plan: &mut Plan, to: QuantizeType) -> Result<(), ConvertError> {
    set_last(&mut plan.metadata, "general.quantization_version", Value::U32(2));
    set_last(&mut plan.metadata, "general.file_type", Value::U32(to.file_type()));
    // Block by block, by name within a block; what belongs to no block comes first.
    plan.tensors.sort_by(|a, b| (block(&a.name), &a.name).cmp(&(block(&b.name), &b.name)));
    let tensors: Vec<types::Tensor<'_>> =
        plan.tensors.iter().map(|tensor| types::Tensor { name: &tensor.name, shape: &tensor.shape }).collect();
    let chosen = types::choose(to, model(&plan.metadata), &tensors);
    for (tensor, chosen) in plan.tensors.iter_mut().zip(chosen) {
        if let (Some(chosen), Content::Encoded { to, .. }) = (chosen, &mut tensor.content) {
            *to = chosen;
        }
    }
    Ok(())
}

/// `blk.N.…` → N.
fn block(name: &str) -> Option<u64> {
    let digits: String = name.strip_prefix("blk.")?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Sets a key at the end, wherever it was before, as the quantizer does.
fn set_last(metadata: &mut Vec<(String, Value)>, key: &str, value: Value) {
    metadata.retain(|(known, _)| known != key);
    metadata.push((key.to_owned(), value));
}

/// What the rules want to know of the model; what is missing counts as nothing special.
fn model(metadata: &[(String, Value)]) -> types::Model {
    let find = |key: &str| metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    let architecture = match find("general.architecture") {
        Some(Value::String(name)) => name.as_str(),
        _ => "",
    };
    let number = |key: &str| {
        let value = find(&format!("{architecture}.{key}"))?.as_integer()?;
        u64::try_from(value).ok()
    };
    let blocks = number("block_count").unwrap_or(0);
    let heads = number("attention.head_count");
    let heads_kv = number("attention.head_count_kv").or(heads);
    let is_70b = architecture == "llama" && blocks == 80 && heads != heads_kv;
    types::Model { blocks, experts: number("expert_count").unwrap_or(0), is_70b }
}
