//! Files and folders of an installation: readable to all, on disk before they have a name, gone whether they were there or not.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::PROGRAMS;
use crate::failure::Failure;

const TEXT_MODE: u32 = 0o644;
/// Of folders too.
const PROGRAM_MODE: u32 = 0o755;
/// What is compared at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// A failure of a place that cannot be written to.
pub fn refused(message: &str, kind: ErrorKind) -> Failure {
    let hint = match kind {
        ErrorKind::PermissionDenied => "choose another folder with `--prefix PATH`; `--system` needs `sudo -E`",
        _ => "choose another folder with `--prefix PATH`",
    };
    Failure::new(message).hint(hint)
}

/// Makes a folder and those above it, readable to all whatever the umask: what is in it is for all.
pub fn make_folder(folder: &Path) -> Result<(), Failure> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|folder| folder.symlink_metadata().is_err()).collect();
    while let Some(folder) = missing.pop() {
        match std::fs::create_dir(folder) {
            Ok(()) => fs_err::set_permissions(folder, Permissions::from_mode(PROGRAM_MODE))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(refused(&format!("cannot make `{}`: {error}", folder.display()), error.kind()));
            }
        }
    }
    Ok(())
}

/// Paths of all files below `folder`, relative to it, in order.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = folders.pop() {
        for entry in fs_err::read_dir(folder.join(&below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            if entry.file_type()?.is_dir() { folders.push(name) } else { files.push(name) }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether two files say the same.
pub fn have_same_bytes(one: fs_err::File, other: fs_err::File) -> Result<bool, Failure> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) =
        (BufReader::with_capacity(BUFFER_BYTES, one), BufReader::with_capacity(BUFFER_BYTES, other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let count = left.len().min(right.len());
        if left[..count] != right[..count] || (count == 0 && left.len() != right.len()) {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
        one.consume(count);
        other.consume(count);
    }
}

/// Lets everybody read what is below a folder, whatever the umask, and waits until it is on disk.
pub fn settle(folder: &Path) -> Result<(), Failure> {
    let mode = if folder.ends_with(PROGRAMS) { PROGRAM_MODE } else { TEXT_MODE };
    for entry in fs_err::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            settle(&path)?;
        } else {
            fs_err::set_permissions(&path, Permissions::from_mode(mode))?;
            sync_folder(&path)?;
        }
    }
    fs_err::set_permissions(folder, Permissions::from_mode(PROGRAM_MODE))?;
    sync_folder(folder)
}

/// Waits until a file, or the names in a folder, are on disk.
pub fn sync_folder(path: &Path) -> Result<(), Failure> {
    Ok(fs_err::File::open(path)?.sync_all()?)
}

/// Removes a file or a link; its absence is what is wanted.
pub fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes a folder with all in it, or whatever else is there; links are not followed.
pub fn remove_tree(path: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => Ok(fs_err::remove_dir_all(path)?),
        Ok(_) => remove_if_there(path),
        Err(_) => Ok(()),
    }
}
