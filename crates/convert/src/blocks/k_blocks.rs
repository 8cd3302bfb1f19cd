//! The K encodings: blocks of 256 whose groups have scales of their own, which are quantized once more.

use half::f16;

use super::search::{Candidates, GROUP_EPSILON, nearest, scale, scale_and_min};

/// Elements of a block.
const BLOCK: usize = 256;
/// Groups of a block that have scale and offset.
const GROUPS: usize = 8;
/// Elements of such a group.
const GROUP: usize = 32;

const Q4_K: Candidates = Candidates { most: 15.0, first: -1.0, step: 0.1, last: 20 };
const Q5_K: Candidates = Candidates { most: 31.0, first: -0.5, step: 0.1, last: 15 };

/// A block with scale and offset a group, before its levels are packed.
struct Offset {
    /// f16 bits of the step of the scales and of the step of the offsets.
    steps: [u8; 4],
    /// Eight scales and eight offsets of 6 bits.
    scales: [u8; 12],
    levels: [u8; BLOCK],
}

pub(super) fn encode_q4_k(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(144)) {
        let encoded = offset_block(block, Q4_K);
        out[..4].copy_from_slice(&encoded.steps);
        out[4..16].copy_from_slice(&encoded.scales);
        for (levels, out) in encoded.levels.chunks_exact(64).zip(out[16..].chunks_exact_mut(32)) {
            let (low, high) = levels.split_at(32);
            for ((byte, low), high) in out.iter_mut().zip(low).zip(high) {
                *byte = low | high << 4;
            }
        }
    }
}

pub(super) fn encode_q5_k(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(176)) {
        let encoded = offset_block(block, Q5_K);
        out[..4].copy_from_slice(&encoded.steps);
        out[4..16].copy_from_slice(&encoded.scales);
        let (fifth, nibbles) = out[16..].split_at_mut(32);
        fifth.fill(0);
        for (pair, (levels, out)) in encoded.levels.chunks_exact(64).zip(nibbles.chunks_exact_mut(32)).enumerate() {
            let (low, high) = levels.split_at(32);
            for (((byte, fifth), low), high) in out.iter_mut().zip(fifth.iter_mut()).zip(low).zip(high) {
                *byte = low & 0x0f | high << 4;
                *fifth |= (low >> 4) << (2 * pair) | (high >> 4) << (2 * pair + 1);
            }
        }
    }
}

fn offset_block(block: &[f32], candidates: Candidates) -> Offset {
    let mut values = [[0.0_f32; GROUPS]; GROUP];
    let mut weights = [[0.0_f32; GROUPS]; GROUP];
    for (group, elements) in block.chunks_exact(GROUP).enumerate() {
        let squares = elements.iter().fold(0.0_f32, |sum, value| sum + value * value);
        let average = (squares / GROUP as f32).sqrt();
        for (index, &value) in elements.iter().enumerate() {
            values[index][group] = value;
            weights[index][group] = average + value.abs();
        }
    }
    let found = scale_and_min(&values, &weights, candidates);
    let greatest =
        |lanes: &[f32; GROUPS]| lanes.iter().fold(0.0_f32, |most, &lane| if lane > most { lane } else { most });
    let (largest_scale, largest_min) = (greatest(&found.scales), greatest(&found.mins));
    let inverse = |largest: f32| if largest > 0.0 { 63.0 / largest } else { 0.0 };
    // The reference takes the low eight bits before it limits to six.
    let six_bits = |inverse: f32, lane: f32| (nearest(inverse * lane) as u8).min(63);
    let scales = found.scales.map(|lane| six_bits(inverse(largest_scale), lane));
    let mins = found.mins.map(|lane| six_bits(inverse(largest_min), lane));
    let (scale_step, min_step) = (f16::from_f32(largest_scale / 63.0), f16::from_f32(largest_min / 63.0));
    let mut encoded = Offset { steps: [0; 4], scales: pack_six_bits(&scales, &mins), levels: [0; BLOCK] };
    encoded.steps[..2].copy_from_slice(&scale_step.to_le_bytes());
    encoded.steps[2..].copy_from_slice(&min_step.to_le_bytes());
    for (group, (levels, elements)) in encoded.levels.chunks_exact_mut(GROUP).zip(block.chunks_exact(GROUP)).enumerate()
    {
        let step = scale_step.to_f32() * f32::from(scales[group]);
        if step == 0.0 {
            for (level, found) in levels.iter_mut().zip(&found.levels) {
                *level = found[group];
            }
            continue;
        }
        let offset = min_step.to_f32() * f32::from(mins[group]);
        for (level, value) in levels.iter_mut().zip(elements) {
            *level = nearest((value + offset) / step).clamp(0, candidates.most as i32) as u8;
        }
    }
    encoded
}

/// Eight scales and eight offsets of 6 bits in 12 bytes: four of each whole, the others by nibbles whose upper two bits are
/// in the first eight bytes.
fn pack_six_bits(scales: &[u8; GROUPS], mins: &[u8; GROUPS]) -> [u8; 12] {
    let mut packed = [0_u8; 12];
    for group in 0..4 {
        packed[group] = scales[group] | scales[group + 4] >> 4 << 6;
        packed[group + 4] = mins[group] | mins[group + 4] >> 4 << 6;
        packed[group + 8] = scales[group + 4] & 0x0f | mins[group + 4] << 4;
    }
    packed
}

pub(super) fn encode_q6_k(values: &[f32], out: &mut [u8]) {
    for (block, out) in values.chunks_exact(BLOCK).zip(out.chunks_exact_mut(210)) {
        q6_k_block(block, out);
    }
}

fn q6_k_block(block: &[f32], out: &mut [u8]) {
    const GROUPS: usize = 16;
    const GROUP: usize = 16;
    let mut values = [[0.0_f32; GROUPS]; GROUP];
    for (group, elements) in block.chunks_exact(GROUP).enumerate() {
        for (index, &value) in elements.iter().enumerate() {
            values[index][group] = value;
        }
    }
    let found = scale(&values, 32);
    let mut largest = 0.0_f32;
    let mut extreme = 0.0_f32;
    for &lane in &found.scales {
        if lane.abs() > largest {
            largest = lane.abs();
            extreme = lane;
        }
    }
    if largest < GROUP_EPSILON {
        out.fill(0);
        return;
    }
    let inverse = -128.0 / extreme;
    let step = f16::from_f32(1.0 / inverse);
    let scales = found.scales.map(|lane| nearest(inverse * lane).min(127) as i8);
    let mut levels = [0_u8; BLOCK];
    for (group, (levels, elements)) in levels.chunks_exact_mut(GROUP).zip(block.chunks_exact(GROUP)).enumerate() {
        let step = step.to_f32() * f32::from(scales[group]);
        for (index, (level, value)) in levels.iter_mut().zip(elements).enumerate() {
            *level = if step == 0.0 {
                found.levels[index][group]
            } else {
                (nearest(value / step).clamp(-32, 31) + 32) as u8
            };
        }
    }
    let (low, rest) = out.split_at_mut(128);
    let (high, rest) = rest.split_at_mut(64);
    for ((levels, low), high) in levels.chunks_exact(128).zip(low.chunks_exact_mut(64)).zip(high.chunks_exact_mut(32)) {
        for index in 0..32 {
            let [a, b, c, d] = [0, 32, 64, 96].map(|offset| levels[index + offset]);
            low[index] = a & 0x0f | c << 4;
            low[index + 32] = b & 0x0f | d << 4;
            high[index] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
    for (byte, scale) in rest.iter_mut().zip(scales) {
        *byte = scale.cast_unsigned();
    }
    rest[16..18].copy_from_slice(&step.to_le_bytes());
}
