//! Random weights in ggml's storage formats. For tests only: clear rather than fast.

use gguf::{TensorSpec, TensorType};

use super::vocabulary;

/// The data of a tensor, decided by `seed` and the spec alone; `None` for a type that tests have no need of.
pub(super) fn random_tensor(seed: u64, spec: &TensorSpec) -> Option<Vec<u8>> {
    let mut random = Random::new(seed, &spec.name);
    let row = spec.shape.first().copied().unwrap_or(1);
    let rows: u64 = spec.shape.iter().skip(1).product();
    let weights: Vec<f32> = (0..rows)
        .flat_map(|index| {
            let (mean, spread) = distribution(spec, index);
            let weights: Vec<f32> = (0..row).map(|_| mean + spread * random.normal()).collect();
            weights
        })
        .collect();
    Some(match spec.ggml_type {
        TensorType::F32 => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
        TensorType::F16 => weights.iter().flat_map(|w| half_bytes(*w)).collect(),
        // The upper half of an f32.
        TensorType::BF16 => weights
            .iter()
            .flat_map(|w| w.to_bits().to_be_bytes()[..2].iter().rev().copied().collect::<Vec<u8>>())
            .collect(),
        TensorType::Q8_0 => weights.chunks(32).flat_map(q8_0_block).collect(),
        TensorType::Q4_1 => weights.chunks(32).flat_map(q4_1_block).collect(),
        _ => return None,
    })
}

/// Mean and deviation of the weights in one row. What a block computes must outweigh the embedding it is added to (or each
/// token predicts itself), matrices keep activations about as large as they were, and logits spread by some 3.
fn distribution(spec: &TensorSpec, row_index: u64) -> (f32, f32) {
    const EMBEDDING_SPREAD: f32 = 0.05;
    let row = spec.shape.first().copied().unwrap_or(1);
    match spec.name.as_str() {
        "token_embd.weight" | "output.weight" if vocabulary::is_readable(row_index) => (0.0, EMBEDDING_SPREAD),
        // Short rows are never the likeliest token: greedy output is text, and ends only when it has to.
        "token_embd.weight" | "output.weight" => (0.0, EMBEDDING_SPREAD / 4.0),
        "output_norm.weight" => (8.0, 0.8),
        _ if spec.shape.len() == 1 => (1.0, 0.1),
        // Sharp attention, so that positions matter and output does not settle on one token at once.
        name if name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight") => (0.0, 2.5 / (row as f32).sqrt()),
        _ => (0.0, 1.0 / (row as f32).sqrt()),
    }
}

/// 32 weights as an f16 scale and 32 signed bytes.
fn q8_0_block(weights: &[f32]) -> Vec<u8> {
    let largest = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let scale = largest / 127.0;
    let quants = weights.iter().map(|w| quotient(*w, scale) as i8 as u8);
    half_bytes(scale).into_iter().chain(quants).collect()
}

/// 32 weights as f16 scale and minimum and 16 bytes: weight `j` in the low half of byte `j`, weight `j + 16` in the high half.
fn q4_1_block(weights: &[f32]) -> Vec<u8> {
    let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
    let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (most - least) / 15.0;
    let quant = |weight: f32| quotient(weight - least, scale).clamp(0.0, 15.0) as u8;
    let (low, high) = weights.split_at(16);
    let quants = low.iter().zip(high).map(|(low, high)| quant(*low) | (quant(*high) << 4));
    [half_bytes(scale), half_bytes(least)].into_iter().flatten().chain(quants).collect()
}

fn quotient(weight: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { (weight / scale).round() }
}

/// IEEE half precision, nearest even, for the magnitudes that occur here: what is below the normal range becomes zero.
fn half_bytes(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    // Drop 13 bits of the fraction, rounding; a carry runs into the exponent, as it should.
    let magnitude = bits & 0x7fff_ffff;
    let rounded = (magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    // Exponents are biased by 127 in f32 and by 15 in f16.
    let half = rounded.saturating_sub((127 - 15) << 10);
    let half = if half < 1 << 10 { 0 } else { half.min(0x7bff) };
    ((sign | half) as u16).to_le_bytes()
}

/// SplitMix64 (Steele et al. 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    /// A stream of its own for each name (FNV-1a).
    fn new(seed: u64, name: &str) -> Random {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Random(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// About normal, mean 0 and deviation 1, never beyond 3.5: four uniform numbers, because sums are the same on every
    /// machine and logarithms are not.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u32 = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as u32).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_nearest_even() {
        let bits = |value| u16::from_le_bytes(half_bytes(value));
        assert_eq!(bits(1.0), 0x3c00);
        assert_eq!(bits(-2.0), 0xc000);
        assert_eq!(bits(0.1), 0x2e66);
        assert_eq!(bits(65_504.0), 0x7bff);
        assert_eq!(bits(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(bits(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(bits(0.0), 0);
        assert_eq!(bits(1e-9), 0);
    }

    fn half(bytes: &[u8]) -> f32 {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        let magnitude = f32::from_bits((u32::from(bits & 0x7fff) + ((127 - 15) << 10)) << 13);
        if bits & 0x8000 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn blocks_give_the_weights_back() {
        let mut random = Random::new(1, "x");
        let weights: Vec<f32> = (0..32).map(|_| random.normal()).collect();
        let q8 = q8_0_block(&weights);
        assert_eq!(q8.len(), 34);
        let q4 = q4_1_block(&weights);
        assert_eq!(q4.len(), 20);
        for (index, weight) in weights.iter().enumerate() {
            let from_q8 = half(&q8) * f32::from(q8[2 + index] as i8);
            assert!((from_q8 - weight).abs() < 0.03, "{index}: {from_q8} for {weight}");
            let byte = q4[4 + index % 16];
            let quant = if index < 16 { byte & 15 } else { byte >> 4 };
            let from_q4 = half(&q4) * f32::from(quant) + half(&q4[2..]);
            assert!((from_q4 - weight).abs() < 0.3, "{index}: {from_q4} for {weight}");
        }
    }

    #[test]
    fn numbers_are_about_normal() {
        let mut random = Random::new(7, "blk.0.attn_q.weight");
        let numbers: Vec<f32> = (0..10_000).map(|_| random.normal()).collect();
        let mean = numbers.iter().sum::<f32>() / 10_000.0;
        let variance = numbers.iter().map(|n| n * n).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
