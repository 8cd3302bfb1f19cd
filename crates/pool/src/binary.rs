//! Finds the worker's program and checks that it is what was asked for. There is no second best: a program for another
//! backend is refused.

use std::path::{Path, PathBuf};
use std::{fs, io};

use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use protocol::stamp::Stamp;

use crate::error::PoolError;
use crate::process;

/// The version of NVIDIA's kernel module, where there is one.
const DRIVER_VERSION: &str = "/sys/module/nvidia/version";

/// The program to start: the one given, else `llorch-worker-<backend>` or `llorch-worker` beside this program. Absolute.
///
/// # Errors
/// There is none, or its stamp names another backend or a newer driver than this machine has.
pub fn find(given: Option<&Path>, backend: Backend) -> Result<PathBuf, PoolError> {
    let path = match given {
        Some(path) => std::path::absolute(path).map_err(|cause| unusable(path, &cause.to_string(), backend))?,
        None => beside_this_program(backend)?,
    };
    if !path.is_file() {
        return Err(unusable(&path, "it is not a file", backend));
    }
    check_stamp(&path, backend)?;
    Ok(path)
}

fn beside_this_program(backend: Backend) -> Result<PathBuf, PoolError> {
    let this = std::env::current_exe().map_err(|cause| PoolError::internal("failed to find this program", cause))?;
    let folder = this.parent().unwrap_or(Path::new("/"));
    let names = [format!("llorch-worker-{backend}"), String::from("llorch-worker")];
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = format!(
            "no worker for `{backend}`: neither `{}` nor `{}` is in `{}`",
            names[0],
            names[1],
            folder.display()
        );
        PoolError::new(ErrorCode::WorkerStartFailed, message).hint(build_hint(backend))
    })
}

fn check_stamp(path: &Path, backend: Backend) -> Result<(), PoolError> {
    let text = process::ask_version(path).map_err(|cause| unusable(path, &silent(&cause, backend), backend))?;
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let stamp: Stamp = serde_json::from_str(line)
        .map_err(|_| unusable(path, "`--version --json` does not print a llorch stamp", backend))?;
    match stamp.backend {
        Some(found) if found == backend => {
            let driver = fs::read_to_string(DRIVER_VERSION).unwrap_or_default();
            stamp.check_driver(&driver).map_err(|error| unusable(path, &error.to_string(), backend))
        }
        Some(found) => Err(unusable(path, &format!("it was built for `{found}`"), backend)),
        None => Err(unusable(path, &format!("it is `{}`, which has no backend", stamp.program), backend)),
    }
}

/// Why a program does not say what it is.
fn silent(cause: &io::Error, backend: Backend) -> String {
    match backend {
        // It is linked with the driver's library, and the loader ends it before it can say a word.
        Backend::Cuda => format!("{cause} (it starts only where NVIDIA's driver and the toolkit's libraries are)"),
        Backend::Cpu | Backend::Metal => cause.to_string(),
    }
}

fn unusable(path: &Path, why: &str, backend: Backend) -> PoolError {
    let message = format!("`{}` cannot serve as worker for `{backend}`: {why}", path.display());
    PoolError::new(ErrorCode::WorkerStartFailed, message).hint(build_hint(backend))
}

fn build_hint(backend: Backend) -> String {
    format!("run `cargo xtask build worker {backend}`")
}
