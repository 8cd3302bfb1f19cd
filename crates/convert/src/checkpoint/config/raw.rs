//! `config.json` as it stands in the file; what may come of it is decided in `config`.

use serde::Deserialize;
use serde_json::Value;

/// What is read of the file. Other keys do not reach the output.
#[derive(Debug, Deserialize)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub(super) architectures: Vec<String>,
    #[serde(rename = "_name_or_path")]
    pub(super) name_or_path: Option<String>,
    pub(super) vocab_size: Option<u64>,
    #[serde(alias = "n_layer")]
    pub(super) num_hidden_layers: Option<u64>,
    pub(super) max_position_embeddings: Option<u64>,
    pub(super) n_ctx: Option<u64>,
    pub(super) n_positions: Option<u64>,
    #[serde(alias = "n_embd")]
    pub(super) hidden_size: Option<u64>,
    pub(super) intermediate_size: Option<u64>,
    #[serde(alias = "n_head")]
    pub(super) num_attention_heads: Option<u64>,
    pub(super) num_key_value_heads: Option<u64>,
    pub(super) head_dim: Option<u64>,
    pub(super) rms_norm_eps: Option<f64>,
    pub(super) layer_norm_epsilon: Option<f64>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<RawRope>,
    pub(super) rope_parameters: Option<RawRope>,
    pub(super) original_max_position_embeddings: Option<u64>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) sliding_window: Option<u64>,
    pub(super) attention_multiplier: Option<f64>,
    pub(super) embedding_multiplier: Option<f64>,
    pub(super) residual_multiplier: Option<f64>,
    pub(super) logits_scaling: Option<f64>,
    pub(super) num_local_experts: Option<u64>,
    pub(super) num_experts_per_tok: Option<u64>,
    pub(super) shared_intermediate_size: Option<u64>,
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) mamba_d_conv: Option<u64>,
    pub(super) mamba_d_state: Option<u64>,
    pub(super) mamba_n_groups: Option<u64>,
    pub(super) mamba_n_heads: Option<u64>,
    pub(super) mamba_expand: Option<u64>,
    pub(super) quantization_config: Option<Value>,
    pub(super) bos_token_id: Option<Value>,
    pub(super) eos_token_id: Option<Value>,
    pub(super) unk_token_id: Option<Value>,
    pub(super) sep_token_id: Option<Value>,
    pub(super) pad_token_id: Option<Value>,
    pub(super) cls_token_id: Option<Value>,
    pub(super) mask_token_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawRope {
    pub(super) rope_type: Option<String>,
    /// The older name of `rope_type`; both may be there.
    pub(super) r#type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) factor: Option<f64>,
    pub(super) low_freq_factor: Option<f64>,
    pub(super) high_freq_factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<u64>,
    pub(super) extrapolation_factor: Option<f64>,
    pub(super) attention_factor: Option<f64>,
    pub(super) attn_factor: Option<f64>,
    pub(super) beta_fast: Option<f64>,
    pub(super) beta_slow: Option<f64>,
    pub(super) long_factor: Option<Vec<f64>>,
    pub(super) short_factor: Option<Vec<f64>>,
}
