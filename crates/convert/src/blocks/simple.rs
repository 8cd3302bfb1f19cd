//! Encoders without a search: plain numbers, and blocks of 32 with one scale. Loops over exact chunks, so that they vectorise.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Elements of a block.
const BLOCK: usize = 32;
/// Values that are converted at once where a buffer is needed in between.
const STRIDE: usize = 256;

pub(super) fn encode_f32(values: &[f32], out: &mut [u8]) {
    for (value, bytes) in values.iter().zip(out.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Round to nearest even; what is too large becomes infinite.
pub(super) fn encode_f16(values: &[f32], out: &mut [u8]) {
    let mut buffer = [f16::ZERO; STRIDE];
    for (values, out) in values.chunks(STRIDE).zip(out.chunks_mut(STRIDE * 2)) {
        let buffer = &mut buffer[..values.len()];
        buffer.convert_from_f32_slice(values);
        for (half, bytes) in buffer.iter().zip(out.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&half.to_le_bytes());
        }
    }
}

/// Round to nearest even on the bit pattern; a NaN stays one.
pub(super) fn encode_bf16(values: &[f32], out: &mut [u8]) {
    for (value, bytes) in values.iter().zip(out.chunks_exact_mut(2)) {
        let bits = value.to_bits();
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        let half = if is_nan { quiet } else { rounded };
        bytes.copy_from_slice(&(half as u16).to_le_bytes());
    }
}

fn f16_bytes(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

/// 1 / `scale`, and 0 for a block of zeros.
fn reciprocal(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The value of largest magnitude, the first of equals, with its sign.
fn extreme(block: &[f32]) -> f32 {
    let mut largest = 0.0_f32;
    let mut value = 0.0_f32;
    for &candidate in block {
        if largest < candidate.abs() {
            largest = candidate.abs();
            value = candidate;
        }
    }
    value
}

/// Least and greatest value.
fn range(block: &[f32]) -> (f32, f32) {
    let mut bounds = (f32::MAX, f32::MIN);
    for &value in block {
        bounds.0 = if value < bounds.0 { value } else { bounds.0 };
        bounds.1 = if value > bounds.1 { value } else { bounds.1 };
    }
    bounds
}

/// Two levels a byte: elements i and i + 16.
fn pack_nibbles(levels: &[u8; BLOCK], out: &mut [u8]) {
    let (low, high) = levels.split_at(BLOCK / 2);
    for ((byte, low), high) in out.iter_mut().zip(low).zip(high) {
        *byte = (low & 0x0f) | (high << 4);
    }
}

/// The fifth bits of all levels.
fn fifth_bits(levels: &[u8; BLOCK]) -> [u8; 4] {
    let bits =
        levels.iter().enumerate().fold(0_u32, |bits, (index, level)| bits | (u32::from(level >> 4) & 1) << index);
    bits.to_le_bytes()
}

/// Levels of a block around zero: the extreme value takes the level 0, which is `-half` steps.
fn signed_levels(block: &[f32], half: f32) -> (f32, [u8; BLOCK]) {
    let scale = extreme(block) / -half;
    let inverse = reciprocal(scale);
    let most = (2.0 * half - 1.0) as u8;
    let mut levels = [0_u8; BLOCK];
    for (level, &value) in levels.iter_mut().zip(block) {
        *level = ((value * inverse + (half + 0.5)) as u8).min(most);
    }
    (scale, levels)
}

/// Levels of a block from its least value upwards.
fn offset_levels(block: &[f32], steps: f32) -> (f32, f32, [u8; BLOCK]) {
    let (least, greatest) = range(block);
    let scale = (greatest - least) / steps;
    let inverse = reciprocal(scale);
    let most = steps as u8;
    let mut levels = [0_u8; BLOCK];
    for (level, &value) in levels.iter_mut().zip(block) {
        *level = (((value - least) * inverse + 0.5) as u8).min(most);
    }
    (scale, least, levels)
}

pub(super) fn encode_q4_0(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(18)) {
        let (scale, levels) = signed_levels(block, 8.0);
        out[..2].copy_from_slice(&f16_bytes(scale));
        pack_nibbles(&levels, &mut out[2..]);
    }
}

pub(super) fn encode_q4_1(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(20)) {
        let (scale, least, levels) = offset_levels(block, 15.0);
        out[..2].copy_from_slice(&f16_bytes(scale));
        out[2..4].copy_from_slice(&f16_bytes(least));
        pack_nibbles(&levels, &mut out[4..]);
    }
}

pub(super) fn encode_q5_0(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(22)) {
        let (scale, levels) = signed_levels(block, 16.0);
        out[..2].copy_from_slice(&f16_bytes(scale));
        out[2..6].copy_from_slice(&fifth_bits(&levels));
        pack_nibbles(&levels, &mut out[6..]);
    }
}

pub(super) fn encode_q5_1(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(24)) {
        let (scale, least, levels) = offset_levels(block, 31.0);
        out[..2].copy_from_slice(&f16_bytes(scale));
        out[2..4].copy_from_slice(&f16_bytes(least));
        out[4..8].copy_from_slice(&fifth_bits(&levels));
        pack_nibbles(&levels, &mut out[8..]);
    }
}

pub(super) fn encode_q8_0(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(34)) {
        let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = reciprocal(scale);
        out[..2].copy_from_slice(&f16_bytes(scale));
        for (byte, value) in out[2..].iter_mut().zip(block) {
            let scaled = value * inverse;
            // Half away from zero: truncation after the largest float below a half was added. `f32::round` says the
            // same and is a call a value where the processor has no instruction for it.
            let rounded = (scaled + 0.499_999_97_f32.copysign(scaled)) as i32;
            *byte = rounded as i8 as u8;
        }
    }
}
