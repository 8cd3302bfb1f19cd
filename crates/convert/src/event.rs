//! What happens during a conversion, as events. How they look as JSON is decided in `print`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One step of a conversion. Sizes are bytes of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything is planned and checked; weights begin to be written.
    Started {
        /// Tensors of the output.
        tensors_total: u64,
        /// Size of the output.
        bytes_total: u64,
        /// What an earlier run left and still holds.
        resumed_bytes: u64,
    },
    /// A tensor is complete, or a part of a large one.
    Progress {
        /// Which.
        tensor: String,
        /// Complete tensors.
        tensors_done: u64,
        /// Bytes of weights that are in place.
        bytes_done: u64,
    },
    /// The output is complete and is read back.
    Verifying,
    /// The output has its final name.
    Done(Report),
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, in lowercase hexadecimal.
    pub sha256: String,
    /// Number of tensors.
    pub tensors: u64,
    /// Tensors of each type.
    pub types: BTreeMap<String, u64>,
    /// What the tokenizer check said: `ok`, or why there was none.
    pub tokenizer: String,
}

/// Who is told what happens.
pub trait Observer {
    /// Called on the thread that called the conversion; slow observers slow it.
    fn event(&mut self, event: Event);
}

impl<F: FnMut(Event)> Observer for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}
