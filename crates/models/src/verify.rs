//! Checking bytes: all of them on demand, and before a model is loaded unless nothing touched the files since they were
//! last checked.

mod marks;
mod report;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use marks::remember;
pub use report::{Fault, Report, VerifyError};

use crate::fetch::partial;
use crate::files;
use crate::hashing::{ChunkCheck, Hasher};
use crate::store::manifest::{MANIFEST_NAME, ManifestFile};
use crate::store::{Installed, QUARANTINE_ENDING, Store, StoreError};
use marks::{MARKS_NAME, Mark, Marks, settled};

/// Bytes read from a chunk at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Hashes every byte of every file and looks for files that do not belong. A good model is remembered, so that
/// [`open_model`] need not hash it again.
#[must_use]
pub fn verify(installed: &Installed) -> Report {
    match verify_with(installed, &mut |_| {}, &AtomicBool::new(false)) {
        Ok(report) => report,
        // The flag is never set.
        Err(error) => unreachable!("{error}"),
    }
}

/// As [`verify`], telling `progress` the bytes hashed so far.
///
/// # Errors
/// [`VerifyError::Interrupted`] once `cancel` is set.
pub fn verify_with(
    installed: &Installed,
    progress: &mut dyn FnMut(u64),
    cancel: &AtomicBool,
) -> Result<Report, VerifyError> {
    let mut report = Report { id: installed.manifest.id.clone(), faults: Vec::new(), hashed_bytes: 0 };
    let mut marks = Marks::default();
    for file in &installed.manifest.files {
        let before = report.hashed_bytes;
        let checked = check_file(installed, file, &mut |bytes| {
            progress(before.saturating_add(bytes));
            cancel.load(Ordering::Relaxed)
        });
        match checked {
            Ok(mark) => {
                report.hashed_bytes = before.saturating_add(file.size_bytes);
                marks.files.insert(file.path.to_string(), mark);
            }
            Err(Stop::Fault(fault)) => report.faults.push(fault),
            Err(Stop::Cancelled) => return Err(VerifyError::Interrupted),
        }
    }
    report.faults.extend(extras(installed));
    marks.write(&installed.directory);
    Ok(report)
}

/// Prepares a repair: removes the manifest and the files that `report` found wrong, so that a plain download fetches just
/// those again. A file of which is known what is wrong becomes a partial file that lacks only that.
///
/// # Errors
/// The model is being fetched, or the system refuses.
pub fn discard_faulty(store: &Store, installed: &Installed, report: &Report) -> Result<(), StoreError> {
    let id = &installed.manifest.id;
    let Some(_claim) = store.try_claim(id)? else {
        return Err(StoreError::Busy { id: id.clone() });
    };
    let faulty: Vec<&Fault> = report.faults.iter().filter(|fault| fault.file().is_some()).collect();
    if faulty.is_empty() {
        return Ok(());
    }
    // The manifest first: without it nothing claims that the files are there.
    let manifest_path = installed.directory.join(MANIFEST_NAME);
    files::remove_if_there(&manifest_path).map_err(StoreError::io("delete", &manifest_path))?;
    for fault in faulty {
        let Some(line) = installed.manifest.files.iter().find(|line| Some(&line.path) == fault.file()) else {
            continue;
        };
        let path = installed.path_of(&line.path);
        let set_aside = match fault.damaged() {
            Some(damaged) => set_aside(&path, line, damaged),
            None => remove(&path),
        };
        set_aside.map_err(StoreError::io("set aside", &path))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        _ => files::remove_if_there(path),
    }
}

fn set_aside(path: &Path, line: &ManifestFile, damaged: &[Range<u64>]) -> io::Result<()> {
    let temporary = path.with_file_name(format!("{}.part", line.path.base_name()));
    // What a download left before belongs to the same name and knows less.
    files::remove_if_there(&temporary)?;
    partial::leave(&temporary, line, damaged)?;
    files::unpublish(path, &temporary)
}

/// The only way to a model file that is about to be loaded: opens it without following links and makes sure that it is
/// the file that was verified. Nothing is hashed if inode, size and times are those of the last check.
///
/// # Errors
/// [`VerifyError::Damaged`] if any file of the model is not what was installed.
pub fn open_model(installed: &Installed, cancel: &AtomicBool) -> Result<File, VerifyError> {
    let id = &installed.manifest.id;
    let damaged = |fault| VerifyError::Damaged { id: id.clone(), fault: Box::new(fault) };
    let mut marks = Marks::read(&installed.directory);
    let mut is_changed = false;
    for file in &installed.manifest.files {
        let mark = Mark::of_path(&installed.path_of(&file.path));
        if mark.is_some() && marks.files.get(file.path.as_str()) == mark.as_ref() {
            continue;
        }
        let checked = check_file(installed, file, &mut |_| cancel.load(Ordering::Relaxed));
        let mark = checked.map_err(|stop| match stop {
            Stop::Fault(fault) => damaged(fault),
            Stop::Cancelled => VerifyError::Interrupted,
        })?;
        marks.files.insert(file.path.to_string(), mark);
        is_changed = true;
    }
    if is_changed {
        marks.write(&installed.directory);
    }
    let path = installed.model_file();
    files::open_regular(&path).map_err(|error| {
        let name = installed.manifest.files[0].path.clone();
        damaged(Fault::Unreadable { file: name, reason: error.to_string() })
    })
}

/// Why the check of a file ended early.
enum Stop {
    Fault(Fault),
    Cancelled,
}

fn check_file(
    installed: &Installed,
    file: &ManifestFile,
    is_cancelled: &mut dyn FnMut(u64) -> bool,
) -> Result<Mark, Stop> {
    let name = || file.path.clone();
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Stop::Fault(Fault::Missing { file: name() }),
        _ => Stop::Fault(Fault::Unreadable { file: name(), reason: error.to_string() }),
    };
    let mut opened = files::open_regular(&installed.path_of(&file.path)).map_err(unreadable)?;
    let metadata = settled(opened.metadata().map_err(unreadable)?);
    if metadata.len() != file.size_bytes {
        let (expected, actual) = (file.size_bytes, metadata.len());
        let damaged = damaged_parts(&opened, file, is_cancelled)?;
        return Err(Stop::Fault(Fault::Size { file: name(), expected, actual, damaged }));
    }
    let mut hasher = Hasher::new();
    hasher.read_all(&mut opened, unreadable, &mut |bytes| match is_cancelled(bytes) {
        true => Err(Stop::Cancelled),
        false => Ok(()),
    })?;
    let sums = hasher.finish();
    if sums.sha256 != file.sha256 {
        let damaged = damaged_parts(&opened, file, is_cancelled)?;
        let (expected, actual) = (file.sha256, sums.sha256);
        return Err(Stop::Fault(Fault::Content { file: name(), expected, actual, damaged }));
    }
    Ok(Mark::of(&metadata))
}

/// Which chunks of a file are not what they were; `None` if nothing tells, or if every chunk seems good.
fn damaged_parts(
    opened: &File,
    file: &ManifestFile,
    is_cancelled: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Vec<Range<u64>>>, Stop> {
    let Some(chunks) = file.chunks.as_ref().filter(|chunks| chunks.fit(file.size_bytes)) else {
        return Ok(None);
    };
    let mut damaged: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    for index in 0..=chunks.waypoints.len() {
        let start = chunks.chunk_bytes.saturating_mul(index as u64);
        let chunk = start..start.saturating_add(chunks.chunk_bytes).min(file.size_bytes);
        let mut check = ChunkCheck::new(index, chunks.chunk_bytes, (&chunks.waypoints, file.sha256));
        let mut at = chunk.start;
        while at < chunk.end {
            if is_cancelled(file.size_bytes) {
                return Err(Stop::Cancelled);
            }
            let wanted = usize::try_from(chunk.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let Ok(()) = opened.read_exact_at(&mut buffer[..wanted], at) else {
                // Behind the end, or on a bad spot of the disk.
                check = None;
                break;
            };
            if let Some(check) = &mut check {
                check.update(&buffer[..wanted]);
            }
            at += wanted as u64;
        }
        if check.is_some_and(ChunkCheck::passes) {
            continue;
        }
        match damaged.last_mut().filter(|last| last.end == chunk.start) {
            Some(last) => last.end = chunk.end,
            None => damaged.push(chunk),
        }
    }
    // A file that is too long has only good chunks: cutting it is its repair.
    let is_too_long = opened.metadata().is_ok_and(|metadata| metadata.len() > file.size_bytes);
    Ok((is_too_long || !damaged.is_empty()).then_some(damaged))
}

/// What lies in the folder and is neither a file of the model, nor ours, nor an unfinished download.
fn extras(installed: &Installed) -> Vec<Fault> {
    let known: BTreeSet<&str> = installed.manifest.files.iter().map(|file| file.path.as_str()).collect();
    let mut found = Vec::new();
    collect_files(&installed.directory, Path::new(""), &mut found);
    found.sort();
    let is_extra = |path: &PathBuf| {
        let text = path.to_string_lossy();
        let is_ours = [MANIFEST_NAME, MARKS_NAME].contains(&&*text);
        let endings = ["part", "part.json", QUARANTINE_ENDING];
        let is_partial = endings.iter().any(|ending| text.ends_with(&format!(".{ending}")));
        !is_ours && !is_partial && !is_scrap(path) && !known.contains(&*text)
    };
    found.into_iter().filter(is_extra).map(|path| Fault::Extra { path }).collect()
}

/// Whether a run that was killed left it while it replaced a file of ours.
fn is_scrap(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(files::is_scrap)
}

fn collect_files(directory: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_files(&entry.path(), &path, found);
        } else {
            found.push(path);
        }
    }
}
