//! Import of a path on this machine. The bytes are copied and checked against the catalog like any other source's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use protocol::catalog::CatalogFile;

use super::expectation::{Expectation, pinned};
use super::session::{OnDisk, Session};
use super::{Event, FetchError};
use crate::files;
use crate::hashing::Sums;
use crate::store::manifest::ManifestFile;

/// Bytes copied at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Copies `file` from `source`, which is the file itself or the folder that holds it.
pub(super) fn fetch(session: &mut Session<'_>, file: &CatalogFile, source: &Path) -> Result<ManifestFile, FetchError> {
    let metadata = fs::metadata(source).map_err(FetchError::reading(source))?;
    let path = match metadata.is_dir() {
        true => file.name.components().fold(source.to_owned(), |path, component| path.join(component)),
        false => source.to_owned(),
    };
    let reader = File::open(&path).map_err(FetchError::reading(&path))?;
    let size_bytes = reader.metadata().map_err(FetchError::reading(&path))?.len();
    let expected = pinned(file, size_bytes)?;
    if size_bytes != expected.size_bytes {
        let (expected, actual) = (expected.size_bytes, size_bytes);
        return Err(FetchError::SizeMismatch { file: file.name.clone(), expected, actual });
    }
    session.preflight(session.final_path(&file.name).parent().unwrap_or(source), size_bytes)?;
    session.report(Event::Started { file: file.name.clone(), total_bytes: Some(size_bytes), resumed_bytes: 0 });
    let temporary = session.temporary_path(&file.name, ".import");
    let copied =
        copy(session, &expected, OnDisk { opened: &reader, path: &path }, &temporary).and_then(|(writer, sums)| {
            let line = expected.verdict(&file.name, &sums)?;
            session.publish(&file.name, &writer, &temporary)?;
            Ok(line)
        });
    if copied.is_err() {
        // The original is still there; the first error is the one that matters.
        let _ = files::remove_if_there(&temporary);
    }
    copied
}

/// Copies a file and hashes what is copied.
pub(super) fn copy(
    session: &mut Session<'_>,
    expected: &Expectation,
    from: OnDisk<'_>,
    to: &Path,
) -> Result<(File, Sums), FetchError> {
    let mut writer = files::open_partial(to).map_err(|error| session.write_error(to, expected.size_bytes, error))?;
    writer.set_len(0).map_err(FetchError::writing(to))?;
    let mut hasher = session.hasher(expected);
    let mut limited = from.opened.take(expected.size_bytes.saturating_add(1));
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut bytes = 0_u64;
    loop {
        session.check_cancel()?;
        let count = limited.read(&mut buffer).map_err(FetchError::reading(from.path))?;
        if count == 0 {
            return Ok((writer, hasher.finish()));
        }
        hasher.update(&buffer[..count]);
        let written = writer.write_all(&buffer[..count]);
        written.map_err(|error| session.write_error(to, expected.size_bytes, error))?;
        bytes = bytes.saturating_add(count as u64);
        session.report(Event::Progress { bytes });
    }
}
