//! Writes GGUF files field by field, right or wrong as a test wants them. The crate's own writer refuses to.

/// A file in the making: fields are appended exactly as asked.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

/// Ids of value types in a file.
pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

impl Raw {
    /// Magic, version and the two counts.
    pub fn start(version: u32, tensors: u64, entries: u64) -> Raw {
        Raw::default().bytes(b"GGUF").u32(version).u64(tensors).u64(entries)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u32(self, value: u32) -> Raw {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Raw {
        self.bytes(&value.to_le_bytes())
    }

    pub fn string(self, text: &[u8]) -> Raw {
        self.u64(text.len() as u64).bytes(text)
    }

    /// A key and the type of its value; the value is to follow.
    pub fn key(self, key: &str, value_type: u32) -> Raw {
        self.string(key.as_bytes()).u32(value_type)
    }

    pub fn key_u32(self, key: &str, value: u32) -> Raw {
        self.key(key, U32).u32(value)
    }

    /// Element type and length of an array; the elements are to follow.
    pub fn array(self, element_type: u32, length: u64) -> Raw {
        self.u32(element_type).u64(length)
    }

    /// A whole tensor entry.
    pub fn tensor(self, name: &str, shape: &[u64], (ggml_type, offset): (u32, u64)) -> Raw {
        let mut raw = self.string(name.as_bytes()).u32(shape.len() as u32);
        for dimension in shape {
            raw = raw.u64(*dimension);
        }
        raw.u32(ggml_type).u64(offset)
    }

    /// Zeros up to a multiple of `alignment`, then `data` more of them.
    pub fn data(mut self, alignment: usize, data: usize) -> Raw {
        let start = self.0.len().next_multiple_of(alignment);
        self.0.resize(start + data, 0);
        self
    }
}
