//! Reading little-endian fields out of a slice that may be only the beginning of a file. Every read names its field.

use std::fmt;

use crate::error::{ParseError, ParseErrorKind};
use crate::limits;

/// What is being read. Rendered only when it fails, so that naming fields costs nothing on the good road.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    Magic,
    Version,
    TensorCount,
    MetadataCount,
    /// The key of the metadata entry with this index.
    Key(u64),
    /// The value of a metadata key, or its type.
    Value(&'a str),
    /// One element of the array under a metadata key.
    Element(&'a str, u64),
    /// The name of the tensor with this index.
    TensorName(u64),
    /// A part of a named tensor's entry.
    Tensor(&'a str),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Magic => f.write_str("magic"),
            Field::Version => f.write_str("version"),
            Field::TensorCount => f.write_str("tensor count"),
            Field::MetadataCount => f.write_str("metadata count"),
            Field::Key(index) => write!(f, "key of metadata entry {index}"),
            Field::Value(key) => write!(f, "metadata key `{}`", shown(key)),
            Field::Element(key, index) => {
                write!(f, "metadata key `{}`, element {index}", shown(key))
            }
            Field::TensorName(index) => write!(f, "name of tensor {index}"),
            Field::Tensor(name) => write!(f, "tensor `{}`", shown(name)),
        }
    }
}

/// A name as an error shows it: control characters escaped, and cut, because a hostile name may be 64 KiB long.
fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 128;
    let mut text: String = name
        .chars()
        .take(SHOWN_CHARS)
        .flat_map(|c| {
            let escaped = c.is_control();
            let plain = (!escaped).then_some(c);
            plain.into_iter().chain(escaped.then(|| c.escape_default()).into_iter().flatten())
        })
        .collect();
    if name.chars().nth(SHOWN_CHARS).is_some() {
        text.push('…');
    }
    text
}

/// A position in the bytes given, which are the first of a file of `file_len`.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    file_len: u64,
    position: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], file_len: u64) -> Cursor<'a> {
        Cursor { bytes, file_len, position: 0 }
    }

    /// Where the next field starts, in bytes from the start of the file.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What is left of the file, whether given or not.
    fn remaining(&self) -> u64 {
        self.file_len.saturating_sub(self.position)
    }

    pub(crate) fn take(&mut self, count: u64, field: Field<'_>) -> Result<&'a [u8], ParseError> {
        let start = self.position;
        let end = start.saturating_add(count);
        if count > self.remaining() {
            let file_len = self.file_len;
            return Err(fail(field, start, ParseErrorKind::PastEnd { end, file_len }));
        }
        if end > limits::MAX_HEADER_BYTES {
            return Err(fail(field, start, ParseErrorKind::HeaderTooLarge { end }));
        }
        // `end` is at most MAX_HEADER_BYTES here, so it fits into usize on every machine.
        match self.bytes.get(start as usize..end as usize) {
            Some(bytes) => {
                self.position = end;
                Ok(bytes)
            }
            None => Err(fail(field, start, ParseErrorKind::Truncated { needed: end })),
        }
    }

    /// The next `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], ParseError> {
        let bytes = self.take(N as u64, field)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    pub(crate) fn magic(&mut self) -> Result<[u8; 4], ParseError> {
        self.bytes(Field::Magic)
    }

    pub(crate) fn u32(&mut self, field: Field<'_>) -> Result<u32, ParseError> {
        self.bytes(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: Field<'_>) -> Result<u64, ParseError> {
        self.bytes(field).map(u64::from_le_bytes)
    }

    /// A number of items of at least `item_bytes` each: refused if the rest of the file cannot hold them.
    pub(crate) fn count(&mut self, item_bytes: u64, field: Field<'_>) -> Result<u64, ParseError> {
        let start = self.position;
        let count = self.u64(field)?;
        let remaining = self.remaining();
        match count.checked_mul(item_bytes) {
            Some(bytes) if bytes <= remaining => Ok(count),
            _ => Err(fail(field, start, ParseErrorKind::CountPastEnd { count, remaining })),
        }
    }

    /// A string as bytes: its length (u64) and its content.
    pub(crate) fn string_bytes(&mut self, field: Field<'_>) -> Result<&'a [u8], ParseError> {
        let length = self.count(1, field)?;
        self.take(length, field)
    }

    /// A string that must be UTF-8.
    pub(crate) fn string(&mut self, field: Field<'_>) -> Result<&'a str, ParseError> {
        let start = self.position;
        std::str::from_utf8(self.string_bytes(field)?).map_err(|_| fail(field, start, ParseErrorKind::InvalidUtf8))
    }

    /// A name: UTF-8, not empty, at most `limit` bytes.
    pub(crate) fn name(&mut self, limit: u64, field: Field<'_>) -> Result<&'a str, ParseError> {
        let start = self.position;
        let length = self.count(1, field)?;
        if length > limit {
            return Err(fail(field, start, ParseErrorKind::TooLong { length, limit }));
        }
        if length == 0 {
            return Err(fail(field, start, ParseErrorKind::Empty));
        }
        std::str::from_utf8(self.take(length, field)?).map_err(|_| fail(field, start, ParseErrorKind::InvalidUtf8))
    }
}

pub(crate) fn fail(field: Field<'_>, offset: u64, kind: ParseErrorKind) -> ParseError {
    ParseError { field: field.to_string(), offset, kind }
}
