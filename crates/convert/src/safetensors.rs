//! The safetensors header: checked as a whole before a weight is read. [`Header::parse`] is pure; [`Shard::open`] reads a file.
//!
//! Nothing is allocated that the bytes given do not justify. What is refused: headers above [`MAX_HEADER_BYTES`], more than
//! [`MAX_TENSORS`], duplicate names, unknown and sub-byte types, sizes that do not fit shape and type, data that overlaps,
//! leaves holes or does not end with the file, metadata that is not text. What weights mean is the caller's matter.

mod parse;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::ConvertError;

/// Greatest header. The largest published (experts stored one by one) takes 4 MB; parsing costs at most some three times
/// as much, which is to stay below 64 MiB.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Most tensors of a file, as in a GGUF file of experts stored one by one.
pub const MAX_TENSORS: usize = 1 << 16;

/// Longest tensor name; GGUF allows no longer one.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Most dimensions. Convolutions have up to five.
pub const MAX_DIMENSIONS: usize = 8;

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum ElementType {
    Bool,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl ElementType {
    const TABLE: [(&'static str, ElementType, u64); 15] = [
        ("BOOL", ElementType::Bool, 1),
        ("U8", ElementType::U8, 1),
        ("I8", ElementType::I8, 1),
        ("F8_E5M2", ElementType::F8E5M2, 1),
        ("F8_E4M3", ElementType::F8E4M3, 1),
        ("I16", ElementType::I16, 2),
        ("U16", ElementType::U16, 2),
        ("F16", ElementType::F16, 2),
        ("BF16", ElementType::BF16, 2),
        ("I32", ElementType::I32, 4),
        ("U32", ElementType::U32, 4),
        ("F32", ElementType::F32, 4),
        ("F64", ElementType::F64, 8),
        ("I64", ElementType::I64, 8),
        ("U64", ElementType::U64, 8),
    ];

    fn row(self) -> &'static (&'static str, ElementType, u64) {
        // Every variant has a row: the test below walks them all.
        Self::TABLE.iter().find(|(_, element_type, _)| *element_type == self).unwrap_or(&Self::TABLE[0])
    }

    /// The name in a header.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bytes of an element.
    #[must_use]
    pub fn size_bytes(self) -> u64 {
        self.row().2
    }
}

/// A tensor of a header. Its data is known to lie inside the file and to have the size that shape and type imply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// How elements are stored.
    pub element_type: ElementType,
    /// Dimensions, slowest first; empty for a single number. A dimension may be zero.
    pub shape: Vec<u64>,
    /// Where the data starts, in bytes from the start of the file.
    pub offset: u64,
    /// Size of the data.
    pub size_bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.size_bytes / self.element_type.size_bytes()
    }
}

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct HeaderError {
    /// What was being read.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Tensors by name, ascending by code point.
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data starts.
    pub data_offset: u64,
}

impl Header {
    /// The length of a header from the first eight bytes of a file of `file_len` bytes, checked against both limits.
    ///
    /// # Errors
    /// It is too large, or reaches past the end.
    pub fn length(first: [u8; 8], file_len: u64) -> Result<u64, HeaderError> {
        let length = u64::from_le_bytes(first);
        let refuse = |reason: String| HeaderError { field: "header length".to_owned(), reason };
        if length > MAX_HEADER_BYTES {
            return Err(refuse(format!("{length} bytes; the limit is {MAX_HEADER_BYTES}")));
        }
        if length.checked_add(8).is_none_or(|end| end > file_len) {
            return Err(refuse(format!("{length} bytes, but the file has {file_len}")));
        }
        Ok(length)
    }

    /// Parses the first bytes of a file of `file_len` bytes; `bytes` must hold the whole header.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Header, HeaderError> {
        parse::header(bytes, file_len)
    }

    /// The tensor with this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let position = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        self.tensors.get(position)
    }
}

/// An open file with its checked header.
#[derive(Debug)]
pub struct Shard {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub header: Header,
    /// Read by position, never mapped: a file that is cut short meanwhile must be an error, not the end of the process.
    pub file: File,
    /// Length when it was opened.
    pub file_len: u64,
}

impl Shard {
    /// Opens `path` and checks its header. Data is not touched.
    ///
    /// # Errors
    /// The file cannot be read or its header is refused.
    pub fn open(path: &Path) -> Result<Shard, ConvertError> {
        let metadata = std::fs::metadata(path).map_err(ConvertError::io("open", path))?;
        if !metadata.is_file() {
            return Err(ConvertError::invalid(path, "not a regular file"));
        }
        let file = File::open(path).map_err(ConvertError::io("open", path))?;
        let file_len = file.metadata().map_err(ConvertError::io("measure", path))?.len();
        let refused =
            |error: HeaderError| ConvertError::invalid(path, format!("not a usable safetensors file: {error}"));
        if file_len < 8 {
            return Err(ConvertError::invalid(path, format!("not a safetensors file: it has {file_len} bytes")));
        }
        let mut first = [0; 8];
        file.read_exact_at(&mut first, 0).map_err(ConvertError::io("read", path))?;
        let length = Header::length(first, file_len).map_err(refused)?;
        // At most MAX_HEADER_BYTES, and no more than the file has.
        let mut bytes = vec![0; length as usize + 8];
        file.read_exact_at(&mut bytes, 0).map_err(ConvertError::io("read", path))?;
        let header = Header::parse(&bytes, file_len).map_err(refused)?;
        Ok(Shard { path: path.to_owned(), header, file, file_len })
    }
}

#[cfg(test)]
mod tests {
    use super::ElementType;

    #[test]
    fn every_type_has_its_own_row() {
        for (name, element_type, size_bytes) in ElementType::TABLE {
            assert_eq!((element_type.name(), element_type.size_bytes()), (name, size_bytes));
        }
    }
}
