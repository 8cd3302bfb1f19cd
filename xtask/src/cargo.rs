//! Calls of cargo from within `cargo xtask`, and short questions to rustc.

use std::path::{Path, PathBuf};

use anyhow::Context;
use launcher::environment;
use xshell::{Shell, cmd};

use crate::failure::Failure;
use crate::process::{Call, Group};

/// A call of cargo at the root of the checkout.
pub fn call(root: &Path) -> Call {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let call = Call::new(cargo).dir(root);
    environment::of_package().fold(call, Call::env_remove)
}

/// The target triple of this machine.
pub fn host(root: &Path) -> Result<String, Failure> {
    let shell = shell(root)?;
    let asked = cmd!(shell, "rustc -vV").quiet().ignore_stderr().read();
    let text = asked.map_err(|error| {
        let failure = Failure::new(format!("cannot ask rustc for its version: {error}"));
        failure.hint("`cargo xtask dev doctor` checks what a build needs")
    })?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("`rustc -vV` does not name the host"))
}

/// Where cargo puts what it builds: the environment or a configuration may have put it anywhere.
pub fn target_directory(root: &Path) -> Result<PathBuf, Failure> {
    let metadata = metadata(root, &["--no-deps"])?;
    let folder = metadata["target_directory"].as_str().context("cargo does not name its target folder")?;
    Ok(PathBuf::from(folder))
}

/// What cargo knows of the workspace.
pub fn metadata(root: &Path, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
    let call = call(root).args(["metadata", "--format-version", "1", "--locked"]).args(arguments);
    let ended = call.capture(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code));
    }
    Ok(serde_json::from_slice(&ended.stdout).context("cargo's metadata cannot be read")?)
}

/// Whether cargo-nextest is installed.
pub fn has_nextest(root: &Path) -> bool {
    shell(root).is_ok_and(|shell| cmd!(shell, "cargo nextest --version").quiet().ignore_stderr().read().is_ok())
}

/// A shell at the root of the checkout.
pub fn shell(root: &Path) -> Result<Shell, Failure> {
    let shell = Shell::new().context("cannot find the working directory")?;
    shell.change_dir(root);
    Ok(shell)
}
