//! A GGUF file on disk: opened, measured, mapped, checked, and only then handed out.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::ParseError;
use crate::header::Header;
use crate::metadata::Metadata;
use crate::tensor::TensorInfo;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system said no.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// `open`, `measure` or `map`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The bytes are not an acceptable GGUF file.
    #[error("`{}` is not a usable GGUF file: {error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Field, byte and reason. Part of this text, so not also its source.
        error: ParseError,
    },
}

/// Why a tensor is not to be had ([`Gguf::require`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says it")]
pub enum TensorError {
    #[error("tensor `{name}` is missing")]
    Missing { name: String },
    #[error("tensor `{name}` is stored as {type_name}, which this version does not know")]
    UnknownType { name: String, type_name: String },
}

/// The bytes of an open file. Holding it keeps them mapped.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An open GGUF file whose whole header was checked. Share it as `Arc<Gguf>`, or keep only [`Gguf::map`].
#[derive(Debug)]
pub struct Gguf {
    map: Arc<Mapping>,
    header: Header,
}

impl Gguf {
    /// Opens `path`, maps it and checks the whole header before returning. Tensor data is not touched.
    ///
    /// The file must not be written to or truncated while it is open: that would change the weights under the reader or end
    /// the process (SIGBUS).
    pub fn open(path: &Path) -> Result<Gguf, OpenError> {
        let failed = |action: &'static str| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        let not_a_file = || OpenError::NotAFile { path: path.to_owned() };
        // Asked before opening too: opening a pipe waits for a writer.
        if !std::fs::metadata(path).map_err(failed("open"))?.is_file() {
            return Err(not_a_file());
        }
        let file = File::open(path).map_err(failed("open"))?;
        let measured = file.metadata().map_err(failed("measure"))?;
        if !measured.is_file() {
            return Err(not_a_file());
        }
        let invalid = |error| OpenError::Invalid { path: path.to_owned(), error };
        let file_len = measured.len();
        if file_len == 0 {
            // Nothing to map; the parser words the error.
            Header::parse(&[], 0).map_err(invalid)?;
        }
        // SAFETY: the mapping is private and read-only, and its length is that of the open file. That nobody truncates or
        // rewrites the file meanwhile cannot be enforced; model files get their final name only when they are complete and
        // are never written again, and the documentation above asks the same of every caller.
        let map = unsafe { Mmap::map(&file) }.map_err(failed("map"))?;
        // The mapping may be shorter or longer if the file changed since it was measured: its own length counts.
        let header = Header::parse(&map, map.len() as u64).map_err(invalid)?;
        Ok(Gguf { map: Arc::new(Mapping(map)), header })
    }

    /// The whole header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// Tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensor(name)
    }

    /// The tensor with this name, if its type is known: what a loader asks for when it cannot do without.
    pub fn require(&self, name: &str) -> Result<&TensorInfo, TensorError> {
        let Some(info) = self.tensor(name) else {
            return Err(TensorError::Missing { name: name.to_owned() });
        };
        if !info.ggml_type.is_known() {
            return Err(TensorError::UnknownType {
                name: name.to_owned(),
                type_name: info.ggml_type.name().into_owned(),
            });
        }
        Ok(info)
    }

    /// The data of a tensor of this file, in place. Empty for a tensor of unknown type (see [`Gguf::require`]) and for an
    /// `info` that does not describe this file.
    pub fn tensor_bytes(&self, info: &TensorInfo) -> &[u8] {
        let range = usize::try_from(info.offset).ok().and_then(|start| {
            let size = usize::try_from(info.size_bytes).ok()?;
            Some(start..start.checked_add(size)?)
        });
        range.and_then(|range| self.map.get(range)).unwrap_or_default()
    }

    /// The mapped file. Clone the `Arc` to keep the bytes alive beyond this value; tensor data is at
    /// `offset..offset + size_bytes` of it.
    pub fn map(&self) -> &Arc<Mapping> {
        &self.map
    }
}
