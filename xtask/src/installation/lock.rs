//! One change of a prefix at a time, whoever makes it; or of another folder.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Prefix, make_folder};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;

const POLL: Duration = Duration::from_millis(50);
/// A folder that is gone each time it was made is no race.
const VANISHED_MAX: u32 = 16;

/// The right to change a folder; ends with this value, or with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else changes the prefix. Makes its folder.
    ///
    /// # Errors
    /// The folder cannot be made, or Ctrl-C.
    pub fn take(prefix: &Prefix, output: Output) -> Result<Self, Failure> {
        let other = format!("another install into `{}`", prefix.path().display());
        Self::take_in(&prefix.home(), &other, output)
    }

    /// The same in any folder, which whoever holds the lock may remove; `other` is who may have to be waited for.
    ///
    /// # Errors
    /// The folder cannot be made, or Ctrl-C.
    pub fn take_in(folder: &Path, other: &str, output: Output) -> Result<Self, Failure> {
        let path = folder.join("lock");
        let (mut has_said, mut vanished) = (false, 0_u32);
        loop {
            interrupt::check()?;
            match make_folder(folder) {
                // Whoever was waited for has just removed the folder above.
                Err(_) if vanished < VANISHED_MAX => {
                    vanished += 1;
                    continue;
                }
                made => made?,
            }
            let mut options = fs_err::OpenOptions::new();
            let file: File = match options.write(true).create(true).truncate(false).open(&path) {
                Ok(file) => file.into(),
                // Whoever was waited for has just removed the folder: an uninstall, a dist that is done.
                Err(error) if error.kind() == ErrorKind::NotFound && vanished < VANISHED_MAX => {
                    vanished += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match file.try_lock() {
                // The file that was locked is removed with the folder.
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !has_said {
                        output.note(format_args!("waiting for {other}"));
                        has_said = true;
                    }
                    std::thread::sleep(POLL);
                }
                // Some network file systems cannot lock. Whoever writes there twice at once is told by a failing rename.
                Err(TryLockError::Error(error)) => {
                    output.warning(format_args!("cannot lock `{}`: {error}", path.display()));
                    return Ok(Self { _file: file });
                }
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
    let (held, there) = (file.metadata().ok().map(identity), std::fs::metadata(path).ok().map(identity));
    held.is_some() && held == there
}
