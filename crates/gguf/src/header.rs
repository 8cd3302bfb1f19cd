//! The header parser: from bytes to checked metadata and tensor list. Pure; no file, no clock.

use crate::cursor::{Cursor, Field, fail};
use crate::error::{ParseError, ParseErrorKind};
use crate::limits;
use crate::metadata::{Metadata, index_by_name};
use crate::strings::StringArray;
use crate::tensor::TensorInfo;
use crate::tensor_type::TensorType;
use crate::value::{Array, Value, ValueType};

/// Everything before the tensor data, checked as a whole.
///
/// What holds for a parsed header: keys and tensor names are unique and UTF-8; every tensor of a known type lies inside the
/// file and overlaps no other; every offset is aligned; no dimension is zero; no size overflows.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Alignment of tensor data in bytes, a power of two.
    pub alignment: u64,
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data starts, in bytes from the start of the file.
    pub data_offset: u64,
    /// Length of the whole file, as it was given to [`Header::parse`].
    pub file_len: u64,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl Header {
    /// Parses the header of a file of `file_len` bytes from its first bytes. `bytes` may be the whole file or any prefix; if
    /// the prefix is too short, the error is [`ParseErrorKind::Truncated`] and says how many bytes are needed at least.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Header, ParseError> {
        let mut cursor = Cursor::new(bytes, file_len);
        let version = parse_preamble(&mut cursor)?;
        let tensor_count = parse_tensor_count(&mut cursor)?;
        let (entries, entry_starts) = parse_metadata(&mut cursor)?;
        let metadata = Metadata::from_entries(entries).map_err(|duplicate| {
            let first = entry_starts[duplicate.first];
            let offset = entry_starts[duplicate.second];
            let kind = ParseErrorKind::Duplicate { first };
            fail(Field::Value(&duplicate.name), offset, kind)
        })?;
        let alignment = find_alignment(&metadata, &entry_starts)?;
        let entries = parse_tensor_entries(&mut cursor, tensor_count)?;
        let data_offset = limits::round_up(cursor.position(), alignment).unwrap_or(u64::MAX);
        let (tensors, starts) = locate_tensors(entries, alignment, (data_offset, file_len))?;
        check_overlap(&tensors, &starts)?;
        let by_name = index_by_name(tensors.len(), |index| tensors[index].name.as_str()).map_err(|duplicate| {
            let field = Field::Tensor(&duplicate.name);
            let first = starts[duplicate.first];
            fail(field, starts[duplicate.second], ParseErrorKind::Duplicate { first })
        })?;
        Ok(Header { version, alignment, metadata, tensors, data_offset, file_len, by_name })
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let position = self
            .by_name
            .binary_search_by(|index| self.tensors.get(*index as usize).map(|t| t.name.as_str()).cmp(&Some(name)))
            .ok()?;
        self.tensors.get(*self.by_name.get(position)? as usize)
    }
}

/// Magic and version.
fn parse_preamble(cursor: &mut Cursor<'_>) -> Result<u32, ParseError> {
    let found = cursor.magic()?;
    if found == [b'F', b'U', b'G', b'G'] {
        return Err(fail(Field::Magic, 0, ParseErrorKind::BigEndian));
    }
    if found != limits::MAGIC {
        return Err(fail(Field::Magic, 0, ParseErrorKind::BadMagic { found }));
    }
    let start = cursor.position();
    let version = cursor.u32(Field::Version)?;
    match version {
        2 | 3 => Ok(version),
        // A small number read backwards: the magic is the same bytes in both orders.
        _ if version != 0 && version.swap_bytes() < 0x1_0000 => {
            Err(fail(Field::Version, start, ParseErrorKind::BigEndian))
        }
        _ => Err(fail(Field::Version, start, ParseErrorKind::UnsupportedVersion { version })),
    }
}

fn parse_tensor_count(cursor: &mut Cursor<'_>) -> Result<u64, ParseError> {
    // Name length, one byte of name, dimension count, one dimension, type, offset.
    const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
    limited_count(cursor, Field::TensorCount, (MIN_ENTRY_BYTES, limits::MAX_TENSORS))
}

/// A count that the rest of the file can hold at `item_bytes` each, and that is at most `limit`.
fn limited_count(
    cursor: &mut Cursor<'_>,
    field: Field<'_>,
    (item_bytes, limit): (u64, u64),
) -> Result<u64, ParseError> {
    let start = cursor.position();
    let count = cursor.count(item_bytes, field)?;
    if count > limit {
        return Err(fail(field, start, ParseErrorKind::TooMany { count, limit }));
    }
    Ok(count)
}

/// Keys and values, and where each entry stands in the file.
type Entries = (Vec<(String, Value)>, Vec<u64>);

fn parse_metadata(cursor: &mut Cursor<'_>) -> Result<Entries, ParseError> {
    // Key length, one byte of key, type, one byte of value.
    const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4 + 1;
    let count = limited_count(cursor, Field::MetadataCount, (MIN_ENTRY_BYTES, limits::MAX_METADATA_ENTRIES))?;
    let mut entries = Vec::new();
    let mut starts = Vec::new();
    let mut nested_left = limits::MAX_NESTED_ARRAYS;
    for index in 0..count {
        starts.push(cursor.position());
        let key = cursor.name(limits::MAX_KEY_BYTES, Field::Key(index))?;
        let value = parse_value(cursor, key, &mut nested_left)?;
        entries.push((key.to_owned(), value));
    }
    Ok((entries, starts))
}

fn parse_value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, ParseError> {
    let start = cursor.position();
    let id = cursor.u32(Field::Value(key))?;
    ValueType::from_id(id).ok_or_else(|| fail(Field::Value(key), start, ParseErrorKind::UnknownValueType { id }))
}

fn parse_value(cursor: &mut Cursor<'_>, key: &str, nested_left: &mut u64) -> Result<Value, ParseError> {
    let field = Field::Value(key);
    Ok(match parse_value_type(cursor, key)? {
        ValueType::U8 => Value::U8(cursor.bytes::<1>(field)?[0]),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.bytes(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.bytes(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.bytes(field)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.bytes(field)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.bytes(field)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.bytes(field)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.bytes(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.bytes(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.bytes(field)?)),
        ValueType::Bool => {
            let start = cursor.position();
            Value::Bool(parse_bool(cursor.bytes::<1>(field)?[0], field, start)?)
        }
        ValueType::String => Value::String(cursor.string(field)?.to_owned()),
        ValueType::Array => Value::Array(parse_array(cursor, key, (1, nested_left))?),
    })
}

fn parse_bool(byte: u8, field: Field<'_>, offset: u64) -> Result<bool, ParseError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(fail(field, offset, ParseErrorKind::InvalidBool { found })),
    }
}

/// Reads `count` numbers of `N` bytes. The bytes are taken first, so the vector is never larger than what is there.
fn parse_numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    (key, count): (&str, u64),
    convert: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, ParseError> {
    // `count` * N fits: the count was checked against the bytes that are left.
    let bytes = cursor.take(count.saturating_mul(N as u64), Field::Value(key))?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)).collect())
}

fn parse_array(cursor: &mut Cursor<'_>, key: &str, (depth, nested_left): (u32, &mut u64)) -> Result<Array, ParseError> {
    let start = cursor.position();
    if depth > limits::MAX_ARRAY_DEPTH {
        let limit = limits::MAX_ARRAY_DEPTH;
        let kind = ParseErrorKind::NestingTooDeep { limit };
        return Err(fail(Field::Value(key), start, kind));
    }
    let element_type = parse_value_type(cursor, key)?;
    let count = cursor.count(element_type.min_bytes(), Field::Value(key))?;
    let part = (key, count);
    Ok(match element_type {
        ValueType::U8 => Array::U8(parse_numbers(cursor, part, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(parse_numbers(cursor, part, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(parse_numbers(cursor, part, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(parse_numbers(cursor, part, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(parse_numbers(cursor, part, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(parse_numbers(cursor, part, i32::from_le_bytes)?),
        ValueType::U64 => Array::U64(parse_numbers(cursor, part, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(parse_numbers(cursor, part, i64::from_le_bytes)?),
        ValueType::F32 => Array::F32(parse_numbers(cursor, part, f32::from_le_bytes)?),
        ValueType::F64 => Array::F64(parse_numbers(cursor, part, f64::from_le_bytes)?),
        ValueType::Bool => Array::Bool(parse_bools(cursor, part)?),
        ValueType::String => Array::String(parse_strings(cursor, part)?),
        ValueType::Array => {
            if count > *nested_left {
                let limit = limits::MAX_NESTED_ARRAYS;
                let kind = ParseErrorKind::TooMany { count, limit };
                return Err(fail(Field::Value(key), start, kind));
            }
            *nested_left -= count;
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(parse_array(cursor, key, (depth + 1, nested_left))?);
            }
            Array::Nested(arrays)
        }
    })
}

fn parse_bools(cursor: &mut Cursor<'_>, (key, count): (&str, u64)) -> Result<Vec<bool>, ParseError> {
    let start = cursor.position();
    let bytes = cursor.take(count, Field::Value(key))?;
    (0..count).zip(bytes).map(|(index, byte)| parse_bool(*byte, Field::Element(key, index), start + index)).collect()
}

fn parse_strings(cursor: &mut Cursor<'_>, (key, count): (&str, u64)) -> Result<StringArray, ParseError> {
    // Two passes: the first measures (and fails) without allocating, the second copies into exactly enough.
    let mut measure = cursor.clone();
    let mut total = 0;
    for index in 0..count {
        total += measure.string_bytes(Field::Element(key, index))?.len();
    }
    // All of it was there, so `count` is far below usize::MAX.
    let mut strings = StringArray::with_capacity(count as usize, total);
    for index in 0..count {
        strings.push(cursor.string_bytes(Field::Element(key, index))?);
    }
    Ok(strings)
}

fn find_alignment(metadata: &Metadata, starts: &[u64]) -> Result<u64, ParseError> {
    const KEY: &str = "general.alignment";
    let mut entries = metadata.iter().zip(starts);
    match entries.find(|((key, _), _)| *key == KEY) {
        Some(((_, value), start)) => alignment_of(value).map_err(|kind| fail(Field::Value(KEY), *start, kind)),
        None => Ok(limits::DEFAULT_ALIGNMENT),
    }
}

/// The alignment that a value of `general.alignment` stands for.
pub(crate) fn alignment_of(value: &Value) -> Result<u64, ParseErrorKind> {
    let range = limits::MIN_ALIGNMENT..=limits::MAX_ALIGNMENT;
    match value.as_integer().map(u64::try_from) {
        Some(Ok(alignment)) if alignment.is_power_of_two() && range.contains(&alignment) => Ok(alignment),
        Some(_) => Err(ParseErrorKind::BadAlignment { found: value.to_string() }),
        None => Err(ParseErrorKind::BadAlignment { found: format!("a value of type {}", value.type_name()) }),
    }
}

/// A tensor as its entry states it: the offset counts from the start of the tensor data, which is not known yet.
struct Entry {
    /// Where the entry stands in the file.
    start: u64,
    name: String,
    shape: Vec<u64>,
    ggml_type: TensorType,
    relative_offset: u64,
    size_bytes: u64,
}

fn parse_tensor_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>, ParseError> {
    (0..count).map(|index| parse_tensor_entry(cursor, index)).collect()
}

fn parse_tensor_entry(cursor: &mut Cursor<'_>, index: u64) -> Result<Entry, ParseError> {
    let start = cursor.position();
    let name = cursor.name(limits::MAX_TENSOR_NAME_BYTES, Field::TensorName(index))?;
    let field = Field::Tensor(name);
    let dims_start = cursor.position();
    let dimension_count = cursor.u32(field)?;
    if !(1..=limits::MAX_DIMENSIONS).contains(&dimension_count) {
        let count = dimension_count;
        return Err(fail(field, dims_start, ParseErrorKind::DimensionCount { count }));
    }
    let mut shape = Vec::with_capacity(dimension_count as usize);
    for index in 0..dimension_count as usize {
        let dimension_start = cursor.position();
        let dimension = cursor.u64(field)?;
        if dimension == 0 {
            let kind = ParseErrorKind::ZeroDimension { index };
            return Err(fail(field, dimension_start, kind));
        }
        shape.push(dimension);
    }
    let ggml_type = TensorType::from_id(cursor.u32(field)?);
    let size_bytes = size_of(&shape, ggml_type).map_err(|kind| fail(field, dims_start, kind))?;
    let relative_offset = cursor.u64(field)?;
    Ok(Entry { start, name: name.to_owned(), shape, ggml_type, relative_offset, size_bytes })
}

/// Bytes of a tensor; 0 for an unknown type, whose number of elements is checked all the same.
pub(crate) fn size_of(shape: &[u64], ggml_type: TensorType) -> Result<u64, ParseErrorKind> {
    let elements = shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
    if elements.is_none() {
        return Err(ParseErrorKind::SizeOverflow);
    }
    let Some(block_elements) = ggml_type.block_elements() else {
        return Ok(0);
    };
    let row = shape.first().copied().unwrap_or(0);
    if !row.is_multiple_of(block_elements) {
        return Err(ParseErrorKind::PartialBlock {
            elements: row,
            block_elements,
            tensor_type: ggml_type.name().into_owned(),
        });
    }
    ggml_type.tensor_bytes(shape).ok_or(ParseErrorKind::SizeOverflow)
}

/// Makes offsets absolute and checks that each tensor lies inside the file. Also returns where each entry stands.
fn locate_tensors(
    entries: Vec<Entry>,
    alignment: u64,
    (data_offset, file_len): (u64, u64),
) -> Result<(Vec<TensorInfo>, Vec<u64>), ParseError> {
    let mut tensors = Vec::with_capacity(entries.len());
    let mut starts = Vec::with_capacity(entries.len());
    for entry in entries {
        let refuse = |kind| fail(Field::Tensor(&entry.name), entry.start, kind);
        let found = entry.relative_offset;
        if !found.is_multiple_of(alignment) {
            return Err(refuse(ParseErrorKind::Misaligned { found, alignment }));
        }
        // An unknown type has at least one byte, whatever it is.
        let end = u128::from(data_offset) + u128::from(found) + u128::from(entry.size_bytes.max(1));
        if end > u128::from(file_len) {
            return Err(refuse(ParseErrorKind::DataPastEnd { end, file_len }));
        }
        starts.push(entry.start);
        tensors.push(TensorInfo {
            name: entry.name,
            shape: entry.shape,
            ggml_type: entry.ggml_type,
            // The end is inside the file, so the sum fits.
            offset: data_offset.saturating_add(found),
            size_bytes: entry.size_bytes,
        });
    }
    Ok((tensors, starts))
}

/// No tensor may begin before the one in front of it has ended.
fn check_overlap(tensors: &[TensorInfo], starts: &[u64]) -> Result<(), ParseError> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_unstable_by_key(|index| (tensors[*index].offset, *index));
    for pair in order.windows(2) {
        let (front, behind) = (&tensors[pair[0]], &tensors[pair[1]]);
        // The size of an unknown type is not known, but it is not nothing.
        if front.offset + front.size_bytes.max(1) > behind.offset {
            let kind = ParseErrorKind::Overlap { other: front.name.clone() };
            return Err(fail(Field::Tensor(&behind.name), starts[pair[1]], kind));
        }
    }
    Ok(())
}
