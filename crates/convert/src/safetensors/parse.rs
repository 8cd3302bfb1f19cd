//! From the bytes of a header to checked tensors.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ElementType, Header, HeaderError, MAX_DIMENSIONS, MAX_NAME_BYTES, MAX_TENSORS, TensorInfo};

/// The key that is no tensor.
const METADATA: &str = "__metadata__";

/// A tensor as it stands in the JSON. Unknown fields are an error: nobody knows what they would change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Dimensions,
    data_offsets: [u64; 2],
}

/// Dimensions, bounded while they are read.
struct Dimensions(Vec<u64>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Dimensions;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "at most {MAX_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dimensions, A::Error> {
                let mut dimensions = Vec::new();
                while let Some(dimension) = items.next_element()? {
                    if dimensions.len() == MAX_DIMENSIONS {
                        return Err(A::Error::custom(format!("more than {MAX_DIMENSIONS} dimensions")));
                    }
                    dimensions.push(dimension);
                }
                Ok(Dimensions(dimensions))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// Text to text, looked at and forgotten.
struct TextMap;

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = TextMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TextMap, A::Error> {
                while entries.next_entry::<Cow<'de, str>, Cow<'de, str>>()?.is_some() {}
                Ok(TextMap)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

/// The whole map; refuses what has no place while it reads, so that nothing large is collected first.
struct Entries {
    data_offset: u64,
}

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = Vec<TensorInfo>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<TensorInfo>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut tensors = Vec::new();
        let mut has_metadata = false;
        while let Some(name) = entries.next_key::<Cow<'de, str>>()? {
            if name == METADATA {
                if has_metadata {
                    return Err(A::Error::custom(format!("`{METADATA}` occurs twice")));
                }
                has_metadata = true;
                entries.next_value::<TextMap>()?;
                continue;
            }
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                return Err(A::Error::custom(format!(
                    "a tensor name of {} bytes; 1 to {MAX_NAME_BYTES} are possible",
                    name.len()
                )));
            }
            if tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let raw: RawTensor<'de> = entries.next_value()?;
            let tensor = self.tensor(&name, raw);
            tensors.push(tensor.map_err(|reason| A::Error::custom(format!("tensor `{name}`: {reason}")))?);
        }
        Ok(tensors)
    }
}

impl Entries {
    fn tensor(&self, name: &str, raw: RawTensor<'_>) -> Result<TensorInfo, String> {
        let row = ElementType::TABLE.iter().find(|(known, ..)| *known == raw.dtype);
        let Some((_, element_type, element_bytes)) = row else {
            let dtype: String = raw.dtype.chars().take(32).collect();
            return Err(format!("type `{dtype}` is not supported"));
        };
        let [start, end] = raw.data_offsets;
        let Some(size_bytes) = end.checked_sub(start) else {
            return Err(format!("its data ends at {end}, before it starts at {start}"));
        };
        let elements = raw.shape.0.iter().try_fold(1_u64, |product, dimension| product.checked_mul(*dimension));
        let implied = elements.and_then(|elements| elements.checked_mul(*element_bytes));
        if implied != Some(size_bytes) {
            let shape = raw.shape.0;
            return Err(format!("{size_bytes} bytes of data do not fit the shape {shape:?} of {}", raw.dtype));
        }
        let offset = start.checked_add(self.data_offset).ok_or("its data offset leaves 64 bits")?;
        Ok(TensorInfo { name: name.to_owned(), element_type: *element_type, shape: raw.shape.0, offset, size_bytes })
    }
}

pub(super) fn header(bytes: &[u8], file_len: u64) -> Result<Header, HeaderError> {
    let refuse = |field: &str, reason: String| HeaderError { field: field.to_owned(), reason };
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(refuse("header length", format!("the file has only {} bytes", bytes.len())));
    };
    let length = Header::length(*first, file_len)?;
    let json = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(json) = json else {
        return Err(refuse("header", format!("{length} bytes, of which {} are given", rest.len())));
    };
    if json.first() != Some(&b'{') {
        return Err(refuse("header", "does not start with `{`".to_owned()));
    }
    let data_offset = length + 8;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut tensors = Entries { data_offset }
        .deserialize(&mut deserializer)
        .and_then(|tensors| deserializer.end().map(|()| tensors))
        .map_err(|error| refuse("header", error.to_string()))?;
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(refuse(&format!("tensor `{}`", pair[0].name), "occurs twice".to_owned()));
    }
    check_layout(&tensors, data_offset, file_len)?;
    Ok(Header { tensors, data_offset })
}

/// Data must follow data without overlap or hole, from the header to the end of the file.
fn check_layout(tensors: &[TensorInfo], data_offset: u64, file_len: u64) -> Result<(), HeaderError> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|tensor| (tensor.offset, tensor.size_bytes));
    let mut end = data_offset;
    for tensor in by_offset {
        let refuse = |reason| Err(HeaderError { field: format!("tensor `{}`", tensor.name), reason });
        if tensor.offset < end {
            return refuse(format!(
                "its data starts at byte {}, inside the one before, which ends at {end}",
                tensor.offset
            ));
        }
        if tensor.offset > end {
            return refuse(format!("its data starts at byte {}, after a hole that starts at {end}", tensor.offset));
        }
        end = tensor.offset.saturating_add(tensor.size_bytes);
        if end > file_len {
            return refuse(format!("its data ends at byte {end}, but the file has {file_len}"));
        }
    }
    if end != file_len {
        let reason = format!("{} bytes follow the last tensor", file_len - end);
        return Err(HeaderError { field: "file".to_owned(), reason });
    }
    Ok(())
}
