//! How weights are stored: every encoding this crate reads or writes, from f32 and back. Pure; rows in, bytes out.
//!
//! The block layouts are ggml's (`ggml-common.h`), and so is the choice of every scale: encoding a row gives the bytes
//! that the reference quantizer gives. Which tensor gets which encoding is decided in `quantize::types`.

mod decode;
mod k_blocks;
mod search;
mod simple;

use gguf::TensorType;

/// An encoding that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are ggml's own names")]
pub enum Encoding {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 11] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::BF16,
        Encoding::Q4_0,
        Encoding::Q4_1,
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::Q8_0,
        Encoding::Q4K,
        Encoding::Q5K,
        Encoding::Q6K,
    ];

    /// The encoding of a file's tensor type; `None` for types that are not computed with here.
    #[must_use]
    pub fn of(tensor_type: TensorType) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.tensor_type() == tensor_type)
    }

    /// The type in a file.
    #[must_use]
    pub fn tensor_type(self) -> TensorType {
        match self {
            Encoding::F32 => TensorType::F32,
            Encoding::F16 => TensorType::F16,
            Encoding::BF16 => TensorType::BF16,
            Encoding::Q4_0 => TensorType::Q4_0,
            Encoding::Q4_1 => TensorType::Q4_1,
            Encoding::Q5_0 => TensorType::Q5_0,
            Encoding::Q5_1 => TensorType::Q5_1,
            Encoding::Q8_0 => TensorType::Q8_0,
            Encoding::Q4K => TensorType::Q4K,
            Encoding::Q5K => TensorType::Q5K,
            Encoding::Q6K => TensorType::Q6K,
        }
    }

    /// Elements of a block, 1 for plain numbers.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Encoding::F32 | Encoding::F16 | Encoding::BF16 => 1,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q8_0 => 32,
            Encoding::Q4K | Encoding::Q5K | Encoding::Q6K => 256,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::BF16 => 2,
            Encoding::Q4_0 => 18,
            Encoding::Q4_1 => 20,
            Encoding::Q5_0 => 22,
            Encoding::Q5_1 => 24,
            Encoding::Q8_0 => 34,
            Encoding::Q4K => 144,
            Encoding::Q5K => 176,
            Encoding::Q6K => 210,
        }
    }

    /// Whether weights lose more than the rounding of a shorter float.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        self.block_elements() > 1
    }

    /// Bytes of `elements`, which must be whole blocks.
    #[must_use]
    pub const fn bytes_of(self, elements: usize) -> usize {
        elements / self.block_elements() * self.block_bytes()
    }

    /// Encodes `values`, whole blocks of finite numbers, into `out` of [`Encoding::bytes_of`] bytes.
    ///
    /// # Panics
    /// The lengths do not fit each other: a mistake of the caller, never of a file.
    pub fn encode(self, values: &[f32], out: &mut [u8]) {
        assert_eq!(values.len() % self.block_elements(), 0, "whole blocks");
        assert_eq!(out.len(), self.bytes_of(values.len()), "room for what is encoded");
        match self {
            Encoding::F32 => simple::encode_f32(values, out),
            Encoding::F16 => simple::encode_f16(values, out),
            Encoding::BF16 => simple::encode_bf16(values, out),
            Encoding::Q4_0 => simple::encode_q4_0(values, out),
            Encoding::Q4_1 => simple::encode_q4_1(values, out),
            Encoding::Q5_0 => simple::encode_q5_0(values, out),
            Encoding::Q5_1 => simple::encode_q5_1(values, out),
            Encoding::Q8_0 => simple::encode_q8_0(values, out),
            Encoding::Q4K => k_blocks::encode_q4_k(values, out),
            Encoding::Q5K => k_blocks::encode_q5_k(values, out),
            Encoding::Q6K => k_blocks::encode_q6_k(values, out),
        }
    }

    /// Decodes whole blocks into `out`.
    ///
    /// # Panics
    /// As [`Encoding::encode`].
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(out.len() % self.block_elements(), 0, "whole blocks");
        assert_eq!(bytes.len(), self.bytes_of(out.len()), "the bytes of what is decoded");
        match self {
            Encoding::F32 => decode::f32(bytes, out),
            Encoding::F16 => decode::f16(bytes, out),
            Encoding::BF16 => decode::bf16(bytes, out),
            Encoding::Q4_0 => decode::q4_0(bytes, out),
            Encoding::Q4_1 => decode::q4_1(bytes, out),
            Encoding::Q5_0 => decode::q5_0(bytes, out),
            Encoding::Q5_1 => decode::q5_1(bytes, out),
            Encoding::Q8_0 => decode::q8_0(bytes, out),
            Encoding::Q4K => decode::q4_k(bytes, out),
            Encoding::Q5K => decode::q5_k(bytes, out),
            Encoding::Q6K => decode::q6_k(bytes, out),
        }
    }

    /// Whether every scale of encoded blocks is a number: half precision ends at 65,504.
    #[must_use]
    pub fn scales_are_finite(self, bytes: &[u8]) -> bool {
        let scales: &[usize] = match self {
            Encoding::F32 | Encoding::F16 | Encoding::BF16 => return true,
            Encoding::Q4_0 | Encoding::Q5_0 | Encoding::Q8_0 => &[0],
            Encoding::Q4_1 | Encoding::Q5_1 | Encoding::Q4K | Encoding::Q5K => &[0, 2],
            Encoding::Q6K => &[208],
        };
        let is_finite = |block: &[u8], at: usize| block[at + 1] & 0x7c != 0x7c;
        bytes.chunks_exact(self.block_bytes()).all(|block| scales.iter().all(|at| is_finite(block, *at)))
    }

    /// How far a decoded weight may be from what was encoded, as a share of the largest magnitude in its block: the
    /// coarsest step of the encoding, with room for the rounding of its scales. Far above what a sound file shows, far
    /// below what a misplaced row shows.
    #[must_use]
    pub const fn tolerance(self) -> f32 {
        match self {
            Encoding::F32 => 0.0,
            Encoding::F16 => 1.0 / 1024.0,
            Encoding::BF16 => 1.0 / 128.0,
            Encoding::Q8_0 => 1.0 / 100.0,
            Encoding::Q6K => 1.0 / 12.0,
            Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q5K => 1.0 / 8.0,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q4K => 1.0 / 4.0,
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.tensor_type().name())
    }
}
