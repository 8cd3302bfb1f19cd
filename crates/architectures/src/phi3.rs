//! `phi3`: Phi-3, Phi-3.5 and Phi-4 mini. Query, key and value are one matrix, gate and up another; both stay fused.
//!
//! Names and configuration only; there is no program yet.

use crate::configuration::Reader;
use crate::{Architecture, Configuration, ConfigurationError, llama};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "phi3",
    configuration,
    program: None,
    checkpoint_classes: &["Phi3ForCausalLM"],
    tensor_names: TENSOR_NAMES,
    ignored_suffixes: llama::COMPUTED,
};

const TENSOR_NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    ("model.layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight"),
    ("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    ("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    ("model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight"),
    ("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

fn configuration(metadata: &gguf::Metadata) -> Result<Configuration, ConfigurationError> {
    Reader::new(metadata, "phi3").decoder()
}
