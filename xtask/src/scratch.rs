//! A folder that is gone when its owner is.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::remote::random_word;

/// A folder for what nobody needs afterwards.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one among the system's temporary files; `purpose` is part of its name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(purpose: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("llorch-{purpose}-{}", random_word()?));
        fs_err::create_dir(&path)?;
        Ok(Self(path))
    }

    /// This one, emptied if a killed run left something in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(path: PathBuf) -> Result<Self, Failure> {
        let _left_by_a_killed_run = std::fs::remove_dir_all(&path);
        fs_err::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_to_the_system = std::fs::remove_dir_all(&self.0);
    }
}
