//! What `cargo xtask` starts: the command that was built, after it was built anew if any of its sources changed.
//!
//! `cargo run` of the command itself would look at the fingerprint of every library it links, each time, which costs more
//! than the command. This package links nothing; when anything is newer than the last build, cargo decides. No verb, no
//! option and no output lives here.

mod process;

use std::path::PathBuf;
use std::process::ExitCode;

use launcher::freshness::{Build, Names, identity_of};
use process::CANNOT_BUILD;

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(CANNOT_BUILD)
        }
    }
}

/// Returns only if the command cannot be started.
fn start() -> Result<u8, String> {
    let this = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = manifest.as_deref().and_then(|manifest| manifest.ancestors().nth(2));
    let root = root.ok_or("this is started by `cargo xtask`, not by hand\nhint: cargo xtask --help")?;
    let folder = this.parent().ok_or("this program has no folder")?;
    // Another toolchain and other flags bring another launcher, as old as when it was made.
    let build =
        Build::new(root, folder, Names { program: "xtask", binary: "xtask", mark: "xtask" }, identity_of(&this));
    if !build.is_fresh() {
        let code = process::rebuild(root, &build)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Err(process::become_command(root, &build))
}
