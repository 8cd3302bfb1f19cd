//! Metadata as it grows: the reference's writer keeps a key's first place when it is set again, and drops what is empty.

use gguf::{Array, Value};

/// Keys and values in the order they will be written.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: Vec<(String, Value)>,
}

impl Keys {
    /// Sets a key.
    pub(crate) fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let is_empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(array) => array.is_empty(),
            _ => false,
        };
        if is_empty {
            return;
        }
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Sets a key to a count. Counts were bounded far below 32 bits when they were read.
    pub(crate) fn count(&mut self, key: impl Into<String>, value: u64) {
        self.set(key, u32::try_from(value).unwrap_or(u32::MAX));
    }

    /// Sets a key to a number of single precision.
    pub(crate) fn float(&mut self, key: impl Into<String>, value: f64) {
        self.set(key, value as f32);
    }

    /// Sets a key to a list of texts.
    pub(crate) fn texts<S: AsRef<[u8]>>(&mut self, key: impl Into<String>, values: impl IntoIterator<Item = S>) {
        self.set(key, Array::String(values.into_iter().collect()));
    }

    pub(crate) fn into_entries(self) -> Vec<(String, Value)> {
        self.entries
    }
}
