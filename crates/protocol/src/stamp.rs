//! The stamp in every binary, printed by `--version --json`: what it is, what it was built for and from.

use serde::{Deserialize, Serialize};

use crate::identifiers::Backend;

/// What a binary says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Name of the program.
    pub program: String,
    /// Version of the workspace.
    pub version: String,
    /// What a worker was built for; absent in programs without a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Cargo features it was built with.
    pub features: Vec<String>,
    /// Commit it was built from, `-dirty` appended if files differed; `unknown` outside a checkout.
    pub commit: String,
    /// Target triple.
    pub target: String,
    /// Build profile: `debug` or `release`.
    pub profile: String,
    /// The oldest NVIDIA driver (major version) that runs what its toolkit compiled; absent where none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_driver: Option<u32>,
    /// The checkout of candle it was built with instead of the released crates: its commit, `-dirty` appended if files
    /// differed. Such a program is for trying out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candle: Option<String>,
}

impl Stamp {
    /// Whether the program can run under a driver of that version (`580.65.06`), as far as the two numbers say. A version
    /// that cannot be read forbids nothing: opening the device will tell.
    ///
    /// # Errors
    /// The driver is older than the program needs; the words say how old and how new.
    pub fn check_driver(&self, driver: &str) -> Result<(), DriverTooOld> {
        self.minimum_driver.map_or(Ok(()), |needed| check_driver(needed, driver))
    }
}

/// Whether a driver of that version (`580.65.06`) is as new as `needed`, a major version, as far as it can be read.
///
/// # Errors
/// It is older.
pub fn check_driver(needed: u32, driver: &str) -> Result<(), DriverTooOld> {
    let driver = driver.trim();
    let major = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(found) if found < needed => Err(DriverTooOld { needed, found: driver.to_owned() }),
        _ => Ok(()),
    }
}

/// A program was compiled for a newer driver than the machine has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it needs NVIDIA's driver {needed} or newer, this machine has {found}")]
pub struct DriverTooOld {
    /// Major version.
    pub needed: u32,
    /// The machine's, whole.
    pub found: String,
}

/// The stamp of the program that is being compiled. `option_env!` and `cfg!` must expand in the program's own crate,
/// hence a macro; the values are set by `build worker|pool` (see xtask's `build` verb).
#[macro_export]
macro_rules! stamp {
    ($program:expr, $backend:expr, $features:expr) => {
        $crate::stamp::Stamp {
            program: String::from($program),
            version: String::from(env!("CARGO_PKG_VERSION")),
            backend: $backend,
            features: $features,
            commit: String::from(option_env!("LLORCH_BUILD_COMMIT").unwrap_or("unknown")),
            target: String::from(option_env!("LLORCH_BUILD_TARGET").unwrap_or("unknown")),
            profile: String::from(if cfg!(debug_assertions) { "debug" } else { "release" }),
            minimum_driver: option_env!("LLORCH_BUILD_MINIMUM_DRIVER").and_then(|major| major.parse().ok()),
            candle: option_env!("LLORCH_BUILD_CANDLE").map(String::from),
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_older_driver_is_refused_by_name() {
        let ours = || crate::stamp!("x", None, Vec::new());
        let stamp = crate::stamp::Stamp { minimum_driver: Some(580), ..ours() };
        let error = stamp.check_driver("575.57.08\n").expect_err("too old");
        assert_eq!(error.to_string(), "it needs NVIDIA's driver 580 or newer, this machine has 575.57.08");
        assert!(["580.65.06", "590.1", "unreadable", ""].iter().all(|driver| stamp.check_driver(driver).is_ok()));
        assert!(ours().check_driver("470.1").is_ok());
    }
}
