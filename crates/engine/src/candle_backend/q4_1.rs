//! Dot product of Q4_1 rows: 32 weights a block, w = scale · q + minimum with q in 0..16.
//!
//! candle 0.11.1 has no vector code for this type on x86, and it is the type of the default model. Activations are
//! rounded to signed bytes with an f32 scale a block, as every integer kernel does; their scaled sum carries the minimum.

use candle_core::quantized::{GgmlDType, GgmlType};
use half::f16;

/// Elements of a block.
const BLOCK: usize = 32;

/// A block of weights, as stored in the file.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct BlockQ4_1 {
    scale: f16,
    minimum: f16,
    /// Element i in the low half of byte i, element i + 16 in its high half.
    quants: [u8; BLOCK / 2],
}

const _: () = assert!(size_of::<BlockQ4_1>() == 20);

/// A block of activations: x ≈ scale · q.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Activations {
    scale: f32,
    /// scale · sum(q).
    scaled_sum: f32,
    quants: [i8; BLOCK],
}

impl GgmlType for BlockQ4_1 {
    const DTYPE: GgmlDType = GgmlDType::Q4_1;
    const BLCK_SIZE: usize = BLOCK;
    type VecDotType = Activations;

    fn to_float(blocks: &[Self], output: &mut [f32]) {
        for (block, output) in blocks.iter().zip(output.chunks_exact_mut(BLOCK)) {
            let (scale, minimum) = (block.scale.to_f32(), block.minimum.to_f32());
            let (low, high) = output.split_at_mut(BLOCK / 2);
            for ((&byte, low), high) in block.quants.iter().zip(low).zip(high) {
                *low = f32::from(byte & 15) * scale + minimum;
                *high = f32::from(byte >> 4) * scale + minimum;
            }
        }
    }

    fn from_float(_input: &[f32], _blocks: &mut [Self]) {
        // Weights come from files; only activations are rounded here.
        unreachable!("Q4_1 weights are never made by the engine");
    }

    fn vec_dot(n: usize, weights: &[Self], activations: &[Activations]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        if x86::is_available() {
            // SAFETY: the instructions that `dot` needs were just detected.
            return unsafe { x86::dot(weights, activations) };
        }
        Self::vec_dot_unopt(n, weights, activations)
    }

    fn vec_dot_unopt(_n: usize, weights: &[Self], activations: &[Activations]) -> f32 {
        let of_block = |(weights, activations): (&Self, &Activations)| {
            let (low, high) = activations.quants.split_at(BLOCK / 2);
            let pairs = weights.quants.iter().zip(low.iter().zip(high));
            let sum: i32 = pairs
                .map(|(&byte, (&low, &high))| {
                    i32::from(byte & 15) * i32::from(low) + i32::from(byte >> 4) * i32::from(high)
                })
                .sum();
            weights.scale.to_f32() * activations.scale * sum as f32 + weights.minimum.to_f32() * activations.scaled_sum
        };
        weights.iter().zip(activations).map(of_block).sum()
    }
}

impl GgmlType for Activations {
    const DTYPE: GgmlDType = GgmlDType::Q8_1;
    const BLCK_SIZE: usize = BLOCK;
    type VecDotType = Activations;

    fn to_float(blocks: &[Self], output: &mut [f32]) {
        for (block, output) in blocks.iter().zip(output.chunks_exact_mut(BLOCK)) {
            for (&quant, output) in block.quants.iter().zip(output) {
                *output = f32::from(quant) * block.scale;
            }
        }
    }

    fn from_float(input: &[f32], blocks: &mut [Self]) {
        for (input, block) in input.chunks_exact(BLOCK).zip(blocks) {
            let largest = input.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = largest / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            let mut sum = 0_i32;
            for (&value, quant) in input.iter().zip(&mut block.quants) {
                // NaN and infinity saturate here; they stay visible through the scale, which becomes NaN or infinite.
                *quant = (value * inverse).round() as i8;
                sum += i32::from(*quant);
            }
            let poison = input.iter().sum::<f32>() * 0.0;
            block.scale = scale + poison;
            block.scaled_sum = block.scale * sum as f32;
        }
    }

    fn vec_dot(n: usize, left: &[Self], right: &[Self]) -> f32 {
        Self::vec_dot_unopt(n, left, right)
    }

    fn vec_dot_unopt(_n: usize, left: &[Self], right: &[Self]) -> f32 {
        let of_block = |(left, right): (&Self, &Self)| {
            let sum: i32 = left.quants.iter().zip(&right.quants).map(|(&l, &r)| i32::from(l) * i32::from(r)).sum();
            left.scale * right.scale * sum as f32
        };
        left.iter().zip(right).map(of_block).sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! AVX2 with FMA and F16C: every x86-64 processor since 2013. Detected once at run time.

    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_loadu_si128, _mm_movehdup_ps,
        _mm_movehl_ps, _mm_shuffle_ps, _mm_srli_epi16, _mm256_and_si256, _mm256_castps256_ps128, _mm256_cvtepi32_ps,
        _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
        _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    };

    use super::{Activations, BlockQ4_1};

    /// Whether [`dot`] may be called; the standard library caches the answer.
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
    }

    /// Dot product of a row of weights and a row of activations.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn dot(weights: &[BlockQ4_1], activations: &[Activations]) -> f32 {
        let mut sums = _mm256_setzero_ps();
        let mut minimums = 0.0;
        for (weights, activations) in weights.iter().zip(activations) {
            let halves = u32::from(weights.scale.to_bits()) | u32::from(weights.minimum.to_bits()) << 16;
            let halves = _mm_cvtph_ps(_mm_cvtsi32_si128(halves.cast_signed()));
            let scale = _mm_cvtss_f32(halves);
            let minimum = _mm_cvtss_f32(_mm_shuffle_ps::<1>(halves, halves));
            // SAFETY: both loads read 16 and 32 bytes of arrays of that length; neither needs alignment.
            let (packed, quants) = unsafe {
                (
                    _mm_loadu_si128(weights.quants.as_ptr().cast()),
                    _mm256_loadu_si256(activations.quants.as_ptr().cast()),
                )
            };
            let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
            let nibbles = _mm256_and_si256(both, _mm256_set1_epi8(15));
            // 15 · 127 · 2 fits 16 bits, so that the saturation of maddubs never acts.
            let products = _mm256_madd_epi16(_mm256_maddubs_epi16(nibbles, quants), _mm256_set1_epi16(1));
            sums = _mm256_fmadd_ps(_mm256_set1_ps(scale * activations.scale), _mm256_cvtepi32_ps(products), sums);
            minimums += minimum * activations.scaled_sum;
        }
        horizontal_sum(sums) + minimums
    }

    #[target_feature(enable = "avx2")]
    fn horizontal_sum(lanes: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ps(two, _mm_movehdup_ps(two)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlType;
    use half::f16;

    use super::{Activations, BLOCK, BlockQ4_1};

    /// Deterministic values in -1..1; the multiplier is Knuth's MMIX.
    fn noise(count: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn weights(blocks: usize) -> Vec<BlockQ4_1> {
        let values = noise(blocks * 18);
        let block = |values: &[f32]| BlockQ4_1 {
            scale: f16::from_f32(values[0]),
            minimum: f16::from_f32(values[1]),
            quants: std::array::from_fn(|index| (values[2 + index] * 128.0 + 128.0) as u8),
        };
        values.chunks_exact(18).map(block).collect()
    }

    fn rounded(input: &[f32]) -> Vec<Activations> {
        let zero = Activations { scale: 0.0, scaled_sum: 0.0, quants: [0; BLOCK] };
        let mut blocks = vec![zero; input.len() / BLOCK];
        Activations::from_float(input, &mut blocks);
        blocks
    }

    #[test]
    fn fast_and_plain_agree_with_the_dequantized_product() {
        for blocks in [1, 2, 7, 18, 48] {
            let weights = weights(blocks);
            let activations = rounded(&noise(blocks * BLOCK));
            let (mut left, mut right) = (vec![0.0; blocks * BLOCK], vec![0.0; blocks * BLOCK]);
            BlockQ4_1::to_float(&weights, &mut left);
            Activations::to_float(&activations, &mut right);
            let exact: f64 = left.iter().zip(&right).map(|(l, r)| f64::from(*l) * f64::from(*r)).sum();
            let n = blocks * BLOCK;
            for (name, dot) in [
                ("fast", BlockQ4_1::vec_dot(n, &weights, &activations)),
                ("plain", BlockQ4_1::vec_dot_unopt(n, &weights, &activations)),
            ] {
                let bound = 1e-4 * n as f64;
                assert!((f64::from(dot) - exact).abs() < bound, "{name}: {dot} is not {exact} with {blocks} blocks");
            }
        }
    }

    #[test]
    fn a_bad_activation_is_not_rounded_away() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut input = noise(BLOCK);
            input[3] = bad;
            let dot = BlockQ4_1::vec_dot(BLOCK, &weights(1), &rounded(&input));
            assert!(!dot.is_finite(), "{bad} gave {dot}");
        }
    }
}
