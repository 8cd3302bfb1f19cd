//! The keys of an architecture, in the order the reference writes them, and the tensors that come from the configuration.

use super::config::{Family, Hyperparameters, RopeScaling, Scales, StateSpace};
use super::keys::Keys;
use crate::error::ConvertError;

/// Writes the keys of the architecture, `general.file_type` among them.
pub(crate) fn write(keys: &mut Keys, model: &Hyperparameters, file_type: u32) {
    match &model.family {
        Family::Gpt2 => gpt2(keys, model, file_type),
        Family::Phi3 { original_context, sliding_window, .. } => {
            phi3(keys, model, (*original_context, *sliding_window), file_type);
        }
        Family::Qwen2 => decoder(keys, model, None, file_type),
        Family::Llama => llama(keys, model, None, file_type),
        Family::Granite(state_space) => {
            llama(keys, model, state_space.as_ref(), file_type);
            granite(keys, model, state_space.as_ref());
        }
    }
}

fn gpt2(keys: &mut Keys, model: &Hyperparameters, file_type: u32) {
    let key = |name: &str| format!("{}.{name}", model.architecture);
    keys.count(key("block_count"), model.blocks);
    keys.count(key("context_length"), model.context_length);
    keys.count(key("embedding_length"), model.embedding_length);
    keys.count(key("feed_forward_length"), model.feed_forward_length);
    keys.count(key("attention.head_count"), model.heads);
    keys.float(key("attention.layer_norm_epsilon"), model.epsilon);
    keys.set("general.file_type", file_type);
}

/// What every pre-norm decoder with rotary positions has.
fn decoder(keys: &mut Keys, model: &Hyperparameters, state_space: Option<&StateSpace>, file_type: u32) {
    let key = |name: &str| format!("{}.{name}", model.architecture);
    keys.count(key("block_count"), model.blocks);
    keys.count(key("context_length"), model.context_length);
    keys.count(key("embedding_length"), model.embedding_length);
    keys.count(key("feed_forward_length"), model.feed_forward_length);
    keys.count(key("attention.head_count"), model.heads);
    keys.count(key("attention.head_count_kv"), model.heads_kv);
    match &model.rope_scaling {
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => {
            keys.set(key("rope.scaling.type"), "linear");
            keys.float(key("rope.scaling.factor"), *factor);
        }
        RopeScaling::Yarn(yarn) => {
            keys.set(key("rope.scaling.type"), "yarn");
            keys.float(key("rope.scaling.factor"), yarn.factor);
            keys.count(key("rope.scaling.original_context_length"), yarn.original_context);
            for (name, value) in [
                ("yarn_ext_factor", yarn.extrapolation),
                ("yarn_attn_factor", yarn.attention),
                ("yarn_beta_fast", yarn.beta_fast),
                ("yarn_beta_slow", yarn.beta_slow),
            ] {
                if let Some(value) = value {
                    keys.float(key(&format!("rope.scaling.{name}")), value);
                }
            }
        }
        RopeScaling::LongRope { .. } => keys.set(key("rope.scaling.type"), "longrope"),
    }
    keys.float(key("rope.freq_base"), model.rope_theta);
    keys.float(key("attention.layer_norm_rms_epsilon"), model.epsilon);
    if state_space.is_some() {
        keys.count(key("expert_count"), 0);
        keys.count(key("expert_used_count"), 0);
    }
    if let Some(length) = model.head_dim {
        keys.count(key("attention.key_length"), length);
        keys.count(key("attention.value_length"), length);
    }
    keys.set("general.file_type", file_type);
}

fn llama(keys: &mut Keys, model: &Hyperparameters, state_space: Option<&StateSpace>, file_type: u32) {
    decoder(keys, model, state_space, file_type);
    keys.count(format!("{}.vocab_size", model.architecture), model.vocab_size);
    keys.count(format!("{}.rope.dimension_count", model.architecture), model.head_length());
}

fn granite(keys: &mut Keys, model: &Hyperparameters, state_space: Option<&StateSpace>) {
    let key = |name: &str| format!("{}.{name}", model.architecture);
    let Scales { attention, embedding, residual, logit } = model.scales;
    for (name, scale) in [
        ("attention.scale", attention),
        ("embedding_scale", embedding),
        ("residual_scale", residual),
        ("logit_scale", logit),
    ] {
        if scale != 0.0 {
            keys.float(key(name), scale);
        }
    }
    let Some(state_space) = state_space else { return };
    keys.count(key("expert_shared_feed_forward_length"), state_space.shared_feed_forward);
    keys.count(key("ssm.conv_kernel"), state_space.conv_kernel);
    keys.count(key("ssm.state_size"), state_space.state_size);
    keys.count(key("ssm.group_count"), state_space.group_count);
    keys.count(key("ssm.inner_size"), state_space.inner_size);
    keys.count(key("ssm.time_step_rank"), state_space.time_step_rank);
    // One entry a block, at the place of the single number that was written before. Both are bounded (`config`).
    let heads = vec![i32::try_from(model.heads_kv).unwrap_or(i32::MAX); model.blocks as usize];
    keys.set(key("attention.head_count_kv"), heads);
    keys.set(key("rope.scaling.finetuned"), true);
}

fn phi3(keys: &mut Keys, model: &Hyperparameters, (original_context, sliding_window): (u64, u64), file_type: u32) {
    let key = |name: &str| format!("{}.{name}", model.architecture);
    keys.count(key("context_length"), model.context_length);
    keys.count(key("rope.scaling.original_context_length"), original_context);
    keys.count(key("embedding_length"), model.embedding_length);
    keys.count(key("feed_forward_length"), model.feed_forward_length);
    keys.count(key("block_count"), model.blocks);
    keys.count(key("attention.head_count"), model.heads);
    keys.count(key("attention.head_count_kv"), model.heads_kv);
    keys.float(key("attention.layer_norm_rms_epsilon"), model.epsilon);
    keys.count(key("rope.dimension_count"), rotary_dimensions(model));
    keys.float(key("rope.freq_base"), model.rope_theta);
    keys.set("general.file_type", file_type);
    keys.count(key("attention.sliding_window"), sliding_window);
}

/// Rotated elements of a head of Phi-3.
fn rotary_dimensions(model: &Hyperparameters) -> u64 {
    let partial = match model.family {
        Family::Phi3 { partial_rotary, .. } => partial_rotary,
        _ => 1.0,
    };
    (partial * model.embedding_length as f64) as u64 / model.heads
}

/// A tensor that is computed from the configuration.
pub(crate) struct Extra {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f32>,
}

/// Computed tensors, which come before all others. Their keys come right after `general.architecture`.
pub(crate) fn extras(keys: &mut Keys, model: &Hyperparameters) -> Result<Vec<Extra>, ConvertError> {
    match (&model.family, &model.rope_scaling) {
        (Family::Llama | Family::Granite(None), RopeScaling::Llama3 { factor, low, high, original_context }) => {
            let values = llama3_factors(model, (*factor, *low, *high), *original_context);
            Ok(vec![Extra { name: "rope_freqs.weight", values }])
        }
        (Family::Phi3 { original_context, .. }, RopeScaling::LongRope { long, short }) => {
            long_rope(keys, model, *original_context, (long, short))
        }
        _ => Ok(Vec::new()),
    }
}

/// Divisors of the rotary frequencies for Llama 3.1 and later (its `rope_scaling`): long waves are stretched by the whole
/// factor, short ones not at all, those between in part. Single precision throughout, as the reference computes it.
fn llama3_factors(model: &Hyperparameters, (factor, low, high): (f64, f64, f64), original_context: u64) -> Vec<f32> {
    let length = model.head_length();
    let context = original_context as f64;
    let (low_wave, high_wave) = (context / low, context / high);
    let one = |index: u64| {
        let exponent = (2 * index) as f32 / length as f32;
        let frequency = 1.0 / (model.rope_theta.powf(f64::from(exponent)) as f32);
        let wave = (2.0 * std::f64::consts::PI) as f32 / frequency;
        if wave < high_wave as f32 {
            return 1.0;
        }
        if wave > low_wave as f32 {
            return factor as f32;
        }
        let smooth = (context as f32 / wave - low as f32) / (high - low) as f32;
        1.0 / ((1.0 - smooth) / factor as f32 + smooth)
    };
    (0..length.div_ceil(2)).map(one).collect()
}

/// The two sets of factors of LongRoPE and the scale of attention that goes with them (arXiv:2402.13753, section 3.3).
fn long_rope(
    keys: &mut Keys,
    model: &Hyperparameters,
    original_context: u64,
    (long, short): (&[f64], &[f64]),
) -> Result<Vec<Extra>, ConvertError> {
    let expected = rotary_dimensions(model) / 2;
    for (name, factors) in [("long_factor", long), ("short_factor", short)] {
        if factors.len() as u64 != expected {
            let reason = format!("`rope_scaling.{name}` has {} entries, expected {expected}", factors.len());
            return Err(ConvertError::invalid(&model.path, reason));
        }
    }
    let (context, original) = (model.context_length as f64, original_context as f64);
    let scale = context / original;
    let attention = if scale > 1.0 { (1.0 + scale.ln() / original.ln()).sqrt() } else { 1.0 };
    keys.float(format!("{}.rope.scaling.attn_factor", model.architecture), attention);
    let single = |factors: &[f64]| factors.iter().map(|factor| *factor as f32).collect();
    Ok(vec![
        Extra { name: "rope_factors_long.weight", values: single(long) },
        Extra { name: "rope_factors_short.weight", values: single(short) },
    ])
}
