//! What a header says about one tensor.

use crate::tensor_type::TensorType;

/// A tensor of a file. When it comes from [`crate::Header::parse`], its data is known to lie inside the file, apart from every
/// other tensor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// Dimensions as in the file, 1 to 4, none zero: `shape[0]` is the length of a row, whose elements are contiguous.
    pub shape: Vec<u64>,
    /// How elements are stored.
    pub ggml_type: TensorType,
    /// Where the data starts, in bytes from the start of the file.
    pub offset: u64,
    /// Size of the data; 0 where the type is unknown, because then nobody knows it.
    pub size_bytes: u64,
}

impl TensorInfo {
    /// Number of elements. It cannot overflow for a tensor that was parsed; for others it saturates.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1u64, |product, dim| product.saturating_mul(*dim))
    }

    /// Elements in a row (`shape[0]`).
    pub fn row_elements(&self) -> u64 {
        self.shape.first().copied().unwrap_or(0)
    }
}
