//! Where weights come from: tensors by name, mapped from a file, never copied.

use std::sync::Arc;

use gguf::{Gguf, Mapping, TensorType};

/// One tensor, as bytes that stay where the file is mapped.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// How the bytes are to be read.
    pub tensor_type: TensorType,
    map: Arc<Mapping>,
    range: std::ops::Range<usize>,
}

impl Tensor {
    /// The tensor's bytes, as stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

/// A set of tensors.
pub(crate) trait Weights {
    /// The tensor of that name, if there is one.
    fn tensor(&self, name: &str) -> Option<Tensor>;
    /// Bytes of all tensors.
    fn size_bytes(&self) -> u64;
}

impl Weights for Gguf {
    fn tensor(&self, name: &str) -> Option<Tensor> {
        let info = Gguf::tensor(self, name)?;
        let bytes = self.tensor_bytes(info);
        // The header was validated against the file's length, so that this arithmetic on a mapped range cannot wrap.
        let start = bytes.as_ptr().addr() - self.map().as_ptr().addr();
        Some(Tensor {
            name: info.name.clone(),
            tensor_type: info.ggml_type,
            map: Arc::clone(self.map()),
            range: start..start + bytes.len(),
        })
    }

    fn size_bytes(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.size_bytes).fold(0, u64::saturating_add)
    }
}
