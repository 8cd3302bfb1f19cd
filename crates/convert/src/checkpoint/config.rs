//! `config.json` as typed hyperparameters. What a checkpoint leaves out is what the training library would fill in
//! (transformers 4.57, per class), because the reference converter reads the configuration through it.

mod raw;

use std::path::{Path, PathBuf};

use architectures::Architecture;

use self::raw::{RawConfig, RawRope};
use super::files;
use crate::error::ConvertError;

/// How positions are stretched beyond what the model was first trained for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    Linear { factor: f64 },
    Yarn(Yarn),
    Llama3 { factor: f64, low: f64, high: f64, original_context: u64 },
    LongRope { long: Vec<f64>, short: Vec<f64> },
}

/// The numbers of YaRN; what is absent is not written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Yarn {
    pub(crate) factor: f64,
    pub(crate) original_context: u64,
    pub(crate) extrapolation: Option<f64>,
    pub(crate) attention: Option<f64>,
    pub(crate) beta_fast: Option<f64>,
    pub(crate) beta_slow: Option<f64>,
}

/// State-space sizes that Granite 4 carries even where it has no such layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StateSpace {
    pub(crate) conv_kernel: u64,
    pub(crate) state_size: u64,
    pub(crate) group_count: u64,
    pub(crate) inner_size: u64,
    pub(crate) time_step_rank: u64,
    pub(crate) shared_feed_forward: u64,
}

/// What sets the families apart where one architecture serves several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Family {
    Gpt2,
    Llama,
    Qwen2,
    Phi3 { original_context: u64, partial_rotary: f64, sliding_window: u64 },
    Granite(Option<StateSpace>),
}

/// Scales of Granite; what is zero or absent is not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Scales {
    pub(crate) attention: f64,
    pub(crate) embedding: f64,
    pub(crate) residual: f64,
    pub(crate) logit: f64,
}

/// A checkpoint's hyperparameters, cross-checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hyperparameters {
    pub(crate) path: PathBuf,
    pub(crate) architecture: &'static str,
    pub(crate) family: Family,
    pub(crate) name_or_path: Option<String>,
    pub(crate) vocab_size: u64,
    pub(crate) blocks: u64,
    pub(crate) context_length: u64,
    pub(crate) embedding_length: u64,
    pub(crate) feed_forward_length: u64,
    pub(crate) heads: u64,
    pub(crate) heads_kv: u64,
    /// `head_dim` where the reference would see one.
    pub(crate) head_dim: Option<u64>,
    pub(crate) epsilon: f64,
    pub(crate) rope_theta: f64,
    pub(crate) rope_scaling: RopeScaling,
    pub(crate) scales: Scales,
    /// `bos`, `eos`, … → id, in the reference's order; only those that are single numbers.
    pub(crate) special_ids: Vec<(&'static str, i64)>,
}

impl Hyperparameters {
    /// Width of a head.
    pub(crate) fn head_length(&self) -> u64 {
        self.head_dim.unwrap_or(self.embedding_length / self.heads)
    }
}

/// Bounds as in `architectures`: above every published model, below what overflows.
const MAX_WIDTH: u64 = 1 << 18;
const MAX_BLOCKS: u64 = 1 << 10;
const MAX_CONTEXT: u64 = 1 << 26;
const MAX_VOCABULARY: u64 = text::MAX_TOKENS as u64;

/// Reads and checks `config.json` of `directory`.
pub(crate) fn read(directory: &Path) -> Result<Hyperparameters, ConvertError> {
    let path = directory.join("config.json");
    let Some(raw) = files::read_json::<RawConfig>(&path)? else {
        return Err(ConvertError::Missing { what: "the configuration", path });
    };
    Reader { path, raw }.hyperparameters()
}

struct Reader {
    path: PathBuf,
    raw: RawConfig,
}

impl Reader {
    fn invalid(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::invalid(&self.path, reason)
    }

    fn count(&self, key: &str, value: Option<u64>, limit: u64) -> Result<u64, ConvertError> {
        match value {
            Some(value) if (1..=limit).contains(&value) => Ok(value),
            Some(value) => Err(self.invalid(format!("`{key}` is {value}, which is outside 1 to {limit}"))),
            None => Err(self.invalid(format!("`{key}` is missing"))),
        }
    }

    fn positive(&self, key: &str, value: f64) -> Result<f64, ConvertError> {
        if value.is_finite() && value > 0.0 && value <= f64::from(f32::MAX) {
            return Ok(value);
        }
        Err(self.invalid(format!("`{key}` is {value}, which is not a finite number above 0")))
    }

    /// Newer checkpoints write `rope_parameters`.
    fn rope(&self) -> Option<&RawRope> {
        self.raw.rope_parameters.as_ref().or(self.raw.rope_scaling.as_ref())
    }

    fn class(&self) -> Result<(&str, &'static Architecture), ConvertError> {
        let class = match self.raw.architectures.as_slice() {
            [class] => class.as_str(),
            [] => return Err(self.invalid("`architectures` is missing or empty")),
            several => return Err(self.invalid(format!("`architectures` has {} entries, expected one", several.len()))),
        };
        let Some(architecture) = Architecture::of_checkpoint(class) else {
            let class: String = class.chars().take(64).collect();
            let known = architectures::checkpoint_classes();
            return Err(ConvertError::unsupported(format!(
                "checkpoints of `{class}` cannot be converted (known: {known})"
            )));
        };
        Ok((class, architecture))
    }

    fn hyperparameters(&self) -> Result<Hyperparameters, ConvertError> {
        let raw = &self.raw;
        let (class, architecture) = self.class()?;
        if raw.quantization_config.as_ref().is_some_and(|config| !config.is_null()) {
            return Err(ConvertError::Unsupported {
                reason: "the checkpoint is quantized (`quantization_config`), which cannot be converted".to_owned(),
                hint: Some("convert the checkpoint it was made from".to_owned()),
            });
        }
        let heads = self.count("num_attention_heads", raw.num_attention_heads, 4_096)?;
        let heads_kv = self.count("num_key_value_heads", raw.num_key_value_heads.or(Some(heads)), 4_096)?;
        let embedding_length = self.count("hidden_size", raw.hidden_size, MAX_WIDTH)?;
        if heads % heads_kv != 0 {
            return Err(
                self.invalid(format!("{heads} attention heads are not a multiple of {heads_kv} key and value heads"))
            );
        }
        if raw.head_dim.is_none() && embedding_length % heads != 0 {
            return Err(self.invalid(format!("`hidden_size` {embedding_length} is not a multiple of {heads} heads")));
        }
        let family = self.family(class)?;
        let is_gpt2 = family == Family::Gpt2;
        let context = if is_gpt2 { raw.n_ctx.or(raw.n_positions) } else { raw.max_position_embeddings };
        let feed_forward = if is_gpt2 { Some(4 * embedding_length) } else { raw.intermediate_size };
        let epsilon = if is_gpt2 {
            raw.layer_norm_epsilon.unwrap_or(1e-5)
        } else {
            raw.rms_norm_eps.unwrap_or(default_epsilon(&family))
        };
        let theta = raw.rope_theta.or(self.rope().and_then(|rope| rope.rope_theta)).unwrap_or(10_000.0);
        Ok(Hyperparameters {
            path: self.path.clone(),
            architecture: architecture.name,
            name_or_path: raw.name_or_path.clone(),
            vocab_size: self.count("vocab_size", raw.vocab_size, MAX_VOCABULARY)?,
            blocks: self.count("num_hidden_layers", raw.num_hidden_layers, MAX_BLOCKS)?,
            context_length: self.count("max_position_embeddings", context, MAX_CONTEXT)?,
            embedding_length,
            feed_forward_length: self.count("intermediate_size", feed_forward, MAX_WIDTH)?,
            heads,
            heads_kv,
            head_dim: self.head_dim(class, embedding_length / heads)?,
            epsilon: self.positive("rms_norm_eps", epsilon)?,
            rope_theta: self.positive("rope_theta", theta)?,
            rope_scaling: self.rope_scaling()?,
            scales: self.scales(&family),
            special_ids: self.special_ids(),
            family,
        })
    }

    /// The library gives every llama one; the others have it only where it is written down, and Granite's is not used.
    fn head_dim(&self, class: &str, quotient: u64) -> Result<Option<u64>, ConvertError> {
        let written = self.raw.head_dim.map(|length| self.count("head_dim", Some(length), MAX_WIDTH)).transpose()?;
        Ok(match class {
            "LlamaForCausalLM" | "LLaMAForCausalLM" => Some(written.unwrap_or(quotient)),
            "GraniteForCausalLM" | "GPT2LMHeadModel" => None,
            _ => written,
        })
    }

    fn family(&self, class: &str) -> Result<Family, ConvertError> {
        let raw = &self.raw;
        Ok(match class {
            "GPT2LMHeadModel" => Family::Gpt2,
            "Qwen2ForCausalLM" => Family::Qwen2,
            "Phi3ForCausalLM" => {
                let in_rope = self.rope().and_then(|rope| rope.original_max_position_embeddings);
                Family::Phi3 {
                    // 4,096 and 1 are what the library fills in.
                    original_context: raw.original_max_position_embeddings.or(in_rope).unwrap_or(4_096),
                    partial_rotary: self.positive("partial_rotary_factor", raw.partial_rotary_factor.unwrap_or(1.0))?,
                    sliding_window: raw.sliding_window.unwrap_or(0),
                }
            }
            "GraniteForCausalLM" => Family::Granite(None),
            "GraniteMoeHybridForCausalLM" => Family::Granite(Some(self.dense_hybrid()?)),
            _ => Family::Llama,
        })
    }

    /// Granite 4 where every layer is attention and there are no experts; the others are refused by what they have.
    fn dense_hybrid(&self) -> Result<StateSpace, ConvertError> {
        let raw = &self.raw;
        let layers = raw.layer_types.as_deref().unwrap_or_default();
        if let Some(other) = layers.iter().find(|layer| *layer != "attention") {
            let other: String = other.chars().take(32).collect();
            return Err(ConvertError::unsupported(format!(
                "the checkpoint has `{other}` layers, which cannot be converted"
            )));
        }
        if layers.len() as u64 != raw.num_hidden_layers.unwrap_or(0) {
            let layers = layers.len();
            return Err(self.invalid(format!("`layer_types` has {layers} entries, `num_hidden_layers` says otherwise")));
        }
        let experts = raw.num_local_experts.unwrap_or(0).max(raw.num_experts_per_tok.unwrap_or(0));
        if experts > 0 {
            return Err(ConvertError::unsupported("the checkpoint has experts, which cannot be converted"));
        }
        let required = |key: &str, value| self.count(key, value, MAX_WIDTH);
        let hidden = required("hidden_size", raw.hidden_size)?;
        Ok(StateSpace {
            conv_kernel: required("mamba_d_conv", raw.mamba_d_conv)?,
            state_size: required("mamba_d_state", raw.mamba_d_state)?,
            group_count: required("mamba_n_groups", raw.mamba_n_groups)?,
            inner_size: required("mamba_expand", raw.mamba_expand)? * hidden,
            time_step_rank: required("mamba_n_heads", raw.mamba_n_heads)?,
            shared_feed_forward: required("shared_intermediate_size", raw.shared_intermediate_size)?,
        })
    }

    fn scales(&self, family: &Family) -> Scales {
        // The library fills in 1 for Granite 3; Granite 4 is read as it is written.
        let default = if *family == Family::Granite(None) { 1.0 } else { 0.0 };
        let raw = &self.raw;
        Scales {
            attention: raw.attention_multiplier.unwrap_or(default),
            embedding: raw.embedding_multiplier.unwrap_or(default),
            residual: raw.residual_multiplier.unwrap_or(default),
            logit: raw.logits_scaling.unwrap_or(default),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, ConvertError> {
        let Some(rope) = self.rope() else { return Ok(RopeScaling::None) };
        let factor = || self.positive("rope_scaling.factor", rope.factor.unwrap_or(f64::NAN));
        let original = |value: Option<u64>| self.count("original_max_position_embeddings", value, MAX_CONTEXT);
        Ok(match rope.rope_type.as_deref().or(rope.r#type.as_deref()) {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: factor()? },
            Some("yarn") => RopeScaling::Yarn(Yarn {
                factor: factor()?,
                original_context: original(rope.original_max_position_embeddings)?,
                extrapolation: rope.extrapolation_factor,
                attention: rope.attention_factor.or(rope.attn_factor),
                beta_fast: rope.beta_fast,
                beta_slow: rope.beta_slow,
            }),
            Some("llama3") => RopeScaling::Llama3 {
                factor: self.positive("rope_scaling.factor", rope.factor.unwrap_or(8.0))?,
                low: self.positive("rope_scaling.low_freq_factor", rope.low_freq_factor.unwrap_or(1.0))?,
                high: self.positive("rope_scaling.high_freq_factor", rope.high_freq_factor.unwrap_or(4.0))?,
                original_context: original(rope.original_max_position_embeddings.or(Some(8_192)))?,
            },
            Some("longrope" | "su") => RopeScaling::LongRope {
                long: self.factors("long_factor", rope.long_factor.as_deref())?,
                short: self.factors("short_factor", rope.short_factor.as_deref())?,
            },
            Some(other) => {
                let other: String = other.chars().take(32).collect();
                return Err(ConvertError::unsupported(format!("rope scaling `{other}` cannot be converted")));
            }
        })
    }

    fn factors(&self, key: &str, factors: Option<&[f64]>) -> Result<Vec<f64>, ConvertError> {
        let factors = factors.ok_or_else(|| self.invalid(format!("`rope_scaling.{key}` is missing")))?;
        factors.iter().map(|factor| self.positive(key, *factor)).collect()
    }

    fn special_ids(&self) -> Vec<(&'static str, i64)> {
        let raw = &self.raw;
        let written = [
            ("bos", &raw.bos_token_id),
            ("eos", &raw.eos_token_id),
            ("unk", &raw.unk_token_id),
            ("sep", &raw.sep_token_id),
            ("pad", &raw.pad_token_id),
            ("cls", &raw.cls_token_id),
            ("mask", &raw.mask_token_id),
        ];
        // A list of ids (several ends) names no one token.
        written.into_iter().filter_map(|(kind, id)| Some((kind, id.as_ref()?.as_i64()?))).collect()
    }
}

/// What the library fills in.
fn default_epsilon(family: &Family) -> f64 {
    match family {
        Family::Phi3 { .. } => 1e-5,
        Family::Gpt2 | Family::Llama | Family::Qwen2 | Family::Granite(_) => 1e-6,
    }
}
