//! An array of strings in two allocations, however many strings there are.

use std::fmt;

/// Strings in one piece of memory. They are bytes: a vocabulary may hold pieces that are not UTF-8 by themselves.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StringArray {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`. u32, because half a million strings are common and 4 GiB of them are not possible
    /// (limits::MAX_HEADER_BYTES).
    ends: Vec<u32>,
}

impl StringArray {
    /// Room for `strings`; content grows as it is pushed.
    pub(crate) fn with_capacity(strings: usize, bytes: usize) -> StringArray {
        StringArray { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(strings) }
    }

    /// Appends a string.
    ///
    /// # Panics
    ///
    /// If all strings together exceed 4 GiB, of which a header can hold less than a hundredth.
    pub fn push(&mut self, string: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(string.as_ref());
        let end = u32::try_from(self.bytes.len());
        self.ends.push(end.expect("the strings of an array exceed 4 GiB"));
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index` as bytes.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(previous) => *self.ends.get(previous)? as usize,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// All strings as bytes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// All strings as text, in order; an item is an error where the bytes are not UTF-8.
    pub fn iter_str(&self) -> impl ExactSizeIterator<Item = Result<&str, std::str::Utf8Error>> + '_ {
        self.iter().map(std::str::from_utf8)
    }
}

impl fmt::Debug for StringArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> StringArray {
        let mut array = StringArray::default();
        for string in strings {
            array.push(string);
        }
        array
    }
}
