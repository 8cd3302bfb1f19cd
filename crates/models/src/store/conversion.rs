//! A converted file's place in the store: beside the checkpoint it was made from, in the same manifest.
//!
//! The converter is a program of its own. It gives its output the final name after it has read every tensor back; what is
//! kept here is the model's folder meanwhile, and the line of the manifest afterwards.

use std::fs;
use std::path::PathBuf;

use protocol::catalog::FileName;
use protocol::identifiers::Digest;

use super::manifest::{Authority, ManifestFile, ModelKind};
use super::{Claim, Installed, Store, StoreError};

/// The right to convert one model, until it is dropped: nobody fetches, deletes or converts it meanwhile.
#[derive(Debug)]
pub struct Conversion {
    installed: Installed,
    file: FileName,
    _claim: Claim,
}

impl Store {
    /// Begins a conversion of an installed checkpoint. `outtype` is the converter's word, which becomes part of the name.
    ///
    /// # Errors
    /// The model is no checkpoint, another process writes its folder, or the system refuses.
    pub fn convert(&self, installed: &Installed, outtype: &str) -> Result<Conversion, StoreError> {
        let id = &installed.manifest.id;
        let name = format!("{id}-{outtype}.gguf").parse::<FileName>();
        let file = match (installed.manifest.kind, name) {
            (ModelKind::Checkpoint, Ok(file)) => file,
            (ModelKind::Gguf | ModelKind::Checkpoint, _) => return Err(StoreError::NotACheckpoint { id: id.clone() }),
        };
        let claim = self.try_claim(id)?.ok_or_else(|| StoreError::Busy { id: id.clone() })?;
        // As it is now that nobody else writes it.
        Ok(Conversion { installed: self.require(id)?, file, _claim: claim })
    }
}

impl Conversion {
    /// Where the converter writes.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.installed.path_of(&self.file)
    }

    /// Puts the converter's finished file on record, as the one that workers are given.
    ///
    /// # Errors
    /// It is not there with that size, or the manifest cannot be written.
    pub fn finish(self, size_bytes: u64, sha256: Digest) -> Result<Installed, StoreError> {
        let Self { mut installed, file, _claim } = self;
        let path = installed.path_of(&file);
        let found = fs::symlink_metadata(&path).map_err(StoreError::io("read", &path))?;
        if !found.is_file() || found.len() != size_bytes {
            let reason = format!("it has {} bytes, the converter wrote {size_bytes}", found.len());
            return Err(StoreError::io("use", &path)(std::io::Error::other(reason)));
        }
        let line = ManifestFile {
            path: file.clone(),
            size_bytes,
            sha256,
            checked_against: Authority::Conversion,
            chunks: None,
        };
        installed.manifest.files.retain(|other| other.path != file);
        installed.manifest.files.insert(0, line);
        let directory = &installed.directory;
        installed.manifest.write(directory).map_err(StoreError::io("write the manifest in", directory))?;
        Ok(installed)
    }
}
