//! Files that lie in the cache of the hub's own client: verified like any other source's, then taken without a transfer.
//!
//! A second name (a hard link) is given only to what is read-only there: the two names share their bytes, and whoever
//! writes through the other one would change a verified file of ours. Anything else is copied, sharing its blocks where
//! the file system can. Nothing in the cache is written to, its permissions included.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use protocol::catalog::{CatalogEntry, CatalogFile};

use super::expectation::{Expectation, ExpectedHash, content_hash};
use super::session::{OnDisk, Session};
use super::{Event, FetchError, local};
use crate::files;
use crate::hub_cache::RepoFolder;
use crate::store::manifest::{Authority, ManifestFile};

/// Whether the cache has something of this commit.
pub(super) fn has_snapshot(cache: &Path, entry: &CatalogEntry) -> bool {
    let snapshot = RepoFolder::new(cache, &entry.repo).snapshot(&entry.revision);
    fs::read_dir(snapshot).is_ok_and(|mut files| files.next().is_some())
}

/// Takes `file` from the cache.
pub(super) fn fetch(session: &mut Session<'_>, file: &CatalogFile, cache: &Path) -> Result<ManifestFile, FetchError> {
    let entry = session.entry;
    let pointer = RepoFolder::new(cache, &entry.repo).pointer(&entry.revision, &file.name);
    // Not our disk: what cannot be read here may still come from elsewhere.
    let not_cached =
        |error: std::io::Error| FetchError::NotCached { file: file.name.clone(), reason: error.to_string() };
    let path = fs::canonicalize(&pointer).map_err(not_cached)?;
    let opened = files::open_regular(&path).map_err(not_cached)?;
    let metadata = opened.metadata().map_err(not_cached)?;
    let expected = expectation(file, &pointer, metadata.len())?;
    if metadata.len() != expected.size_bytes {
        let (expected, actual) = (expected.size_bytes, metadata.len());
        return Err(FetchError::SizeMismatch { file: file.name.clone(), expected, actual });
    }
    let size_bytes = metadata.len();
    session.report(Event::Started { file: file.name.clone(), total_bytes: Some(size_bytes), resumed_bytes: 0 });
    let temporary = session.temporary_path(&file.name, ".cache");
    let taken = take(session, &expected, (OnDisk { opened: &opened, path: &path }, &metadata), &temporary);
    let finished = taken.and_then(|taken| {
        let sums = match taken {
            Taken::Copied(sums) => sums,
            Taken::Shared(shared) => {
                let on_disk = OnDisk { opened: &shared, path: &temporary };
                session.hash(&file.name, on_disk, session.hasher(&expected))?
            }
        };
        let line = expected.verdict(&file.name, &sums)?;
        let named = files::open_regular(&temporary).map_err(FetchError::reading(&temporary))?;
        session.publish(&file.name, &named, &temporary)?;
        Ok(line)
    });
    if finished.is_err() {
        // The first error is the one that matters.
        let _ = files::remove_if_there(&temporary);
    }
    finished
}

/// How the bytes came here.
enum Taken {
    /// Copied, and hashed on the way.
    Copied(crate::hashing::Sums),
    /// Not copied; still to be hashed.
    Shared(File),
}

fn take(
    session: &mut Session<'_>,
    expected: &Expectation,
    (from, metadata): (OnDisk<'_>, &Metadata),
    temporary: &Path,
) -> Result<Taken, FetchError> {
    let directory = temporary.parent().unwrap_or(temporary);
    let here = fs::metadata(directory).map_err(FetchError::reading(directory))?;
    let is_read_only = metadata.mode() & 0o222 == 0;
    if is_read_only && metadata.dev() == here.dev() && files::link(from.path, temporary).is_ok() {
        // The name may have been given to another file meanwhile: what is hashed is what the new name holds.
        let shared = files::open_regular(temporary).map_err(FetchError::reading(temporary))?;
        return Ok(Taken::Shared(shared));
    }
    if let Some(shared) = files::share_blocks(from.opened, temporary) {
        return Ok(Taken::Shared(shared));
    }
    session.preflight(directory, expected.size_bytes)?;
    local::copy(session, expected, from, temporary).map(|(_, sums)| Taken::Copied(sums))
}

/// What the bytes must be: by the catalog, else by the name of the blob, which is the tag the hub announced.
fn expectation(file: &CatalogFile, pointer: &Path, actual_size_bytes: u64) -> Result<Expectation, FetchError> {
    let blob = fs::read_link(pointer).ok();
    let tag = blob.as_ref().and_then(|blob| blob.file_name()).and_then(|name| name.to_str());
    let announced = tag.and_then(content_hash);
    let hash = match (file.sha256, announced) {
        (Some(sha256), _) => ExpectedHash::Sha256(sha256, Authority::Catalog),
        (None, Some(announced)) => announced,
        (None, None) => return Err(FetchError::NoHash { file: file.name.clone() }),
    };
    Ok(Expectation { size_bytes: file.size_bytes.unwrap_or(actual_size_bytes), hash })
}
