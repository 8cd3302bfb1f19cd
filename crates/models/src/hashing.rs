//! Hashes of files: SHA-256 for all, and git's own SHA-1 for small files of the hub that the catalog does not pin.

mod sha1;

use std::io::{self, Read};

use protocol::identifiers::Digest;
use sha2::{Digest as _, Sha256};

pub(crate) use sha1::Sha1;

/// Bytes read from a file at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Hashes bytes as they come.
#[derive(Clone)]
pub(crate) struct Hasher {
    sha256: Sha256,
    git_blob: Option<Sha1>,
    size_bytes: u64,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Digest,
    /// Hash as git names the content, if it was asked for.
    pub(crate) git_blob: Option<[u8; 20]>,
}

impl Hasher {
    /// SHA-256 alone.
    pub(crate) fn new() -> Self {
        Self { sha256: Sha256::new(), git_blob: None, size_bytes: 0 }
    }

    /// SHA-256, and the name git gives to a content of `size_bytes`.
    pub(crate) fn with_git_blob(size_bytes: u64) -> Self {
        let mut git_blob = Sha1::new();
        git_blob.update(format!("blob {size_bytes}\0").as_bytes());
        Self { git_blob: Some(git_blob), ..Self::new() }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git_blob) = &mut self.git_blob {
            git_blob.update(bytes);
        }
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
    }

    /// Reads `source` to its end; `on_bytes` is told the size so far and may stop the reading.
    pub(crate) fn read_all<E>(
        &mut self,
        source: &mut dyn Read,
        wrap: impl FnOnce(io::Error) -> E,
        on_bytes: &mut dyn FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.update(&buffer[..count]);
                    on_bytes(self.size_bytes)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(wrap(error)),
            }
        }
    }

    pub(crate) fn finish(self) -> Sums {
        Sums {
            size_bytes: self.size_bytes,
            sha256: Digest::from_bytes(self.sha256.finalize().into()),
            git_blob: self.git_blob.map(Sha1::finish),
        }
    }
}
