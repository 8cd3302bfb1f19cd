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
        }
    };
}
