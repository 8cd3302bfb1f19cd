//! Which tensors the output has, in which order and encoding, and how each is taken from the checkpoint.

use architectures::Architecture;

use super::Outtype;
use super::config::{Family, Hyperparameters};
use super::parameters::Extra;
use crate::blocks::Encoding;
use crate::error::ConvertError;
use crate::plan::{Content, Planned};
use crate::safetensors::{ElementType, Shard, TensorInfo};
use crate::source::{Layout, Stored};

/// Longest row of a matrix. The widest published feed-forward layer has 2^16; a row is held in memory as a whole.
pub(crate) const MAX_COLUMNS: u64 = 1 << 20;

/// Matrices of GPT-2 that are stored transposed.
const TRANSPOSED: [&str; 3] = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];

/// Tensors of the output in the reference's order: computed ones, then shard by shard by name.
pub(crate) fn plan(
    model: &Hyperparameters,
    shards: &[Shard],
    extras: Vec<Extra>,
    outtype: Outtype,
) -> Result<Vec<Planned>, ConvertError> {
    let mut planned: Vec<Planned> = extras.into_iter().map(computed).collect();
    for (file, shard) in shards.iter().enumerate() {
        for tensor in &shard.header.tensors {
            let context = Context { model, shard, file, tensor, outtype };
            planned.extend(context.plan()?);
        }
    }
    Ok(planned)
}

/// The type that `auto` stands for: that of the first matrix, if it is one that is written as it is.
pub(crate) fn automatic(shards: &[Shard]) -> Outtype {
    let tensors = shards.iter().flat_map(|shard| &shard.header.tensors).filter(|tensor| tensor.shape.len() >= 2);
    let mut types = tensors.map(|tensor| tensor.element_type);
    let first = types.find(|kind| matches!(kind, ElementType::BF16 | ElementType::F16));
    if first == Some(ElementType::BF16) { Outtype::Bf16 } else { Outtype::F16 }
}

fn computed(extra: Extra) -> Planned {
    Planned {
        name: extra.name.to_owned(),
        source_name: extra.name.to_owned(),
        shape: vec![extra.values.len() as u64],
        content: Content::Computed(extra.values),
    }
}

#[derive(Clone, Copy)]
struct Context<'a> {
    model: &'a Hyperparameters,
    shard: &'a Shard,
    file: usize,
    tensor: &'a TensorInfo,
    outtype: Outtype,
}

impl Context<'_> {
    fn invalid(&self, reason: impl std::fmt::Display) -> ConvertError {
        ConvertError::invalid(&self.shard.path, format!("tensor `{}` {reason}", self.tensor.name))
    }

    fn architecture(&self) -> Result<&'static Architecture, ConvertError> {
        let name = self.model.architecture;
        let found = architectures::ARCHITECTURES.iter().find(|architecture| architecture.name == name);
        found.ok_or_else(|| ConvertError::unsupported(format!("architecture `{name}` is not known")))
    }

    fn plan(&self) -> Result<Vec<Planned>, ConvertError> {
        let architecture = self.architecture()?;
        let name = &self.tensor.name;
        if architecture.ignores(name) {
            return Ok(Vec::new());
        }
        if let Some(block) = fused_block(name) {
            return self.split(block);
        }
        let Some(new_name) = architecture.gguf_tensor_name(name) else {
            return Err(ConvertError::unsupported(format!(
                "tensor `{name}` has no place in architecture `{}`",
                architecture.name
            )));
        };
        let shape = self.shape()?;
        let layout = self.layout(&shape)?;
        let shape = if layout == Layout::Transposed { shape.into_iter().rev().collect() } else { shape };
        Ok(vec![self.planned(new_name, shape, layout)?])
    }

    /// Dimensions in GGUF order, checked.
    fn shape(&self) -> Result<Vec<u64>, ConvertError> {
        let shape: Vec<u64> = self.tensor.shape.iter().rev().copied().collect();
        if shape.contains(&0) {
            return Err(self.invalid("has no elements, which a GGUF file cannot hold"));
        }
        match shape.as_slice() {
            [_] | [_, _] => {}
            other => return Err(self.invalid(format!("has {} dimensions, expected 1 or 2", other.len()))),
        }
        let longest = shape.iter().max().copied().unwrap_or(0);
        if shape.len() == 2 && longest > MAX_COLUMNS.max(self.model.vocab_size) {
            return Err(self.invalid(format!("has a dimension of {longest}; the limit is {MAX_COLUMNS}")));
        }
        Ok(shape)
    }

    fn layout(&self, shape: &[u64]) -> Result<Layout, ConvertError> {
        let name = &self.tensor.name;
        let of_heads = |heads: u64| {
            let rows = shape.last().copied().unwrap_or(0);
            if rows % (2 * heads) == 0 {
                return Ok(Layout::Interleaved { heads });
            }
            Err(self.invalid(format!("has {rows} rows, which are not {heads} heads of even width")))
        };
        match self.model.family {
            Family::Gpt2 if TRANSPOSED.iter().any(|ending| name.ends_with(ending)) => {
                if shape.len() == 2 {
                    Ok(Layout::Transposed)
                } else {
                    Err(self.invalid("is not a matrix"))
                }
            }
            Family::Llama | Family::Granite(_) if name.ends_with("q_proj.weight") || name.ends_with("q_proj.bias") => {
                of_heads(self.model.heads)
            }
            Family::Llama | Family::Granite(_) if name.ends_with("k_proj.weight") || name.ends_with("k_proj.bias") => {
                of_heads(self.model.heads_kv)
            }
            _ => Ok(Layout::Straight { first: 0 }),
        }
    }

    /// Gate and up of a block, which Granite 4 stores as one matrix.
    fn split(&self, block: &str) -> Result<Vec<Planned>, ConvertError> {
        let Family::Granite(Some(state_space)) = &self.model.family else {
            return Err(self.invalid("belongs to a kind of checkpoint that this is not"));
        };
        let shape = self.shape()?;
        let half = state_space.shared_feed_forward;
        if shape.len() != 2 || shape[1] != 2 * half {
            return Err(self.invalid(format!("is not a matrix of 2 · {half} rows")));
        }
        let parts = [("ffn_gate", 0), ("ffn_up", half)].map(|(part, first)| {
            self.planned(format!("blk.{block}.{part}.weight"), vec![shape[0], half], Layout::Straight { first })
        });
        parts.into_iter().collect()
    }

    fn planned(&self, name: String, shape: Vec<u64>, layout: Layout) -> Result<Planned, ConvertError> {
        let encoding = match self.tensor.element_type {
            ElementType::F32 => Encoding::F32,
            ElementType::F16 => Encoding::F16,
            ElementType::BF16 => Encoding::BF16,
            other => {
                return Err(ConvertError::unsupported(format!(
                    "tensor `{}` is stored as {}; only F32, F16 and BF16 can be converted",
                    self.tensor.name,
                    other.name()
                )));
            }
        };
        // A vector's elements are rows of one, so that a long one is no long row.
        let (columns, rows) = if shape.len() == 1 { (1, shape[0]) } else { (shape[0], shape[1]) };
        if columns > MAX_COLUMNS {
            return Err(self.invalid(format!("would have rows of {columns} elements; the limit is {MAX_COLUMNS}")));
        }
        let to = encoding_of(&name, &shape, self.outtype);
        let from = Stored { file: self.file, offset: self.tensor.offset, encoding, rows, columns, layout };
        Ok(Planned { name, source_name: self.tensor.name.clone(), shape, content: Content::Encoded { from, to } })
    }
}

/// The block number of `model.layers.N.shared_mlp.input_linear.weight`.
fn fused_block(name: &str) -> Option<&str> {
    let number = name.strip_prefix("model.layers.")?.strip_suffix(".shared_mlp.input_linear.weight")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// The reference converter's rule: vectors, norms, biases and positions are F32; what cannot be blocks is F16.
fn encoding_of(name: &str, shape: &[u64], outtype: Outtype) -> Encoding {
    let is_plain = shape.len() <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight");
    if is_plain || name == "position_embd.weight" {
        return Encoding::F32;
    }
    match outtype {
        Outtype::F16 => Encoding::F16,
        Outtype::Bf16 => Encoding::BF16,
        Outtype::Q8_0 if shape[0].is_multiple_of(Encoding::Q8_0.block_elements() as u64) => Encoding::Q8_0,
        Outtype::Q8_0 => Encoding::F16,
        // Quantization by the quantizer's rules starts from here.
        Outtype::F32 | Outtype::Auto | Outtype::Quantized(_) => Encoding::F32,
    }
}
