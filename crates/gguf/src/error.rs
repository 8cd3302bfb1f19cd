//! Why a header was refused: which field, at which byte, for what reason.

use crate::limits;

/// A header that is not acceptable. The text names the field and the byte of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {kind}")]
pub struct ParseError {
    /// What was being read, as `metadata key `general.name`` or `tensor `blk.0.ffn_up.weight``.
    pub field: String,
    /// Where in the file the field starts.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

impl ParseError {
    /// How many bytes from the start of the file a next attempt needs at least, if the only fault is that too few were given.
    pub fn needed_bytes(&self) -> Option<u64> {
        match self.kind {
            ParseErrorKind::Truncated { needed } => Some(needed),
            _ => None,
        }
    }
}

/// The reasons for which a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it means")]
pub enum ParseErrorKind {
    /// Not a fault of the file: the bytes given are a prefix of it and stop short.
    #[error("the header goes on past the bytes given; at least {needed} are needed")]
    Truncated { needed: u64 },
    #[error("reaches to byte {end}, but the file has {file_len}")]
    PastEnd { end: u64, file_len: u64 },
    #[error("reaches to byte {end}; a header may take {} bytes", limits::MAX_HEADER_BYTES)]
    HeaderTooLarge { end: u64 },
    #[error("not a GGUF file: it starts with {}", describe_magic(*found))]
    BadMagic { found: [u8; 4] },
    #[error("a big-endian GGUF file; only little-endian ones are supported")]
    BigEndian,
    #[error("version {version} is not supported{}; versions 2 and 3 are", describe_version(*version))]
    UnsupportedVersion { version: u32 },
    #[error("a count of {count}; the limit is {limit}")]
    TooMany { count: u64, limit: u64 },
    #[error("a count of {count} does not fit into the {remaining} bytes that are left")]
    CountPastEnd { count: u64, remaining: u64 },
    #[error("{length} bytes long; the limit is {limit}")]
    TooLong { length: u64, limit: u64 },
    #[error("is empty")]
    Empty,
    #[error("is not valid UTF-8")]
    InvalidUtf8,
    #[error("value type {id} does not exist")]
    UnknownValueType { id: u32 },
    #[error("a bool must be 0 or 1, not {found}")]
    InvalidBool { found: u8 },
    #[error("arrays nested deeper than {limit}")]
    NestingTooDeep { limit: u32 },
    #[error("occurs twice, first at byte {first}")]
    Duplicate { first: u64 },
    #[error("must be a power of two from {} to {}, not {found}", limits::MIN_ALIGNMENT, limits::MAX_ALIGNMENT)]
    BadAlignment { found: String },
    #[error("{count} dimensions; 1 to {} are possible", limits::MAX_DIMENSIONS)]
    DimensionCount { count: u32 },
    #[error("dimension {index} is zero")]
    ZeroDimension { index: usize },
    #[error("its number of elements or bytes does not fit into 64 bits")]
    SizeOverflow,
    #[error("rows of {elements} elements are not whole blocks of {tensor_type} ({block_elements} elements)")]
    PartialBlock { elements: u64, block_elements: u64, tensor_type: String },
    #[error("its data offset {found} is not a multiple of the alignment {alignment}")]
    Misaligned { found: u64, alignment: u64 },
    #[error("its data ends at byte {end}, but the file has {file_len}")]
    DataPastEnd { end: u128, file_len: u64 },
    #[error("its data overlaps that of tensor `{other}`")]
    Overlap { other: String },
}

fn describe_magic(found: [u8; 4]) -> String {
    let text = found.escape_ascii();
    match &found {
        // The magics of the formats before GGUF were written as little-endian numbers, so they read backwards.
        b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
            format!("`{text}`, the mark of a GGML file from before GGUF")
        }
        b"PK\x03\x04" => format!("`{text}`, the mark of a zip archive"),
        _ => format!("`{text}`"),
    }
}

fn describe_version(version: u32) -> &'static str {
    // Its counts and lengths are 32 bits wide; it was current for some weeks of 2023.
    if version == 1 { " (withdrawn in 2023)" } else { "" }
}
