//! Limits a file must keep, each with its reason. They bound what a hostile file can cost; the parser checks them before it allocates.

/// The four bytes a file starts with.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The version [`crate::Writer`] writes.
pub const VERSION: u32 = 3;

/// Alignment of tensor data where `general.alignment` is absent (GGUF specification).
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// Least alignment: the specification asks for a multiple of 8, and elements of up to 8 bytes are read in place.
pub const MIN_ALIGNMENT: u64 = 8;

/// Greatest alignment: beyond any page size in use, so more can only be damage.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

/// Greatest header (everything before the tensor data). The largest known, a vocabulary of 262 k tokens with its merges, takes
/// 16 MB. Parsing costs at most twice the header (its mapped pages and the copies), which is to stay below 64 MiB.
pub const MAX_HEADER_BYTES: u64 = 24 << 20;

/// Most metadata entries. Real files have fewer than 100.
pub const MAX_METADATA_ENTRIES: u64 = 1 << 16;

/// Most tensors. A mixture of experts stored expert by expert comes to about 50,000.
pub const MAX_TENSORS: u64 = 1 << 17;

/// Longest key (GGUF specification: 2^16 - 1 bytes).
pub const MAX_KEY_BYTES: u64 = 65_535;

/// Longest tensor name. The specification says 64; image models in circulation go to 127.
pub const MAX_TENSOR_NAME_BYTES: u64 = 1_024;

/// Most dimensions of a tensor (ggml's own limit).
pub const MAX_DIMENSIONS: u32 = 4;

/// Deepest array: an array of plain values has depth 1. No file in circulation goes beyond 2.
pub const MAX_ARRAY_DEPTH: u32 = 8;

/// Most arrays inside arrays, over the whole file: an empty one takes 12 bytes of file and several times that in memory.
pub const MAX_NESTED_ARRAYS: u64 = 1 << 16;

/// Rounds `value` up to a multiple of `alignment` (a power of two); `None` if that leaves u64.
pub fn round_up(value: u64, alignment: u64) -> Option<u64> {
    value.checked_next_multiple_of(alignment)
}
