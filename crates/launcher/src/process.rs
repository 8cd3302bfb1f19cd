//! Starting cargo, and starting the command in this process's place.
#![expect(clippy::disallowed_methods, reason = "a library for it would be a dependency, and this package has none")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use launcher::environment;
use launcher::freshness::Build;

/// As cargo ends when it cannot compile.
pub const CANNOT_BUILD: u8 = 101;

/// Has cargo build the command, in the same target folder; its exit code. The first time in sight, since it
/// takes a minute.
///
/// # Errors
/// Cargo cannot be started, or the target folder not be written to.
pub fn rebuild(root: &Path, build: &Build) -> Result<u8, String> {
    // Taken before, so that what is edited meanwhile counts as newer.
    let mark = build.begin().map_err(|error| format!("cannot write beside {}: {error}", build.program.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut call = Command::new(cargo);
    // From the folder in which cargo found the launcher: a relative target folder is the same one. The whole workspace is
    // selected, so that its libraries have the features that builds and tests of it give them, and are compiled once for all.
    call.args(["build", "--locked", "--workspace", "--bin", "xtask", "--manifest-path"]).arg(root.join("Cargo.toml"));
    if build.program.exists() {
        call.arg("--quiet");
    }
    for name in environment::of_package() {
        call.env_remove(name);
    }
    let status = call.status().map_err(|error| format!("cannot start cargo: {error}"));
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        Build::give_up(&mark);
    }
    match status?.code() {
        Some(0) => {
            build.finish(&mark).map_err(|error| format!("cannot write beside {}: {error}", build.program.display()))?;
            Ok(0)
        }
        Some(code) => Ok(u8::try_from(code).unwrap_or(CANNOT_BUILD)),
        None => Ok(CANNOT_BUILD),
    }
}

/// Returns only if the command cannot be started, and says why.
pub fn become_command(root: &Path, build: &Build) -> String {
    let error = Command::new(&build.program)
        .args(std::env::args_os().skip(1))
        // As if cargo had started it: it finds its checkout by this.
        .env("CARGO_MANIFEST_DIR", root.join("xtask"))
        .exec();
    format!("cannot start {}: {error}", build.program.display())
}
