//! A file that is still arriving: bytes, which of them are here, what they are meant to be, and under which tag of the
//! server they may be continued. All of it survives the process.
//!
//! One connection appends, and then the file's length says what is here. Several connections write where their bytes
//! belong, and then the side file says it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::catalog::FileName;
use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::expectation::{Expectation, ExpectedHash, git_blob_text};
use super::session::Session;
use super::{Event, FetchError};
use crate::files;
use crate::hashing::{Hasher, Sums};
use crate::store::manifest::ManifestFile;

/// Largest side file that is read: a thousand stretches stay below it.
const MAX_SIDE_BYTES: u64 = 64 * 1024;
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
    /// Start and end of what is here; absent while bytes are only appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done: Option<Vec<(u64, u64)>>,
}

/// A file that is arriving.
pub(super) struct Partial {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) expected: Expectation,
    side_path: PathBuf,
    side: RawSide,
    coverage: Coverage,
    /// Of the bytes from the beginning on, as far as they were appended or read back.
    hasher: Hasher,
}

impl Partial {
    /// Opens the partial file of `file_name`. What an earlier run left is kept if it belongs to the same content, and
    /// thrown away otherwise. Nothing is hashed yet.
    pub(super) fn open(session: &Session<'_>, file_name: &FileName, expected: Expectation) -> Result<Self, FetchError> {
        let path = session.temporary_path(file_name, "");
        let side_path = path.with_added_extension("json");
        let fresh = fresh_side(&expected);
        let left =
            read_side(&side_path).filter(|left| RawSide { validator: None, done: None, ..left.clone() } == fresh);
        let file =
            files::open_partial(&path).map_err(|error| session.write_error(&path, expected.size_bytes, error))?;
        let length = file.metadata().map_err(FetchError::reading(&path))?.len();
        let coverage = left.as_ref().and_then(|left| match &left.done {
            Some(done) => Coverage::from_pairs(done, length.min(expected.size_bytes)),
            None => (length <= expected.size_bytes).then(|| Coverage::front_of(length)),
        });
        if length > expected.size_bytes && coverage.is_some() {
            // A file that was too long, set aside for its repair.
            file.set_len(expected.size_bytes).map_err(|error| session.write_error(&path, 0, error))?;
        }
        let side = left.unwrap_or(fresh);
        let hasher = session.hasher(&expected);
        let coverage_left = coverage.unwrap_or_default();
        let is_empty = coverage_left.bytes() == 0;
        let file = Arc::new(file);
        let mut partial = Self { file, path, expected, side_path, side, coverage: coverage_left, hasher };
        if is_empty {
            partial.restart(session)?;
        }
        Ok(partial)
    }

    /// Bytes that are here.
    pub(super) fn size_bytes(&self) -> u64 {
        self.coverage.bytes()
    }

    /// Bytes that are missing.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.expected.size_bytes.saturating_sub(self.size_bytes())
    }

    /// Which bytes are here.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The entity tag to continue under.
    pub(super) fn validator(&self) -> Option<&str> {
        self.side.validator.as_deref()
    }

    /// Notes the entity tag of the server that sends the bytes; weak or odd ones cannot guard a continuation.
    pub(super) fn set_validator(&mut self, session: &Session<'_>, tag: Option<&str>) -> Result<(), FetchError> {
        let validator = tag.filter(|tag| is_strong(tag)).map(str::to_owned);
        if validator == self.side.validator {
            return Ok(());
        }
        self.side.validator = validator;
        self.write_side(session)
    }

    /// Throws away what is here.
    pub(super) fn restart(&mut self, session: &Session<'_>) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| (&*self.file).seek(SeekFrom::Start(0)).map(drop));
        emptied.map_err(|error| session.write_error(&self.path, self.expected.size_bytes, error))?;
        self.hasher = session.hasher(&self.expected);
        self.coverage = Coverage::default();
        self.side = fresh_side(&self.expected);
        self.write_side(session)
    }

    /// Makes it a file that is appended to: what lies behind the first gap is dropped, what is before it is hashed.
    pub(super) fn gather(&mut self, session: &mut Session<'_>, file_name: &FileName) -> Result<(), FetchError> {
        let front = self.coverage.front();
        if self.side.done.is_some() {
            let cut = self.file.set_len(front);
            cut.map_err(|error| session.write_error(&self.path, self.expected.size_bytes, error))?;
            self.coverage = Coverage::front_of(front);
            self.side.done = None;
            self.write_side(session)?;
        }
        if self.hasher.size_bytes() == front {
            return Ok(());
        }
        session.report(Event::Verifying { file: file_name.clone() });
        self.rehash(session)
    }

    /// Takes the next bytes.
    pub(super) fn append(&mut self, session: &Session<'_>, bytes: &[u8]) -> Result<(), FetchError> {
        let written = (&*self.file).write_all(bytes);
        written.map_err(|error| session.write_error(&self.path, self.missing_bytes(), error))?;
        self.hasher.update(bytes);
        let front = self.coverage.front();
        self.coverage.add(front..front.saturating_add(bytes.len() as u64));
        Ok(())
    }

    /// These bytes were written where they belong. The side file is brought up to date by [`Partial::save`].
    pub(super) fn cover(&mut self, stretch: Range<u64>) {
        self.coverage.add(stretch);
    }

    /// Writes down which bytes are here: a process that dies loses no more than came since.
    pub(super) fn save(&mut self, session: &Session<'_>) -> Result<(), FetchError> {
        self.side.done = Some(self.coverage.to_pairs());
        let written = serde_json::to_vec(&self.side)
            .map_err(std::io::Error::other)
            .and_then(|text| files::replace(&self.side_path, &text));
        written.map_err(|error| session.write_error(&self.side_path, self.expected.size_bytes, error))
    }

    /// The hashes of all bytes that were appended.
    pub(super) fn sums(&self) -> Sums {
        self.hasher.clone().finish()
    }

    /// Removes both files: the bytes are of no use.
    pub(super) fn discard(self) -> Result<(), FetchError> {
        remove(&self.path)
    }

    fn rehash(&mut self, session: &Session<'_>) -> Result<(), FetchError> {
        self.hasher = session.hasher(&self.expected);
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0)).map_err(FetchError::reading(&self.path))?;
        // One byte more than may be there: a file that grows under us shows as a wrong size.
        let mut source = file.take(self.expected.size_bytes.saturating_add(1));
        let mut front = 0;
        self.hasher.read_all(&mut source, FetchError::reading(&self.path), &mut |bytes| {
            front = bytes;
            session.check_cancel()
        })?;
        self.coverage = Coverage::front_of(front);
        Ok(())
    }

    fn write_side(&self, session: &Session<'_>) -> Result<(), FetchError> {
        let written = serde_json::to_vec(&self.side)
            .map_err(std::io::Error::other)
            .and_then(|text| files::write_atomic(&self.side_path, &text));
        written.map_err(|error| session.write_error(&self.side_path, self.expected.size_bytes, error))
    }
}

/// Turns an installed file into one that is still arriving, its damaged parts missing, so that the next download fetches
/// just those. `path` is where that download will look.
pub(crate) fn leave(path: &Path, line: &ManifestFile, damaged: &[Range<u64>]) -> std::io::Result<()> {
    let mut coverage = Coverage::front_of(line.size_bytes);
    damaged.iter().for_each(|stretch| coverage.remove(stretch));
    let side = RawSide {
        schema: 1,
        identity: line.sha256.to_string(),
        size_bytes: line.size_bytes,
        validator: None,
        done: Some(coverage.to_pairs()),
    };
    let text = serde_json::to_vec(&side).map_err(std::io::Error::other)?;
    files::write_atomic(&path.with_added_extension("json"), &text)
}

/// Removes a partial file and its side file, if they are there.
pub(super) fn remove(path: &Path) -> Result<(), FetchError> {
    let side_path = path.with_added_extension("json");
    files::remove_if_there(path).map_err(FetchError::writing(path))?;
    files::remove_if_there(&side_path).map_err(FetchError::writing(&side_path))
}

/// Whether an entity tag can guard a continuation: strong, and nothing that could not stand in a header.
pub(super) fn is_strong(tag: &str) -> bool {
    tag.len() <= MAX_VALIDATOR_BYTES
        && tag.len() > 2
        && tag.starts_with('"')
        && tag.ends_with('"')
        && tag.bytes().all(|byte| byte.is_ascii_graphic())
}

fn fresh_side(expected: &Expectation) -> RawSide {
    let identity = match expected.hash {
        ExpectedHash::Sha256(digest, _) => digest.to_string(),
        ExpectedHash::GitBlob(hash) => git_blob_text(&hash),
    };
    RawSide { schema: 1, identity, size_bytes: expected.size_bytes, validator: None, done: None }
}

fn read_side(path: &Path) -> Option<RawSide> {
    let text = files::read_own_text(path, MAX_SIDE_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}
