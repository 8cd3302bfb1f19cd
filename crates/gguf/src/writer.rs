//! The streaming writer: header first, then tensor data chunk by chunk, never a tensor in memory. Same input, same bytes.
//!
//! It refuses what the reader would refuse. The order of keys (`general.architecture` first) is the caller's matter.

use std::collections::HashSet;
use std::io::{self, Write};

use crate::error::ParseErrorKind;
use crate::header::size_of;
use crate::limits;
use crate::tensor_type::TensorType;
use crate::value::{Array, Value};

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name, unique in the file.
    pub name: String,
    /// Dimensions in file order: `shape[0]` is the length of a row.
    pub shape: Vec<u64>,
    /// How elements are stored; must be a known type.
    pub ggml_type: TensorType,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum WriteError {
    #[error("failed to write")]
    Io(#[from] io::Error),
    #[error("{field}: {reason}")]
    Invalid { field: String, reason: ParseErrorKind },
    #[error("{field} is given twice")]
    Duplicate { field: String },
    #[error("tensor `{name}`: cannot write {type_name}")]
    UnknownType { name: String, type_name: String },
    #[error("tensor `{found}` was given, but `{expected}` is next")]
    OutOfOrder { found: String, expected: String },
    #[error("tensor `{name}` was given, but all tensors are written")]
    Unexpected { name: String },
    #[error("tensor `{name}` got more than its {size_bytes} bytes")]
    TooLong { name: String, size_bytes: u64 },
    #[error("tensor `{name}` got {written} of its {size_bytes} bytes")]
    TooShort { name: String, written: u64, size_bytes: u64 },
}

/// Writes one version-3 file. [`Writer::new`] writes the header; [`Writer::write_tensor`] takes the data in the order of the
/// specs; [`Writer::finish`] checks that nothing is missing. Small chunks want a `BufWriter`.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
    alignment: u64,
    /// Name and size of each tensor, in order.
    tensors: Vec<(String, u64)>,
    /// The tensor being written, and how much of it is.
    current: usize,
    written: u64,
}

/// Where everything of a file will be, and its header: for a writer that fills in tensors by position and in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// All bytes before the first tensor, padding included.
    pub header: Vec<u8>,
    /// Start and size of each tensor's data, in bytes from the start of the file, in the order of the specs.
    pub spans: Vec<(u64, u64)>,
    /// Length of the whole file, padding after the last tensor included. What no span covers is zero.
    pub file_len: u64,
}

impl Layout {
    /// Checks everything, computes the offsets and encodes the header. `general.alignment` is honoured where it is given.
    pub fn new(metadata: &[(String, Value)], tensors: &[TensorSpec]) -> Result<Layout, WriteError> {
        let alignment = check_metadata(metadata)?;
        let sizes = check_tensors(tensors)?;
        let mut header = Vec::new();
        header.extend_from_slice(&limits::MAGIC);
        header.extend_from_slice(&limits::VERSION.to_le_bytes());
        header.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            encode_string(&mut header, key.as_bytes());
            header.extend_from_slice(&value.value_type().id().to_le_bytes());
            encode_value(&mut header, value);
        }
        let mut offset = 0u64;
        let mut spans = Vec::with_capacity(tensors.len());
        for (spec, size_bytes) in tensors.iter().zip(sizes) {
            encode_string(&mut header, spec.name.as_bytes());
            header.extend_from_slice(&(spec.shape.len() as u32).to_le_bytes());
            for dimension in &spec.shape {
                header.extend_from_slice(&dimension.to_le_bytes());
            }
            header.extend_from_slice(&spec.ggml_type.id().to_le_bytes());
            header.extend_from_slice(&offset.to_le_bytes());
            spans.push((offset, size_bytes));
            offset = offset
                .checked_add(size_bytes)
                .and_then(|end| limits::round_up(end, alignment))
                .ok_or_else(|| invalid_tensor(&spec.name, ParseErrorKind::SizeOverflow))?;
        }
        let end = header.len() as u64;
        if end > limits::MAX_HEADER_BYTES {
            return Err(invalid("header", ParseErrorKind::HeaderTooLarge { end }));
        }
        let padded = end.next_multiple_of(alignment);
        header.resize(padded as usize, 0);
        let overflow = || invalid("file", ParseErrorKind::SizeOverflow);
        let file_len = offset.checked_add(padded).ok_or_else(overflow)?;
        // Each start is below `offset`, whose sum with `padded` was just checked.
        spans.iter_mut().for_each(|(start, _)| *start += padded);
        Ok(Layout { header, spans, file_len })
    }
}

impl<W: Write> Writer<W> {
    /// Checks everything, computes the offsets and writes the header ([`Layout::new`]).
    pub fn new(mut sink: W, metadata: &[(String, Value)], tensors: &[TensorSpec]) -> Result<Writer<W>, WriteError> {
        let alignment = check_metadata(metadata)?;
        let layout = Layout::new(metadata, tensors)?;
        sink.write_all(&layout.header)?;
        let sizes = layout.spans.iter().map(|(_, size_bytes)| *size_bytes);
        let tensors = tensors.iter().map(|spec| spec.name.clone()).zip(sizes).collect();
        Ok(Writer { sink, alignment, tensors, current: 0, written: 0 })
    }

    /// Appends `chunk` to the data of tensor `name`, which must be the one being written or, if that is complete, the next.
    pub fn write_tensor(&mut self, name: &str, chunk: &[u8]) -> Result<(), WriteError> {
        let Some((expected, size_bytes)) = self.tensors.get(self.current) else {
            return Err(WriteError::Unexpected { name: name.to_owned() });
        };
        if name != expected {
            // Complete tensors were left behind when their last byte came, so the current one is not complete.
            return Err(if self.written == 0 {
                WriteError::OutOfOrder { found: name.to_owned(), expected: expected.clone() }
            } else {
                self.too_short()
            });
        }
        if chunk.len() as u64 > size_bytes - self.written {
            return Err(WriteError::TooLong { name: name.to_owned(), size_bytes: *size_bytes });
        }
        self.sink.write_all(chunk)?;
        self.written += chunk.len() as u64;
        if self.written == *size_bytes {
            let padding = self.written.next_multiple_of(self.alignment) - self.written;
            io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.sink)?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Checks that every tensor is complete, flushes, and gives the sink back.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.current < self.tensors.len() {
            return Err(self.too_short());
        }
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn too_short(&self) -> WriteError {
        let (name, size_bytes) = self.tensors.get(self.current).cloned().unwrap_or_default();
        WriteError::TooShort { name, written: self.written, size_bytes }
    }
}

fn invalid(field: &str, reason: ParseErrorKind) -> WriteError {
    WriteError::Invalid { field: field.to_owned(), reason }
}

fn invalid_tensor(name: &str, reason: ParseErrorKind) -> WriteError {
    invalid(&format!("tensor `{name}`"), reason)
}

/// What the reader will ask of the metadata; returns the alignment.
fn check_metadata(metadata: &[(String, Value)]) -> Result<u64, WriteError> {
    let count = metadata.len() as u64;
    if count > limits::MAX_METADATA_ENTRIES {
        let limit = limits::MAX_METADATA_ENTRIES;
        return Err(invalid("metadata count", ParseErrorKind::TooMany { count, limit }));
    }
    let mut seen = HashSet::new();
    let mut alignment = limits::DEFAULT_ALIGNMENT;
    let mut nested_arrays = 0;
    for (key, value) in metadata {
        let refuse = |reason| invalid(&format!("metadata key `{key}`"), reason);
        check_name(key, limits::MAX_KEY_BYTES).map_err(refuse)?;
        if !seen.insert(key) {
            let field = format!("metadata key `{key}`");
            return Err(WriteError::Duplicate { field });
        }
        if key == "general.alignment" {
            alignment = crate::header::alignment_of(value).map_err(refuse)?;
        }
        if let Value::Array(array) = value {
            check_nesting(array, 1, &mut nested_arrays).map_err(refuse)?;
        }
    }
    Ok(alignment)
}

fn check_name(name: &str, limit: u64) -> Result<(), ParseErrorKind> {
    let length = name.len() as u64;
    if length == 0 {
        return Err(ParseErrorKind::Empty);
    }
    if length > limit {
        return Err(ParseErrorKind::TooLong { length, limit });
    }
    Ok(())
}

fn check_nesting(array: &Array, depth: u32, nested_arrays: &mut u64) -> Result<(), ParseErrorKind> {
    if depth > limits::MAX_ARRAY_DEPTH {
        let limit = limits::MAX_ARRAY_DEPTH;
        return Err(ParseErrorKind::NestingTooDeep { limit });
    }
    if let Array::Nested(inner) = array {
        *nested_arrays += inner.len() as u64;
        if *nested_arrays > limits::MAX_NESTED_ARRAYS {
            let (count, limit) = (*nested_arrays, limits::MAX_NESTED_ARRAYS);
            return Err(ParseErrorKind::TooMany { count, limit });
        }
        for array in inner {
            check_nesting(array, depth + 1, nested_arrays)?;
        }
    }
    Ok(())
}

/// What the reader will ask of the tensors; returns the size of each.
fn check_tensors(tensors: &[TensorSpec]) -> Result<Vec<u64>, WriteError> {
    let count = tensors.len() as u64;
    if count > limits::MAX_TENSORS {
        let limit = limits::MAX_TENSORS;
        return Err(invalid("tensor count", ParseErrorKind::TooMany { count, limit }));
    }
    let mut seen = HashSet::new();
    let mut sizes = Vec::with_capacity(tensors.len());
    for spec in tensors {
        let refuse = |reason| invalid_tensor(&spec.name, reason);
        check_name(&spec.name, limits::MAX_TENSOR_NAME_BYTES).map_err(refuse)?;
        if !seen.insert(&spec.name) {
            let field = format!("tensor `{}`", spec.name);
            return Err(WriteError::Duplicate { field });
        }
        if !spec.ggml_type.is_known() {
            return Err(WriteError::UnknownType {
                name: spec.name.clone(),
                type_name: spec.ggml_type.name().into_owned(),
            });
        }
        let count = u32::try_from(spec.shape.len()).unwrap_or(u32::MAX);
        if !(1..=limits::MAX_DIMENSIONS).contains(&count) {
            return Err(refuse(ParseErrorKind::DimensionCount { count }));
        }
        if let Some(index) = spec.shape.iter().position(|dimension| *dimension == 0) {
            return Err(refuse(ParseErrorKind::ZeroDimension { index }));
        }
        sizes.push(size_of(&spec.shape, spec.ggml_type).map_err(refuse)?);
    }
    Ok(sizes)
}

fn encode_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn encode_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => encode_string(out, v.as_bytes()),
        Value::Array(v) => encode_array(out, v),
    }
}

fn encode_array(out: &mut Vec<u8>, array: &Array) {
    out.extend_from_slice(&array.element_type().id().to_le_bytes());
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::U64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        Array::Bool(v) => v.iter().for_each(|x| out.push(u8::from(*x))),
        Array::String(v) => v.iter().for_each(|x| encode_string(out, x)),
        Array::Nested(v) => v.iter().for_each(|x| encode_array(out, x)),
    }
}
