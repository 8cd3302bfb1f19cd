//! Every environment variable this crate reads, one constant each. Nothing else in the crate spells a variable's name.

use std::ffi::OsString;
use std::path::PathBuf;

/// How variables are looked up: the process environment in a program, a table in a test.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Another catalog file instead of the one that was built in.
pub const CATALOG: &str = "LLORCH_CATALOG";
/// Data directory (models) instead of the one of the XDG rules; must be absolute.
pub const DATA_DIRECTORY: &str = "LLORCH_DATA_DIR";
/// State directory (databases, logs) instead of the one of the XDG rules; must be absolute.
pub const STATE_DIRECTORY: &str = "LLORCH_STATE_DIR";
/// Cache directory (temporary files of downloads) instead of the one of the XDG rules; must be absolute.
pub const CACHE_DIRECTORY: &str = "LLORCH_CACHE_DIR";

/// The user's home directory.
pub const HOME: &str = "HOME";
/// Base of data directories (XDG base directory specification).
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Base of state directories (XDG base directory specification).
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Base of cache directories (XDG base directory specification).
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Base of configuration directories (XDG base directory specification).
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";

/// Address of another model hub.
pub const HUB_ENDPOINT: &str = "HF_ENDPOINT";
/// Access token of the hub; wins over the token file.
pub const HUB_TOKEN: &str = "HF_TOKEN";
/// The token file, instead of `token` in the hub's home directory.
pub const HUB_TOKEN_PATH: &str = "HF_TOKEN_PATH";
/// When on, a token is not sent although one is there.
pub const HUB_DISABLE_IMPLICIT_TOKEN: &str = "HF_HUB_DISABLE_IMPLICIT_TOKEN";
/// The hub's home directory.
pub const HUB_HOME: &str = "HF_HOME";
/// The hub's cache of repositories.
pub const HUB_CACHE: &str = "HF_HUB_CACHE";
/// The older name of the same.
pub const HUB_CACHE_OLD: &str = "HUGGINGFACE_HUB_CACHE";
/// When on, the hub is not contacted.
pub const HUB_OFFLINE: &str = "HF_HUB_OFFLINE";
/// The older name of the same switch.
pub const HUB_OFFLINE_OLD: &str = "TRANSFORMERS_OFFLINE";

/// The process environment.
#[must_use]
pub fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Whether a variable is on, by the hub's rule: `1`, `ON`, `YES` or `TRUE`, in any case.
pub(crate) fn is_on(lookup: Lookup<'_>, name: &str) -> bool {
    let value = lookup(name).unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_string_lossy().to_ascii_lowercase().as_str())
}

/// A variable that holds an absolute path; anything else counts as not set, as the XDG specification asks.
pub(crate) fn absolute_path(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
