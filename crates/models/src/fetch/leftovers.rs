//! What lies in a model's folder beside its files: scraps of runs that were killed, wrong bytes that are kept to be looked
//! at, folders that were made for nothing. Partial files are `partial`'s.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::catalog::FileName;

use super::session::Session;
use super::{Event, partial};
use crate::store::QUARANTINE_ENDING;
use crate::{disk, files};

impl Session<'_> {
    /// Sets aside the complete file `temporary`, whose bytes are not the model's, so that somebody can look at what the source
    /// sent. One copy a model: an older one goes. Nothing is ever loaded, resumed or adopted from it, and the next good
    /// download removes it.
    pub(super) fn quarantine(&mut self, file: &FileName, temporary: &Path) {
        self.drop_quarantine();
        let path = self.quarantine_path(file);
        let is_kept = files::quarantine(temporary, &path).is_ok();
        // What cannot be set aside is thrown away; what cannot even be thrown away fails its hash again next time. The
        // error that matters is the one about the bytes.
        let _ = partial::remove(temporary);
        if is_kept {
            self.report(Event::Quarantined { file: file.clone(), path });
        }
    }

    /// Removes wrong bytes of earlier downloads.
    pub(super) fn drop_quarantine(&self) {
        for file in self.entry.files() {
            // What stays is found by `prune`.
            let _ = files::remove_if_there(&self.quarantine_path(&file.name));
        }
    }

    /// Bytes of the model's folder that a download can count on: all but the wrong ones.
    pub(super) fn useful_bytes(&self) -> u64 {
        let quarantined = self.entry.files().iter().map(|file| {
            fs::symlink_metadata(self.quarantine_path(&file.name)).map_or(0, |metadata| disk::blocks_bytes(&metadata))
        });
        quarantined.fold(disk::occupied_bytes(self.directory()), u64::saturating_sub)
    }

    /// Files that are not here under their final names with the size they must have.
    pub(super) fn missing(&self) -> Vec<FileName> {
        let is_missing = |file: &&protocol::catalog::CatalogFile| {
            let metadata = fs::symlink_metadata(self.final_path(&file.name)).ok().filter(fs::Metadata::is_file);
            metadata.is_none_or(|metadata| file.size_bytes.is_some_and(|size_bytes| size_bytes != metadata.len()))
        };
        self.entry.files().iter().filter(is_missing).map(|file| file.name.clone()).collect()
    }

    fn quarantine_path(&self, file: &FileName) -> PathBuf {
        self.final_path(file).with_added_extension(QUARANTINE_ENDING)
    }

    /// Removes what a process that was killed left half-written. No file of a model begins with a dot.
    pub(super) fn remove_scraps(&self) {
        // Where no lock keeps others away, it may be theirs.
        if self.writer.is_some() {
            return;
        }
        let mut folders: Vec<PathBuf> = self
            .entry
            .files()
            .iter()
            .filter_map(|file| self.final_path(&file.name).parent().map(Path::to_owned))
            .collect();
        folders.push(self.directory().to_owned());
        for entry in folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                // What stays is found by `verify`.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the folders that were made for nothing: a model of which not one byte came leaves no trace.
    pub(super) fn remove_empty(&self) {
        for file in self.entry.files() {
            let path = self.final_path(&file.name);
            let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(self.directory()));
            // The first that is not empty ends it.
            let _not_empty = folders.map(fs::remove_dir).find(Result::is_err);
        }
    }
}
