//! The bytes of a file, which need not be in memory: a model of gigabytes is served as so many zeros, or from disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use super::git_blob::git_blob_sha1;

/// Bytes hashed at once.
const PIECE_BYTES: usize = 1 << 20;

/// The bytes of a file, or a part of them.
#[derive(Debug, Clone)]
pub struct Content {
    kind: Kind,
    start: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Kind {
    Bytes(Arc<[u8]>),
    Zeros,
    File(Arc<File>),
}

impl Content {
    /// `len` zero bytes.
    #[must_use]
    pub fn zeros(len: u64) -> Self {
        Self { kind: Kind::Zeros, start: 0, len }
    }

    /// The bytes of a file on disk, read while they are served.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { kind: Kind::File(Arc::new(file)), start: 0, len })
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part from `start` to `end`, cut to what is there.
    #[must_use]
    pub fn part(&self, start: u64, end: u64) -> Self {
        let end = end.min(self.len);
        let start = start.min(end);
        Self { kind: self.kind.clone(), start: self.start + start, len: end - start }
    }

    /// All bytes, in memory.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(0, &mut bytes).expect("content that can be read");
        bytes
    }

    /// Fills `buffer` with the bytes from `at` on, which must be there.
    ///
    /// # Errors
    /// The file on disk cannot be read.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.start + at;
        match &self.kind {
            Kind::Bytes(bytes) => buffer.copy_from_slice(&bytes[start as usize..start as usize + buffer.len()]),
            Kind::Zeros => buffer.fill(0),
            Kind::File(file) => file.read_exact_at(buffer, start)?,
        }
        Ok(())
    }

    /// SHA-256 as hexadecimal digits; that of zeros is computed once a process.
    #[must_use]
    pub fn sha256(&self) -> String {
        static OF_ZEROS: OnceLock<Mutex<HashMap<u64, String>>> = OnceLock::new();
        if !matches!(self.kind, Kind::Zeros) {
            return self.hashed();
        }
        let mut known = OF_ZEROS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(self.len).or_insert_with(|| self.hashed()).clone()
    }

    fn hashed(&self) -> String {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < self.len {
            let piece = &mut buffer[..(self.len - at).min(PIECE_BYTES as u64) as usize];
            self.read(at, piece).expect("content that can be read");
            hasher.update(&*piece);
            at += piece.len() as u64;
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name git gives it; of what is not in memory a stand-in of the right form, since nobody looks at it.
    pub(super) fn git_sha1(&self) -> String {
        match &self.kind {
            Kind::Bytes(_) => git_blob_sha1(&self.to_vec()),
            Kind::Zeros | Kind::File(_) => format!("{:040x}", self.len),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        Self { kind: Kind::Bytes(bytes.into()), start: 0, len }
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}
