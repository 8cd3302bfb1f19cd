//! `models lock`: write down which bytes the models are, or hold this machine to what was written down.

use std::path::PathBuf;

use models::lock::{Lock, LockError};
use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::Globals;
use crate::download::{Shelf, absolute};
use crate::failure::Failure;
use crate::{interrupt, process};

/// Write `models.lock`, or check this machine against it
///
/// The lock names commit, size and hash of every file, so that every machine can be held to the same bytes. With
/// `--check`, exit code 1 if this machine differs; models beyond the lock do not matter.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models lock
  cargo xtask models lock --check
  cargo xtask models lock --check --output ./models.lock --json")]
pub struct Args {
    /// Compare instead of writing
    #[arg(long)]
    check: bool,
    /// The lock file
    #[arg(long, value_name = "PATH", default_value = "models.lock")]
    output: PathBuf,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    path: PathBuf,
    models: usize,
}

#[derive(Serialize)]
struct Differs {
    event: &'static str,
    message: String,
}

impl Args {
    /// Writes or compares.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let (output, path) = (globals.output, absolute(&self.output));
        if globals.dry_run {
            let verb = if self.check { "compare the models with" } else { "write" };
            return process::print_plan(output, &[format!("{verb} {}", path.display())]);
        }
        if !self.check {
            let lock = Lock::of(&shelf.store)?;
            lock.write(&path)?;
            output.event(&Done { event: "done", path: path.clone(), models: lock.models.len() })?;
            if !output.json {
                output.line(&path.display().to_string())?;
            }
            return Ok(0);
        }
        interrupt::watch()?;
        let lock = Lock::read(&path)?;
        let differences = lock.differences(&shelf.store, interrupt::flag())?;
        for difference in &differences {
            let message = difference.to_string();
            if output.json {
                output.event(&Differs { event: "difference", message })?;
            } else {
                output.line(&message)?;
            }
        }
        if differences.is_empty() {
            output.event(&Done { event: "done", path, models: lock.models.len() })?;
            return Ok(0);
        }
        let count = differences.len();
        let message =
            format!("{count} {} from `{}`", if count == 1 { "difference" } else { "differences" }, path.display());
        Err(Failure::coded(ErrorCode::ModelInvalid, message)
            .hint("fetch what is missing: `cargo xtask models download ID`, or write the lock anew"))
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Store(error) => error.into(),
            LockError::Interrupted => Self::interrupted(),
            LockError::Io { action: "read", .. } => {
                Self::new(error.to_string()).hint("write it first: `cargo xtask models lock`")
            }
            LockError::Io { .. } | LockError::Invalid { .. } => Self::new(error.to_string()),
        }
    }
}
