//! `granite`: IBM Granite 3 and the dense, attention-only members of Granite 4. The shape of `llama` with four scales.
//!
//! Granite 4 stores gate and up as one matrix, `shared_mlp.input_linear`; the converter splits it, so it has no row here.
//! Names and configuration only; there is no program yet.

use crate::configuration::Reader;
use crate::{Architecture, Configuration, ConfigurationError, llama};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "granite",
    configuration,
    program: None,
    checkpoint_classes: &["GraniteForCausalLM", "GraniteMoeHybridForCausalLM"],
    tensor_names: TENSOR_NAMES,
    ignored_suffixes: llama::COMPUTED,
};

const TENSOR_NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    ("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    ("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    ("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    ("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    ("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"),
    ("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"),
    ("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"),
    ("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"),
    ("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    ("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
    ("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"),
    ("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    ("model.layers.{}.shared_mlp.output_linear.weight", "blk.{}.ffn_down.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

fn configuration(metadata: &gguf::Metadata) -> Result<Configuration, ConfigurationError> {
    Reader::new(metadata, "granite").decoder()
}
