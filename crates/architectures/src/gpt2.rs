//! `gpt2`: GPT-2 in its four sizes. Learnt positions, centred norms with biases, fused attention, tied output layer.
//!
//! Its matrices are stored transposed in checkpoints (`Conv1D`), which the converter undoes. Source of the shape: Radford
//! et al. 2019. Names and configuration only; there is no program yet.

use crate::configuration::Reader;
use crate::{Architecture, Configuration, ConfigurationError};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "gpt2",
    configuration,
    program: None,
    checkpoint_classes: &["GPT2LMHeadModel"],
    tensor_names: TENSOR_NAMES,
    ignored_suffixes: &[".attn.bias", ".attn.masked_bias"],
};

/// With and without the prefix: it depends on which class of the training library saved the file.
const TENSOR_NAMES: &[(&str, &str)] = &[
    ("wte.weight", "token_embd.weight"),
    ("transformer.wte.weight", "token_embd.weight"),
    ("wpe.weight", "position_embd.weight"),
    ("transformer.wpe.weight", "position_embd.weight"),
    ("h.{}.ln_1.weight", "blk.{}.attn_norm.weight"),
    ("transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"),
    ("h.{}.ln_1.bias", "blk.{}.attn_norm.bias"),
    ("transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias"),
    ("h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight"),
    ("transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight"),
    ("h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"),
    ("transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias"),
    ("h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight"),
    ("transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight"),
    ("h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"),
    ("transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"),
    ("h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"),
    ("transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"),
    ("h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"),
    ("transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"),
    ("h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"),
    ("transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"),
    ("h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"),
    ("transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"),
    ("h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"),
    ("transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"),
    ("h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"),
    ("transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"),
    ("ln_f.weight", "output_norm.weight"),
    ("transformer.ln_f.weight", "output_norm.weight"),
    ("ln_f.bias", "output_norm.bias"),
    ("transformer.ln_f.bias", "output_norm.bias"),
    ("lm_head.weight", "output.weight"),
];

fn configuration(metadata: &gguf::Metadata) -> Result<Configuration, ConfigurationError> {
    Reader::new(metadata, "gpt2").decoder_with_epsilon("attention.layer_norm_epsilon")
}
