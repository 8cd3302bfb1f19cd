//! What of the store may go: downloads that nobody finished, and models that no catalog knows. Never what is in use, what
//! is being fetched, or what is young. First a list, then, item by item, the deed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use protocol::identifiers::ModelId;

use super::{Installed, QUARANTINE_ENDING, Store, StoreError};
use crate::catalog::Catalog;
use crate::{disk, files};

/// A download that was not gone on with for so long will not be.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A model that was installed a moment ago is about to be used.
const YOUNG_FOR: Duration = Duration::from_secs(3600);

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prunable {
    /// The model it belongs to.
    pub id: ModelId,
    /// What it is.
    pub kind: PrunableKind,
    /// Bytes that would be free.
    pub size_bytes: u64,
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrunableKind {
    /// A model of which no manifest is there, not touched for a day.
    Unfinished,
    /// A partial file beside an installed model, not touched for a day.
    Partial(PathBuf),
    /// Bytes that were not the model's, beside an installed one, kept for a day.
    Quarantined(PathBuf),
    /// An installed model that no catalog knows.
    Unknown,
}

impl PrunableKind {
    /// Why it may go, for people and machines.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            PrunableKind::Unfinished => "unfinished for a day",
            PrunableKind::Partial(_) => "a partial file, untouched for a day",
            PrunableKind::Quarantined(_) => "wrong bytes, kept for a day",
            PrunableKind::Unknown => "not in the catalog",
        }
    }
}

impl Store {
    /// What may go at `now`. `in_use` are the models that workers hold.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn prunable(
        &self,
        catalog: &Catalog,
        in_use: &[ModelId],
        now: SystemTime,
    ) -> Result<Vec<Prunable>, StoreError> {
        let listing = self.list()?;
        let mut found = Vec::new();
        for incomplete in listing.incomplete {
            let is_stale = age(newest(&self.directory(&incomplete.id)), now) >= STALE_AFTER;
            if is_stale && !in_use.contains(&incomplete.id) && !self.is_claimed(&incomplete.id) {
                let (id, size_bytes) = (incomplete.id, incomplete.size_bytes);
                found.push(Prunable { id, kind: PrunableKind::Unfinished, size_bytes });
            }
        }
        for installed in listing.models {
            let id = installed.manifest.id.clone();
            if self.is_claimed(&id) {
                continue;
            }
            let is_known = catalog.entries().iter().any(|entry| entry.id == id);
            let completed =
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(installed.manifest.completed_at_ms));
            if !is_known && !in_use.contains(&id) && age(completed, now) >= YOUNG_FOR {
                let size_bytes = disk::occupied_bytes(&installed.directory);
                found.push(Prunable { id, kind: PrunableKind::Unknown, size_bytes });
            } else {
                found.extend(stale_partials(&installed, now));
            }
        }
        Ok(found)
    }

    /// Removes one thing; returns the bytes that were freed. What was begun since the list was made is left alone.
    ///
    /// # Errors
    /// It is being fetched, or the system refuses.
    pub fn prune(&self, item: &Prunable) -> Result<u64, StoreError> {
        let path = match &item.kind {
            PrunableKind::Unfinished if self.get(&item.id).is_ok_and(|model| model.is_some()) => return Ok(0),
            PrunableKind::Unfinished | PrunableKind::Unknown => return self.delete(&item.id),
            PrunableKind::Partial(path) | PrunableKind::Quarantined(path) => path,
        };
        let Some(_claim) = self.try_claim(&item.id)? else {
            return Err(StoreError::Busy { id: item.id.clone() });
        };
        let side = path.with_added_extension("json");
        for path in [path, &side] {
            files::remove_if_there(path).map_err(StoreError::io("delete", path))?;
        }
        Ok(item.size_bytes)
    }

    /// Whether another process writes the model now; what cannot be told counts as yes.
    fn is_claimed(&self, id: &ModelId) -> bool {
        !matches!(self.try_claim(id), Ok(Some(_)))
    }
}

/// Partial files and wrong bytes in an installed model's folder, none of them fresh.
fn stale_partials(installed: &Installed, now: SystemTime) -> Vec<Prunable> {
    let entries = fs::read_dir(&installed.directory).into_iter().flatten().flatten();
    let stale = entries.filter_map(|entry| {
        let path = entry.path();
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let is_stale = age(metadata.modified().ok(), now) >= STALE_AFTER;
        let (id, size_bytes) = (installed.manifest.id.clone(), disk::blocks_bytes(&metadata));
        let kind = match path.extension().and_then(|ending| ending.to_str()) {
            Some("part") => PrunableKind::Partial(path),
            _ if entry.file_name().to_str().is_some_and(files::is_scrap) => PrunableKind::Partial(path),
            Some(QUARANTINE_ENDING) => PrunableKind::Quarantined(path),
            _ => return None,
        };
        is_stale.then_some(Prunable { id, kind, size_bytes })
    });
    stale.collect()
}

/// When anything below a folder was last written to.
fn newest(folder: &Path) -> Option<SystemTime> {
    let of_folder = fs::symlink_metadata(folder).and_then(|metadata| metadata.modified()).ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.filter_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest(&entry.path()),
        _ => entry.metadata().and_then(|metadata| metadata.modified()).ok(),
    });
    below.chain(of_folder).max()
}

/// How long ago; what cannot be told, or lies ahead, is of now.
fn age(then: Option<SystemTime>, now: SystemTime) -> Duration {
    then.and_then(|then| now.duration_since(then).ok()).unwrap_or(Duration::ZERO)
}
