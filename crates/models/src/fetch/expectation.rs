//! What the bytes of a file must be, by whose word, and whether they are. Getting the bytes is the sources' business.

use protocol::catalog::{CatalogFile, FileName};
use protocol::identifiers::Digest;

use super::FetchError;
use crate::hashing::Sums;
use crate::store::manifest::{Authority, Chunks, ManifestFile};

/// What the bytes of a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expectation {
    pub(super) size_bytes: u64,
    pub(super) hash: ExpectedHash,
}

/// By whose word and by which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedHash {
    /// SHA-256.
    Sha256(Digest, Authority),
    /// The name git gives the content, as the hub announces it for small files.
    GitBlob([u8; 20]),
}

impl Expectation {
    /// The manifest's line for the file, if its bytes are right.
    pub(super) fn verdict(&self, file: &FileName, sums: &Sums) -> Result<ManifestFile, FetchError> {
        if sums.size_bytes != self.size_bytes {
            let (expected, actual) = (self.size_bytes, sums.size_bytes);
            return Err(FetchError::SizeMismatch { file: file.clone(), expected, actual });
        }
        let mismatch = |expected, actual| Err(FetchError::HashMismatch { file: file.clone(), expected, actual });
        let checked_against = match self.hash {
            ExpectedHash::Sha256(expected, _) if expected != sums.sha256 => {
                return mismatch(expected.to_string(), sums.sha256.to_string());
            }
            ExpectedHash::GitBlob(expected) if Some(expected) != sums.git_blob => {
                return mismatch(git_blob_text(&expected), git_blob_text(&sums.git_blob.unwrap_or_default()));
            }
            ExpectedHash::Sha256(_, authority) => authority,
            ExpectedHash::GitBlob(_) => Authority::Hub,
        };
        let chunks = Chunks::of(sums);
        Ok(ManifestFile {
            path: file.clone(),
            size_bytes: sums.size_bytes,
            sha256: sums.sha256,
            checked_against,
            chunks,
        })
    }
}

/// The hash that a hub's tag stands for: 64 digits for large files, git's 40 for small ones.
pub(super) fn content_hash(tag: &str) -> Option<ExpectedHash> {
    match tag.len() {
        64 => tag.parse().ok().map(|digest| ExpectedHash::Sha256(digest, Authority::Hub)),
        40 => git_blob(tag).map(ExpectedHash::GitBlob),
        _ => None,
    }
}

fn git_blob(tag: &str) -> Option<[u8; 20]> {
    let is_hex = tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if tag.len() != 40 || !is_hex {
        return None;
    }
    let mut hash = [0; 20];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(tag.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

pub(super) fn git_blob_text(hash: &[u8; 20]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("git-sha1:{hex}")
}

/// What the catalog alone says a file must be, if it says enough for a source that announces nothing.
pub(super) fn pinned(file: &CatalogFile, actual_size_bytes: u64) -> Result<Expectation, FetchError> {
    let sha256 = file.sha256.ok_or_else(|| FetchError::NoHash { file: file.name.clone() })?;
    let size_bytes = file.size_bytes.unwrap_or(actual_size_bytes);
    Ok(Expectation { size_bytes, hash: ExpectedHash::Sha256(sha256, Authority::Catalog) })
}
