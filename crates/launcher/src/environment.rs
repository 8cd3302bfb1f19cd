//! The variables that a call of cargo from within a program of cargo's must not see. Which program calls it lives elsewhere.

use std::ffi::OsString;

/// Cargo tells a program it runs about the package the program belongs to. Passed on to another cargo, these variables
/// make build scripts that look at them (ring's does) run again, each time `cargo xtask` and plain cargo take turns.
const OF_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
/// Where cargo found the libraries of the program it runs; no other program needs them.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Those of this process.
pub fn of_package() -> impl Iterator<Item = OsString> {
    let is_of_package = |name: &OsString| {
        let name = name.to_string_lossy();
        OF_PACKAGE.iter().any(|prefix| name.starts_with(prefix))
    };
    std::env::vars_os().map(|(name, _)| name).filter(is_of_package).chain([LIBRARIES.into()])
}
