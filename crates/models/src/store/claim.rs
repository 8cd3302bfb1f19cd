//! One writer per model across processes. The lock is the kernel's: it ends with the process that holds it, however
//! that ends. It spares work, it does not guard correctness: where a file system cannot lock, writers use partial files
//! of their own and the last rename wins.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// The right to write a model's folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Holds the lock; never read.
    _file: File,
    /// Whether the lock excludes other processes; not so where the file system cannot lock.
    pub(crate) is_exclusive: bool,
}

impl Claim {
    /// The claim, or `None` while another holds it. The lock file stays: removing it would let two processes lock two
    /// different files of one name.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file, is_exclusive: true })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(_)) => Ok(Some(Self { _file: file, is_exclusive: false })),
        }
    }
}
