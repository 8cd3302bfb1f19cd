//! Which tensor gets which encoding: the reference quantizer's rules for the mixtures that are offered. Pure.

use super::QuantizeType;
use crate::blocks::Encoding;

/// What the rules look at, of a whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    /// Blocks, from the metadata.
    pub(crate) blocks: u64,
    /// Experts, 0 where there are none.
    pub(crate) experts: u64,
    /// 80 blocks of `llama` with fewer key-value heads than heads: the 70B models, whose `attn_v` is small.
    pub(crate) is_70b: bool,
}

/// A tensor as the rules see it.
#[derive(Debug, Clone)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: &'a str,
    /// Dimensions, row length first.
    pub(crate) shape: &'a [u64],
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Category {
    Embedding,
    Output,
    Value,
    Key,
    AttentionOutput,
    FeedForwardDown,
    Other,
}

impl Category {
    fn of(name: &str) -> Category {
        match name {
            "output.weight" => Category::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Category::Embedding,
            // Fused matrices hold the values too.
            _ if ["attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"].iter().any(|part| name.contains(part)) => {
                Category::Value
            }
            _ if name.contains("attn_k.weight") => Category::Key,
            _ if name.contains("attn_output.weight") => Category::AttentionOutput,
            _ if name.contains("ffn_down") => Category::FeedForwardDown,
            _ => Category::Other,
        }
    }
}

/// Names that are never quantized, wherever they occur.
const KEPT: [&str; 4] = ["_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv.weight"];

/// Whether the quantizer touches a tensor: matrices that are no norm, no router, no position table.
pub(crate) fn is_quantized(tensor: &Tensor<'_>) -> bool {
    let dimensions = tensor.shape.iter().rposition(|dimension| *dimension > 1).map_or(1, |last| last + 1);
    dimensions >= 2
        && tensor.name.ends_with("weight")
        && !KEPT.iter().any(|part| tensor.name.contains(part))
        && !["position_embd.weight", "token_types.weight"].contains(&tensor.name)
}

/// First eighth, last eighth, and every third in between: blocks that get more bits.
fn gets_more_bits(index: u64, count: u64) -> bool {
    index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2
}

/// Encodings of all tensors, `None` for those that stay as they are. `tensors` is in the order of the output, on which the
/// rules that count depend.
pub(crate) fn choose(to: QuantizeType, model: Model, tensors: &[Tensor<'_>]) -> Vec<Option<Encoding>> {
    let values = tensors.iter().filter(|tensor| Category::of(tensor.name) == Category::Value).count() as u64;
    let is_tied = !tensors.iter().any(|tensor| Category::of(tensor.name) == Category::Output);
    let mut counters = Counters { to, model, values, is_tied, next_value: 0, next_down: 0 };
    let one = |tensor: &Tensor<'_>| {
        is_quantized(tensor).then(|| {
            let row = tensor.shape.first().copied().unwrap_or(0);
            fall_back(counters.choose(tensor.name, row), row)
        })
    };
    tensors.iter().map(one).collect()
}

struct Counters {
    to: QuantizeType,
    model: Model,
    /// Tensors that hold attention values.
    values: u64,
    /// The embedding is the output layer too.
    is_tied: bool,
    next_value: u64,
    next_down: u64,
}

impl Counters {
    fn choose(&mut self, name: &str, row: u64) -> Encoding {
        let base = self.to.base();
        if !base.is_quantized() {
            return base;
        }
        let is_mixture = matches!(self.to, QuantizeType::Q4KM | QuantizeType::Q5KM);
        let category = Category::of(name);
        match category {
            Category::Output => self.output(row),
            Category::Embedding if self.is_tied => self.output(row),
            Category::Value => {
                let index = self.next_value;
                self.next_value += 1;
                let mut chosen = if is_mixture && gets_more_bits(index, self.values) { Encoding::Q6K } else { base };
                if self.model.is_70b && chosen == Encoding::Q4K {
                    chosen = Encoding::Q5K;
                }
                if self.model.experts == 8 { Encoding::Q8_0 } else { chosen }
            }
            Category::Key if self.model.experts == 8 => Encoding::Q8_0,
            Category::FeedForwardDown => {
                let counted = self.next_down;
                self.next_down += 1;
                // The tensors of experts do not come in the order of their blocks.
                let index = if self.model.experts > 1 { block_of(name).unwrap_or(counted) } else { counted };
                if is_mixture && gets_more_bits(index, self.model.blocks) { Encoding::Q6K } else { base }
            }
            Category::AttentionOutput if self.model.experts == 8 && self.to == QuantizeType::Q4KM => Encoding::Q5K,
            Category::Embedding | Category::Key | Category::AttentionOutput | Category::Other => base,
        }
    }

    /// The output layer gets 6 bits whatever the mixture, 8 where its rows are no whole blocks.
    fn output(&self, row: u64) -> Encoding {
        let base = self.to.base();
        if !row.is_multiple_of(base.block_elements() as u64) || base == Encoding::Q8_0 {
            Encoding::Q8_0
        } else {
            Encoding::Q6K
        }
    }
}

fn block_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// The next best encoding for rows that are no whole blocks.
fn fall_back(wanted: Encoding, row: u64) -> Encoding {
    let fits = |encoding: Encoding| row.is_multiple_of(encoding.block_elements() as u64);
    if fits(wanted) {
        return wanted;
    }
    let smaller = match wanted {
        Encoding::Q4K => Encoding::Q5_0,
        Encoding::Q5K => Encoding::Q5_1,
        Encoding::Q6K => Encoding::Q8_0,
        _ => Encoding::F16,
    };
    if fits(smaller) { smaller } else { Encoding::F16 }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Model, QuantizeType, Tensor, choose, gets_more_bits};

    const MODEL: Model = Model { blocks: 24, experts: 0, is_70b: false };

    fn one(to: QuantizeType, name: &str, shape: &[u64]) -> Option<Encoding> {
        choose(to, MODEL, &[Tensor { name, shape }]).remove(0)
    }

    #[test]
    fn some_blocks_get_more_bits() {
        let chosen: Vec<u64> = (0..24).filter(|index| gets_more_bits(*index, 24)).collect();
        assert_eq!(chosen, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
    }

    #[test]
    fn tensors_get_their_types() {
        use QuantizeType::{Q4_0, Q4KM, Q5KM, Q6K, Q8_0};
        let cases: [(QuantizeType, &str, &[u64], Option<Encoding>); 13] = [
            (Q4KM, "blk.0.attn_q.weight", &[512, 512], Some(Encoding::Q4K)),
            (Q4KM, "blk.0.attn_q.weight", &[576, 576], Some(Encoding::Q5_0)),
            (Q4KM, "blk.0.attn_q.weight", &[36, 36], Some(Encoding::F16)),
            (Q4KM, "blk.0.attn_norm.weight", &[512], None),
            (Q4KM, "blk.0.attn_norm.weight", &[512, 2], None),
            (Q4KM, "output.weight", &[576, 1000], Some(Encoding::Q8_0)),
            (Q4KM, "token_embd.weight", &[512, 1000], Some(Encoding::Q6K)),
            (Q5KM, "blk.0.ffn_down.weight", &[1536, 576], Some(Encoding::Q6K)),
            (Q5KM, "blk.0.ffn_up.weight", &[576, 1536], Some(Encoding::Q5_1)),
            (Q6K, "blk.0.ffn_up.weight", &[576, 1536], Some(Encoding::Q8_0)),
            (Q4_0, "token_embd.weight", &[576, 1000], Some(Encoding::Q8_0)),
            (Q8_0, "token_embd.weight", &[512, 1000], Some(Encoding::Q8_0)),
            (Q8_0, "position_embd.weight", &[512, 1000], None),
        ];
        for (to, name, shape, expected) in cases {
            assert_eq!(one(to, name, shape), expected, "{to:?} {name} {shape:?}");
        }
    }
}
