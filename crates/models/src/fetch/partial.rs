//! A file that is arriving: its bytes so far in `<file>.part`, what they are meant to become in `<file>.part.json`. Both
//! outlive the process; the next run continues only if the source still announces the same content.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use protocol::catalog::FileName;
use serde::{Deserialize, Serialize};

use super::session::{Expectation, ExpectedHash, Session, git_blob_text};
use super::{Event, FetchError};
use crate::files;
use crate::hashing::{Hasher, Sums};

/// Largest side file that is read.
const MAX_SIDE_BYTES: u64 = 4096;
/// Longest entity tag that is kept.
const MAX_VALIDATOR_BYTES: usize = 256;

/// What the bytes of a partial file belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RawSide {
    schema: u32,
    /// The content, by hash.
    identity: String,
    size_bytes: u64,
    /// The entity tag of the server that sent the bytes, for `If-Range`.
    validator: Option<String>,
}

/// A file that is arriving.
pub(super) struct Partial {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) expected: Expectation,
    side_path: PathBuf,
    side: RawSide,
    hasher: Hasher,
    size_bytes: u64,
}

impl Partial {
    /// Opens the partial file of `file_name`. What an earlier run left is kept and hashed if it belongs to the same content,
    /// and thrown away otherwise.
    pub(super) fn open(
        session: &mut Session<'_>,
        file_name: &FileName,
        expected: Expectation,
    ) -> Result<Self, FetchError> {
        let path = session.temporary_path(file_name, "");
        let identity = match expected.hash {
            ExpectedHash::Sha256(digest, _) => digest.to_string(),
            ExpectedHash::GitBlob(hash) => git_blob_text(&hash),
        };
        let side_path = path.with_added_extension("json");
        let fresh = RawSide { schema: 1, identity, size_bytes: expected.size_bytes, validator: None };
        let left = read_side(&side_path).filter(|left| RawSide { validator: None, ..left.clone() } == fresh);
        let file =
            files::open_partial(&path).map_err(|error| session.write_error(&path, expected.size_bytes, error))?;
        let size_bytes = file.metadata().map_err(FetchError::reading(&path))?.len();
        let hasher = expected.hasher();
        let is_usable = left.is_some() && size_bytes <= expected.size_bytes;
        let side = left.unwrap_or(fresh);
        let mut partial = Self { file, path, expected, side_path, side, hasher, size_bytes: 0 };
        if is_usable && size_bytes > 0 {
            session.report(Event::Verifying { file: file_name.clone() });
            partial.rehash(session)?;
        } else {
            partial.side.validator = None;
            partial.restart(session)?;
        }
        Ok(partial)
    }

    /// Bytes that are here.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes that are missing.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.expected.size_bytes.saturating_sub(self.size_bytes)
    }

    /// The entity tag to continue under.
    pub(super) fn validator(&self) -> Option<&str> {
        self.side.validator.as_deref()
    }

    /// Notes the entity tag of the server that sends the bytes; weak or odd ones cannot guard a continuation.
    pub(super) fn set_validator(&mut self, session: &Session<'_>, tag: Option<&str>) -> Result<(), FetchError> {
        let is_strong = |tag: &&str| {
            tag.len() <= MAX_VALIDATOR_BYTES
                && tag.len() > 2
                && tag.starts_with('"')
                && tag.ends_with('"')
                && tag.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let validator = tag.filter(is_strong).map(str::to_owned);
        if validator == self.side.validator {
            return Ok(());
        }
        self.side.validator = validator;
        self.write_side(session)
    }

    /// Throws away what is here.
    pub(super) fn restart(&mut self, session: &Session<'_>) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| session.write_error(&self.path, self.expected.size_bytes, error))?;
        self.hasher = self.expected.hasher();
        self.size_bytes = 0;
        self.side.validator = None;
        self.write_side(session)
    }

    /// Takes the next bytes.
    pub(super) fn append(&mut self, session: &Session<'_>, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| session.write_error(&self.path, self.missing_bytes(), error))?;
        self.hasher.update(bytes);
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// The hashes of all bytes.
    pub(super) fn sums(&self) -> Sums {
        self.hasher.clone().finish()
    }

    /// Removes both files: the bytes are of no use.
    pub(super) fn discard(self) -> Result<(), FetchError> {
        remove(&self.path)
    }

    fn rehash(&mut self, session: &Session<'_>) -> Result<(), FetchError> {
        self.file.seek(SeekFrom::Start(0)).map_err(FetchError::reading(&self.path))?;
        // One byte more than may be there: a file that grows under us shows as a wrong size.
        let mut source = (&self.file).take(self.expected.size_bytes.saturating_add(1));
        let mut size_bytes = 0;
        self.hasher.read_all(&mut source, FetchError::reading(&self.path), &mut |bytes| {
            size_bytes = bytes;
            session.check_cancel()
        })?;
        self.size_bytes = size_bytes;
        Ok(())
    }

    fn write_side(&self, session: &Session<'_>) -> Result<(), FetchError> {
        let written = serde_json::to_vec(&self.side)
            .map_err(std::io::Error::other)
            .and_then(|text| files::write_atomic(&self.side_path, &text));
        written.map_err(|error| session.write_error(&self.side_path, self.expected.size_bytes, error))
    }
}

/// Removes a partial file and its side file, if they are there.
pub(super) fn remove(path: &Path) -> Result<(), FetchError> {
    let side_path = path.with_added_extension("json");
    files::remove_if_there(path).map_err(FetchError::writing(path))?;
    files::remove_if_there(&side_path).map_err(FetchError::writing(&side_path))
}

fn read_side(path: &Path) -> Option<RawSide> {
    let text = files::read_own_text(path, MAX_SIDE_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}
