//! File habits of this crate: nothing is opened through a link or blocks on a pipe, nothing is written in place, and
//! what was written is on disk before its name says so.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use protocol::error::ErrorCode;
use rustix::fs::OFlags;

/// Opens a regular file for reading; a link as last component, a folder, a pipe or a device is an error.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Opens a file that is appended to and read back, made if it is not there; never through a link.
pub(crate) fn open_partial(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// A text file of at most `max_bytes`. The user names these, so links are followed.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    read_limited(file, max_bytes)
}

/// A text file of the store, of at most `max_bytes`; links are not followed.
pub(crate) fn read_own_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    read_limited(open_regular(path)?, max_bytes)
}

/// The first `bytes` bytes of a file of the store, or all of it if it is shorter.
pub(crate) fn read_beginning(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    open_regular(path)?.take(bytes).read_to_end(&mut beginning)?;
    Ok(beginning)
}

fn read_limited(file: File, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(max_bytes.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {max_bytes} bytes")));
    }
    Ok(text)
}

/// Replaces `path` by `bytes`: a reader sees the old content or the new, never a part.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, true)
}

/// As [`write_atomic`], without waiting for the disk: it survives the end of the process, not that of the machine.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, false)
}

fn put(path: &Path, bytes: &[u8], is_durable: bool) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("the path has no parent"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path has no name"))?.to_string_lossy().into_owned();
    let temporary = directory.join(format!(".{name}.{}", random_suffix()?));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if is_durable { file.sync_all() } else { Ok(()) }
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    let renamed = renamed.and_then(|()| if is_durable { sync_directory(directory) } else { Ok(()) });
    if renamed.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Whether a name is that of a file which [`write_atomic`] or [`replace`] was about to rename. No file of a model begins with
/// a dot.
pub(crate) fn is_scrap(name: &str) -> bool {
    let suffix = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
    suffix.is_some_and(|(_, suffix)| suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Gives a complete, verified file its final name: read-only, on disk, then renamed, then the folder on disk.
pub(crate) fn publish(file: &File, temporary: &Path, path: &Path) -> io::Result<()> {
    // What is read-only may have other names (a hub's cache), whose permissions are not ours to change.
    if file.metadata()?.mode() & 0o222 != 0 {
        file.set_permissions(Permissions::from_mode(0o444))?;
    }
    file.sync_all()?;
    fs::rename(temporary, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Gives a complete file that is wrong the name under which wrong ones are kept; nobody writes to it any more.
pub(crate) fn quarantine(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(temporary, Permissions::from_mode(0o444))?;
    fs::rename(temporary, path)
}

/// Takes a file's final name away: it becomes a partial file that can be written to. Where other names share its bytes
/// (a hub's cache) it is a copy, so that nothing is written through to them.
pub(crate) fn unpublish(path: &Path, temporary: &Path) -> io::Result<()> {
    let file = open_regular(path)?;
    if file.metadata()?.nlink() > 1 {
        copy(&file, temporary)?;
        return fs::remove_file(path);
    }
    file.set_permissions(Permissions::from_mode(0o644))?;
    fs::rename(path, temporary)
}

/// A copy of a file under a name that is not its last.
pub(crate) fn copy(from: &File, to: &Path) -> io::Result<File> {
    if let Some(shared) = share_blocks(from, to) {
        return Ok(shared);
    }
    let target = open_partial(to)?;
    target.set_len(0)?;
    let (mut source, mut sink) = (from, &target);
    io::copy(&mut source, &mut sink)?;
    Ok(target)
}

/// A copy that takes no space until one of the two is written to, where the file system can do that.
pub(crate) fn share_blocks(from: &File, to: &Path) -> Option<File> {
    #[cfg(target_os = "linux")]
    {
        let target = open_partial(to).ok()?;
        target.set_len(0).ok()?;
        rustix::fs::ioctl_ficlone(&target, from).is_ok().then_some(target)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (_, _) = (from, to);
        None
    }
}

/// A second name for a file, on the same file system.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    remove_if_there(to)?;
    fs::hard_link(from, to)
}

/// Puts the verified file `from` under a name outside the store: the same file where that can be, else a copy.
pub(crate) fn lend(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_added_extension(format!("{}.llorch", random_suffix()?));
    let lent = link(from, &temporary).or_else(|_| {
        let file = copy(&open_regular(from)?, &temporary)?;
        file.set_permissions(Permissions::from_mode(0o444))
    });
    let lent = lent.and_then(|()| fs::rename(&temporary, to));
    if lent.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    lent
}

/// Makes `path` a link to `target`, in one step.
pub(crate) fn point(path: &Path, target: &Path) -> io::Result<()> {
    let temporary = path.with_added_extension(format!("{}.llorch", random_suffix()?));
    std::os::unix::fs::symlink(target, &temporary)?;
    let renamed = fs::rename(&temporary, path);
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Makes names in a folder durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What to do where there is no space.
pub(crate) const FULL_HINT: &str =
    "free some space, delete models (`cargo xtask models disk-usage`), or set `LLORCH_DATA_DIR`";

/// Whether the disk, or what this user may have of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about an error of the disk, if it is full.
pub(crate) fn full_hint(error: &io::Error) -> Option<String> {
    is_full(error).then(|| FULL_HINT.to_owned())
}

/// The machine's word for an error of the disk.
pub(crate) fn error_code(error: &io::Error) -> ErrorCode {
    if is_full(error) { ErrorCode::DiskFull } else { ErrorCode::StorageFailed }
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Eight hexadecimal digits for names that must not collide.
pub(crate) fn random_suffix() -> io::Result<String> {
    Ok(format!("{:08x}", getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?))
}
