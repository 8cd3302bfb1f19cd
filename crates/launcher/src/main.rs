//! What `cargo xtask` starts: the command that was built, after it was built anew if any of its sources changed.
//!
//! `cargo run` of the command itself would look at the fingerprint of every library it links, each time, which costs more
//! than the command. This package links nothing; when anything is newer than the last build, cargo decides. No verb, no
//! option and no output lives here.

mod freshness;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use freshness::Build;

/// As cargo ends when it cannot compile.
const CANNOT_BUILD: u8 = 101;

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
    let build = Build::beside(&this, root).ok_or("this program has no folder")?;
    if !build.is_fresh() {
        let code = rebuild(root, &build)?;
        if code != 0 {
            return Ok(code);
        }
    }
    let error = Command::new(&build.program)
        .args(std::env::args_os().skip(1))
        // As if cargo had started it: it finds its checkout by this.
        .env("CARGO_MANIFEST_DIR", root.join("xtask"))
        .exec();
    Err(format!("cannot start {}: {error}", build.program.display()))
}

/// Has cargo build the command, in the same target folder and profile, without cargo's word where nothing is compiled.
fn rebuild(root: &Path, build: &Build) -> Result<u8, String> {
    // Taken before, so that what is edited meanwhile counts as newer.
    let mark = build.begin().map_err(|error| format!("cannot write beside {}: {error}", build.program.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut call = Command::new(cargo);
    call.args(["build", "--locked", "--package", "xtask"]).current_dir(root);
    if build.program.exists() {
        call.arg("--quiet");
    }
    let of_package = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix))
    });
    // Build scripts that look at these would run again each time.
    for name in of_package.collect::<Vec<_>>() {
        call.env_remove(name);
    }
    let status = call.status().map_err(|error| format!("cannot start cargo: {error}"))?;
    match status.code() {
        Some(0) => {
            build.finish(&mark).map_err(|error| format!("cannot write beside {}: {error}", build.program.display()))?;
            Ok(0)
        }
        Some(code) => Ok(u8::try_from(code).unwrap_or(CANNOT_BUILD)),
        None => Ok(CANNOT_BUILD),
    }
}
