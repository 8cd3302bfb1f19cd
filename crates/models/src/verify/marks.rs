//! Marks of files that were verified, so that an unchanged one is not hashed again. A cache: without it everything is.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::store::Installed;

/// Where the marks of checked files are kept, in the model's folder.
pub(super) const MARKS_NAME: &str = "verified.json";
/// No kernel we run on stamps files more coarsely (10 ms at 100 Hz), with as much again to spare.
const COARSEST_TICK: Duration = Duration::from_millis(20);
/// Largest file of marks that is read.
const MAX_MARKS_BYTES: u64 = 4 << 20;

/// Remembers files that this process has just verified.
pub(crate) fn remember(installed: &Installed) {
    let mut marks = Marks::default();
    for file in &installed.manifest.files {
        let metadata = fs::symlink_metadata(installed.path_of(&file.path)).map(settled);
        if let Ok(metadata) = metadata {
            marks.files.insert(file.path.to_string(), Mark::of(&metadata));
        }
    }
    marks.write(&installed.directory);
}

/// The metadata, after the file system's clock has moved on from its last change. Times are as coarse as a tick of that
/// clock: a change within the same tick would leave no trace in them.
pub(super) fn settled(metadata: Metadata) -> Metadata {
    let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let age_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX).saturating_sub(changed_ns);
    if age_ns < i128::try_from(COARSEST_TICK.as_nanos()).unwrap_or(0) {
        std::thread::sleep(COARSEST_TICK);
    }
    metadata
}

/// What of a file's metadata changes when somebody writes to it, or puts another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified_s: i64,
    modified_ns: i64,
    changed_s: i64,
    changed_ns: i64,
}

impl Mark {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
        }
    }

    pub(super) fn of_path(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().filter(Metadata::is_file).map(|metadata| Self::of(&metadata))
    }
}

/// Files that were verified, by path. A cache: without it everything is hashed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Marks {
    pub(super) files: BTreeMap<String, Mark>,
}

impl Marks {
    pub(super) fn read(directory: &Path) -> Self {
        let text = files::read_own_text(&directory.join(MARKS_NAME), MAX_MARKS_BYTES);
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// A store that cannot be written to is still a store: then the next load hashes again.
    pub(super) fn write(&self, directory: &Path) {
        if let Ok(text) = serde_json::to_vec_pretty(self) {
            let _ = files::write_atomic(&directory.join(MARKS_NAME), &text);
        }
    }
}
