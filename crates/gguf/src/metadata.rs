//! The metadata of a file and typed access to it. What keys mean is the caller's business.

use std::borrow::Cow;

use crate::strings::StringArray;
use crate::value::{Array, Value};

/// Why a value was not to be had. Each text names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum MetadataError {
    #[error("metadata key `{key}` is missing")]
    Missing { key: String },
    #[error("metadata key `{key}` is {found}, expected {expected}")]
    WrongType { key: String, expected: &'static str, found: String },
    #[error("metadata key `{key}` holds {found}, which does not fit {expected}")]
    OutOfRange { key: String, expected: &'static str, found: String },
}

/// Keys and values in the order of the file, keys unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Indices into `entries`, sorted by key. Smaller than a hash map, and no key can make it slow.
    by_key: Vec<u32>,
}

/// A name that two entries share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) second: usize,
}

/// Indices of `names`, sorted by name; the pair that shares a name, if one does.
pub(crate) fn index_by_name<'a>(count: usize, name: impl Fn(usize) -> &'a str) -> Result<Vec<u32>, Duplicate> {
    // Counts are limited far below u32 before this is called (limits::MAX_TENSORS, MAX_METADATA_ENTRIES).
    let mut index: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    index.sort_by(|a, b| name(*a as usize).cmp(name(*b as usize)).then(a.cmp(b)));
    let same = index.windows(2).find(|pair| name(pair[0] as usize) == name(pair[1] as usize));
    match same {
        Some(pair) => Err(Duplicate {
            name: name(pair[0] as usize).to_owned(),
            first: pair[0] as usize,
            second: pair[1] as usize,
        }),
        None => Ok(index),
    }
}

impl Metadata {
    pub(crate) fn from_entries(entries: Vec<(String, Value)>) -> Result<Metadata, Duplicate> {
        let by_key = index_by_name(entries.len(), |index| entries[index].0.as_str())?;
        Ok(Metadata { entries, by_key })
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let position = self.by_key.binary_search_by(|index| self.entries[*index as usize].0.as_str().cmp(key)).ok()?;
        Some(&self.entries[self.by_key[position] as usize].1)
    }

    /// The value of `key`, or the error that names it.
    pub fn required(&self, key: &str) -> Result<&Value, MetadataError> {
        required(key, self.get(key))
    }

    /// An integer of any width that fits u32.
    pub fn u32(&self, key: &str) -> Result<u32, MetadataError> {
        required(key, self.opt_u32(key)?)
    }

    /// An integer of any width that fits u64.
    pub fn u64(&self, key: &str) -> Result<u64, MetadataError> {
        required(key, self.opt_u64(key)?)
    }

    /// An integer of any width that fits i32.
    pub fn i32(&self, key: &str) -> Result<i32, MetadataError> {
        required(key, self.opt_i32(key)?)
    }

    /// A floating-point number of either width. A value outside f32 is an error.
    pub fn f32(&self, key: &str) -> Result<f32, MetadataError> {
        required(key, self.opt_f32(key)?)
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<bool, MetadataError> {
        required(key, self.opt_bool(key)?)
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&str, MetadataError> {
        required(key, self.opt_str(key)?)
    }

    /// An array of strings, which are bytes ([`StringArray::iter_str`] for text).
    pub fn string_array(&self, key: &str) -> Result<&StringArray, MetadataError> {
        required(key, self.opt_string_array(key)?)
    }

    /// An array of f32.
    pub fn f32_array(&self, key: &str) -> Result<&[f32], MetadataError> {
        required(key, self.opt_f32_array(key)?)
    }

    /// An array of integers of any width that all fit i32.
    pub fn i32_array(&self, key: &str) -> Result<Cow<'_, [i32]>, MetadataError> {
        required(key, self.opt_i32_array(key)?)
    }

    /// An array of integers of any width that all fit u32.
    pub fn u32_array(&self, key: &str) -> Result<Cow<'_, [u32]>, MetadataError> {
        required(key, self.opt_u32_array(key)?)
    }

    /// An array of bools.
    pub fn bool_array(&self, key: &str) -> Result<&[bool], MetadataError> {
        required(key, self.opt_bool_array(key)?)
    }

    /// As [`Metadata::u32`]; `None` if the key is absent.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, MetadataError> {
        self.integer(key, "a u32")
    }

    /// As [`Metadata::u64`]; `None` if the key is absent.
    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        self.integer(key, "a u64")
    }

    /// As [`Metadata::i32`]; `None` if the key is absent.
    pub fn opt_i32(&self, key: &str) -> Result<Option<i32>, MetadataError> {
        self.integer(key, "an i32")
    }

    /// As [`Metadata::f32`]; `None` if the key is absent.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        let expected = "an f32";
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(found @ Value::F64(value)) => {
                let narrow = *value as f32;
                if value.is_finite() && !narrow.is_finite() {
                    return Err(out_of_range(key, expected, found));
                }
                Ok(Some(narrow))
            }
            Some(found) => Err(wrong_type(key, expected, found)),
        }
    }

    /// As [`Metadata::bool`]; `None` if the key is absent.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(found) => Err(wrong_type(key, "a bool", found)),
        }
    }

    /// As [`Metadata::str`]; `None` if the key is absent.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(found) => Err(wrong_type(key, "a string", found)),
        }
    }

    /// As [`Metadata::string_array`]; `None` if the key is absent.
    pub fn opt_string_array(&self, key: &str) -> Result<Option<&StringArray>, MetadataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(values))) => Ok(Some(values)),
            Some(found) => Err(wrong_type(key, "an array of strings", found)),
        }
    }

    /// As [`Metadata::f32_array`]; `None` if the key is absent.
    pub fn opt_f32_array(&self, key: &str) -> Result<Option<&[f32]>, MetadataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(values))) => Ok(Some(values)),
            Some(found) => Err(wrong_type(key, "an array of f32", found)),
        }
    }

    /// As [`Metadata::i32_array`]; `None` if the key is absent.
    pub fn opt_i32_array(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>, MetadataError> {
        match self.get(key) {
            Some(Value::Array(Array::I32(values))) => Ok(Some(Cow::Borrowed(values))),
            other => Ok(integers(key, "an array of i32", other)?.map(Cow::Owned)),
        }
    }

    /// As [`Metadata::u32_array`]; `None` if the key is absent.
    pub fn opt_u32_array(&self, key: &str) -> Result<Option<Cow<'_, [u32]>>, MetadataError> {
        match self.get(key) {
            Some(Value::Array(Array::U32(values))) => Ok(Some(Cow::Borrowed(values))),
            other => Ok(integers(key, "an array of u32", other)?.map(Cow::Owned)),
        }
    }

    /// As [`Metadata::bool_array`]; `None` if the key is absent.
    pub fn opt_bool_array(&self, key: &str) -> Result<Option<&[bool]>, MetadataError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Bool(values))) => Ok(Some(values)),
            Some(found) => Err(wrong_type(key, "an array of bools", found)),
        }
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(wide) = value.as_integer() else {
            return Err(wrong_type(key, expected, value));
        };
        match T::try_from(wide) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(out_of_range(key, expected, value)),
        }
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, MetadataError> {
    value.ok_or_else(|| MetadataError::Missing { key: key.to_owned() })
}

fn integers<T>(key: &str, expected: &'static str, value: Option<&Value>) -> Result<Option<Vec<T>>, MetadataError>
where
    T: TryFrom<u8>
        + TryFrom<i8>
        + TryFrom<u16>
        + TryFrom<i16>
        + TryFrom<u32>
        + TryFrom<i32>
        + TryFrom<u64>
        + TryFrom<i64>,
{
    match value {
        None => Ok(None),
        Some(found @ Value::Array(array)) if array.is_integers() => match array.integers() {
            Some(values) => Ok(Some(values)),
            None => Err(out_of_range(key, expected, found)),
        },
        Some(found) => Err(wrong_type(key, expected, found)),
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> MetadataError {
    MetadataError::WrongType { key: key.to_owned(), expected, found: found.type_name() }
}

fn out_of_range(key: &str, expected: &'static str, found: &Value) -> MetadataError {
    MetadataError::OutOfRange { key: key.to_owned(), expected, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: Vec<(&str, Value)>) -> Metadata {
        let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Metadata::from_entries(entries).expect("keys are unique")
    }

    #[test]
    fn integers_of_any_width_fit_where_their_value_fits() {
        let m = metadata(vec![
            ("a", Value::U8(7)),
            ("b", Value::I64(7)),
            ("c", Value::U64(1 << 40)),
            ("d", Value::I32(-1)),
            ("e", Value::F32(7.0)),
        ]);
        assert_eq!(m.u32("a"), Ok(7));
        assert_eq!(m.u32("b"), Ok(7));
        assert_eq!(m.u64("c"), Ok(1 << 40));
        assert_eq!(m.i32("d"), Ok(-1));
        let text = |result: Result<u32, MetadataError>| result.unwrap_err().to_string();
        assert_eq!(text(m.u32("c")), "metadata key `c` holds 1099511627776, which does not fit a u32");
        assert_eq!(text(m.u32("d")), "metadata key `d` holds -1, which does not fit a u32");
        assert_eq!(text(m.u32("e")), "metadata key `e` is f32, expected a u32");
        assert_eq!(text(m.u32("f")), "metadata key `f` is missing");
        assert_eq!(m.opt_u32("f"), Ok(None));
        assert!(m.opt_u32("e").is_err(), "a wrong type is not absence");
    }

    #[test]
    fn arrays_are_typed() {
        let strings: StringArray = [&b"a"[..], b"", b"\xff\xfe"].into_iter().collect();
        let m = metadata(vec![
            ("types", Value::from(vec![1u32, 2])),
            ("wide", Value::from(vec![1i64, -1])),
            ("scores", Value::from(vec![0.5f32])),
            ("tokens", Value::from(strings)),
        ]);
        assert_eq!(m.i32_array("types").unwrap().as_ref(), [1, 2]);
        assert_eq!(m.i32_array("wide").unwrap().as_ref(), [1, -1]);
        assert!(matches!(m.u32_array("wide"), Err(MetadataError::OutOfRange { .. })));
        assert_eq!(m.f32_array("scores"), Ok(&[0.5f32][..]));
        assert_eq!(
            m.f32_array("types").unwrap_err().to_string(),
            "metadata key `types` is array of u32, expected an array of f32"
        );
        let tokens = m.string_array("tokens").unwrap();
        assert_eq!(tokens.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"\xff\xfe"]);
        let texts: Vec<bool> = tokens.iter_str().map(|text| text.is_ok()).collect();
        assert_eq!(texts, [true, true, false]);
        assert_eq!(tokens.get(3), None);
    }

    #[test]
    fn floats_of_both_widths_within_f32() {
        let m = metadata(vec![("a", Value::F64(0.5)), ("b", Value::F64(1e300)), ("c", Value::U32(1))]);
        assert_eq!(m.f32("a"), Ok(0.5));
        assert!(matches!(m.f32("b"), Err(MetadataError::OutOfRange { .. })));
        assert!(matches!(m.f32("c"), Err(MetadataError::WrongType { .. })));
    }

    #[test]
    fn order_is_kept_and_duplicates_are_found() {
        let m = metadata(vec![("z", Value::U8(1)), ("a", Value::U8(2))]);
        assert_eq!(m.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(m.get("z"), Some(&Value::U8(1)));
        let twice = ["k", "l", "k"].map(|key| (key.to_owned(), Value::U8(0)));
        assert_eq!(
            Metadata::from_entries(twice.to_vec()),
            Err(Duplicate { name: "k".to_owned(), first: 0, second: 2 })
        );
    }
}
