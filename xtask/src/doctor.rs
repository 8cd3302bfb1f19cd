//! What building and running needs of a machine: checks that run side by side, each with the command that mends it.
//!
//! How they are printed is in `verbs/dev/doctor.rs`; installing what is missing in `verbs/dev/setup.rs`.

pub mod ask;
mod hardware;
mod machine;
mod network;
mod ours;
mod programs;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use models::places::{Places, PlacesError};
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::{interrupt, workspace};

pub use ours::is_on_path;

/// No check takes longer; the network's have shorter clocks of their own.
const PATIENCE: Duration = Duration::from_secs(12);
/// After Ctrl-C: so that checks can end the programs that they wait for.
const FAREWELL: Duration = Duration::from_millis(500);
/// Between two looks at signals.
const POLL: Duration = Duration::from_millis(50);

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What is there, or what is wrong.
    pub message: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As it should be, or absent and not asked for.
    Ok,
    /// Something will be slower, missing or surprising.
    Warning,
    /// Something that is needed does not work.
    Failed,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, message: message.into(), hint: None }
    }

    /// Worth knowing.
    pub fn warning(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    /// Needed, and not there.
    pub fn failed(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, status: Status::Failed, message: message.into(), hint: Some(hint.into()) }
    }

    /// The same where less is possible without it, but not nothing.
    #[must_use]
    pub fn optional_unless(self, is_needed: bool) -> Self {
        match self.status {
            Status::Failed if !is_needed => {
                Self { status: Status::Warning, message: format!("{} (optional)", self.message), ..self }
            }
            Status::Ok | Status::Warning | Status::Failed => self,
        }
    }
}

/// What is known before anything is looked at.
pub struct Scene {
    /// The checkout, if this runs in one.
    pub root: Option<PathBuf>,
    /// Where questions are asked from.
    pub folder: PathBuf,
    /// Where things are kept.
    pub places: Result<Places, PlacesError>,
    /// What is set.
    pub configuration: Result<Configuration, Failure>,
    /// Backends whose hardware must be here.
    pub backends: Vec<Backend>,
}

impl Scene {
    /// Reads it. `backends` are asked for beside those that the configuration gives this machine.
    pub fn read(backends: &[Backend]) -> Self {
        let root = workspace::find();
        let folder = root.clone().unwrap_or_else(std::env::temp_dir);
        let configuration = Configuration::load();
        let mut backends = backends.to_vec();
        if let Ok(configuration) = &configuration {
            backends.extend(hardware::of_this_machine(configuration));
        }
        Self { root, folder, places: Places::from_environment(), configuration, backends }
    }

    fn has_hosts(&self) -> bool {
        self.configuration.as_ref().is_ok_and(|configuration| !configuration.hosts.is_empty())
    }
}

/// One look at one thing; several lines if there are several of it.
type Examination = fn(&Scene) -> Vec<Check>;

/// All of them, in the order in which they are printed.
const EXAMINATIONS: [(&str, Examination); 20] = [
    ("rust", programs::rust),
    ("cargo", programs::cargo),
    ("c compiler", programs::c_compiler),
    ("linker", programs::linker),
    ("git", programs::git),
    ("nextest", programs::nextest),
    ("python3", programs::python),
    ("checkout", ours::checkout),
    ("submodules", ours::submodules),
    ("config", ours::config),
    ("path", ours::path),
    ("binaries", ours::binaries),
    ("ssh", programs::ssh),
    ("ssh agent", programs::agent),
    ("hub", network::hub),
    ("ports", network::ports),
    ("cuda", hardware::cuda),
    ("metal", hardware::metal),
    ("disk", machine::disk),
    ("storage", machine::storage),
];

/// Makes them all at once.
///
/// # Errors
/// Ctrl-C.
pub fn examine(scene: Scene) -> Result<Vec<Check>, Failure> {
    interrupt::watch()?;
    let scene = Arc::new(scene);
    let (sender, receiver) = channel();
    for (index, (_, examination)) in EXAMINATIONS.iter().enumerate() {
        let (sender, scene) = (sender.clone(), Arc::clone(&scene));
        // Not waited for: one that hangs must not keep the others from being printed.
        std::thread::spawn(move || {
            let _given_up = sender.send((index, examination(&scene)));
        });
    }
    drop(sender);
    let mut found: Vec<Option<Vec<Check>>> = vec![None; EXAMINATIONS.len()];
    let mut until = Instant::now() + PATIENCE;
    while found.iter().any(Option::is_none) && Instant::now() < until {
        if interrupt::check().is_err() {
            until = until.min(Instant::now() + FAREWELL);
        }
        match receiver.recv_timeout(POLL) {
            Ok((index, checks)) => found[index] = Some(checks),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    interrupt::check()?;
    let checks = found.into_iter().zip(EXAMINATIONS).flat_map(|(checks, (name, _))| {
        checks.unwrap_or_else(|| vec![Check::failed(name, "gave no answer", "run `cargo xtask dev doctor` again")])
    });
    Ok(checks.collect())
}

#[cfg(test)]
mod tests {
    use super::{Check, Status};

    #[test]
    fn what_is_optional_only_warns() {
        let check = || Check::failed("x", "is missing", "install x");
        assert_eq!(check().optional_unless(true), check());
        let optional = check().optional_unless(false);
        assert_eq!((optional.status, optional.message.as_str()), (Status::Warning, "is missing (optional)"));
        assert_eq!(Check::ok("x", "1").optional_unless(false), Check::ok("x", "1"));
    }
}
