//! Calls of cargo from within `cargo xtask`, what its messages say, and short questions to rustc.

use std::path::{Path, PathBuf};

use anyhow::Context;
use launcher::environment;
use protocol::error::ErrorCode;
use xshell::{Shell, cmd};

use crate::failure::Failure;
use crate::process::{Call, Group};

/// A call of cargo at the root of the checkout.
pub fn call(root: &Path) -> Call {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let call = Call::new(cargo).dir(root);
    environment::of_package().fold(call, Call::env_remove)
}

/// What cargo's messages say about a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The program that was asked for.
    pub program: PathBuf,
    /// Whether there was nothing to do.
    pub is_all_fresh: bool,
}

/// Runs a build, in sight of people; where the program `name` (or the example) is then. Paths come from cargo itself:
/// `CARGO_TARGET_DIR` and its configuration may put them anywhere.
///
/// # Errors
/// It does not compile.
pub fn compile(call: &Call, name: &str) -> Result<Compiled, Failure> {
    let ended = call.clone().args(["--message-format=json-render-diagnostics"]).capture(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code).hint("`cargo xtask dev doctor` checks what a build needs"));
    }
    Compiled::parse(&ended.stdout, name)
        .ok_or_else(|| Failure::coded(ErrorCode::Internal, format!("cargo built `{name}` and did not say where")))
}

impl Compiled {
    fn parse(messages: &[u8], name: &str) -> Option<Self> {
        let text = String::from_utf8_lossy(messages);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let (mut program, mut is_all_fresh) = (None, true);
        for message in messages.filter(|message| message["reason"] == "compiler-artifact") {
            is_all_fresh &= message["fresh"] == true;
            // A library of the same name is no executable.
            let executable = message["executable"].as_str().filter(|_| message["target"]["name"] == name);
            program = executable.map(PathBuf::from).or(program);
        }
        Some(Self { program: program?, is_all_fresh })
    }
}

/// The target triple of this machine.
pub fn host(root: &Path) -> Result<String, Failure> {
    let text = rustc_version(root)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("`rustc -vV` does not name the host"))
}

/// The compiler, by its own words: `rustc 1.95.0 (59807616e 2026-04-14)`.
pub fn toolchain(root: &Path) -> Result<String, Failure> {
    Ok(rustc_version(root)?.lines().next().unwrap_or_default().to_owned())
}

fn rustc_version(root: &Path) -> Result<String, Failure> {
    let shell = shell(root)?;
    let asked = cmd!(shell, "rustc -vV").quiet().ignore_stderr().read();
    asked.map_err(|error| {
        let failure = Failure::new(format!("cannot ask rustc for its version: {error}"));
        failure.hint("`cargo xtask dev doctor` checks what a build needs")
    })
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

/// The folder of a package's sources, as cargo unpacked them.
///
/// # Errors
/// It is not among the packages of `metadata`.
pub fn package_folder(metadata: &serde_json::Value, name: &str) -> Result<PathBuf, Failure> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut named = packages.filter(|package| package["name"] == name);
    let manifest = named.find_map(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    folder.map(Path::to_owned).ok_or_else(|| Failure::new(format!("cargo knows no `{name}` among the dependencies")))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Compiled;

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages =
            br#"{"reason":"compiler-artifact","target":{"name":"x","kind":["lib"]},"fresh":true,"executable":null}
{"reason":"compiler-artifact","target":{"name":"x","kind":["bin"]},"fresh":false,"executable":"/t/release/x"}
{"reason":"compiler-artifact","target":{"name":"y","kind":["example"]},"fresh":true,"executable":"/t/examples/y"}
{"reason":"build-finished","success":true}"#;
        let compiled = |name| Compiled::parse(messages, name).map(|compiled| (compiled.program, compiled.is_all_fresh));
        assert_eq!(compiled("x"), Some((Path::new("/t/release/x").into(), false)));
        assert_eq!(compiled("y"), Some((Path::new("/t/examples/y").into(), false)));
        assert_eq!(compiled("z"), None);
    }
}
