//! `dev`: what a machine needs to build and run this.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use models::places::Places;
use serde::Serialize;
use xshell::{Shell, cmd};

use crate::cli::Globals;
use crate::failure::Failure;
use crate::output::{size_words, table};
use crate::{cargo, workspace};

/// What `target/` takes after debug and release builds of everything, and the default model.
const FREE_BYTES_NEEDED: u64 = 6_000_000_000;

/// Look after a machine
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask dev doctor
  cargo xtask dev doctor --json")]
pub enum Verb {
    Doctor(DoctorArgs),
}

/// Check what building and running needs, and say how to mend it
///
/// One line a check. Exit code 1 if something that is needed is missing; what is optional only warns.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dev doctor
  cargo xtask dev doctor --json")]
pub struct DoctorArgs {}

#[derive(Serialize)]
struct Document {
    checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Failed,
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Doctor(args) => args.run(globals),
        }
    }
}

impl DoctorArgs {
    fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let checks = checks()?;
        let output = globals.output;
        let failed = checks.iter().filter(|check| check.status == Status::Failed).count();
        if output.json {
            output.value(&Document { checks })?;
        } else {
            table(&checks.iter().map(row).collect::<Vec<_>>()).iter().try_for_each(|line| output.line(line))?;
        }
        Ok(u8::from(failed > 0))
    }
}

fn row(check: &Check) -> Vec<String> {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Failed => "FAILED",
    };
    let hint = check.hint.as_ref().map(|hint| format!("; mend: {hint}")).unwrap_or_default();
    vec![status.to_owned(), check.name.to_owned(), format!("{}{hint}", check.message)]
}

fn checks() -> Result<Vec<Check>, Failure> {
    let root = workspace::find();
    let folder = root.clone().unwrap_or_else(std::env::temp_dir);
    let shell = cargo::shell(&folder)?;
    let places = Places::from_environment()?;
    let mut checks = vec![
        program(&shell, "rust", &["rustc", "--version"], "curl --proto '=https' -sSf https://sh.rustup.rs | sh"),
        program(&shell, "cargo", &["cargo", "--version"], "curl --proto '=https' -sSf https://sh.rustup.rs | sh"),
        c_compiler(&shell),
        program(
            &shell,
            "git",
            &["git", "--version"],
            "install git: `apt-get install git`, `dnf install git`, `brew install git`",
        ),
        program(
            &shell,
            "python3",
            &["python3", "--version"],
            "install Python 3: `apt-get install python3`, `brew install python`",
        ),
        program(
            &shell,
            "pip",
            &["python3", "-m", "pip", "--version"],
            "python3 -m ensurepip --user, or `apt-get install python3-pip`",
        ),
        optional(program(
            &shell,
            "nextest",
            &["cargo", "nextest", "--version"],
            "cargo install --locked cargo-nextest",
        )),
        free_space("disk", &folder, FREE_BYTES_NEEDED),
        writable("store", &places.models()),
        writable("state", &places.state.path),
    ];
    if root.is_none() {
        let message = String::from("not in a checkout: `build`, `test` and `ci` need one");
        checks.push(Check { name: "checkout", status: Status::Warning, message, hint: None });
    }
    Ok(checks)
}

fn ok(name: &'static str, message: String) -> Check {
    Check { name, status: Status::Ok, message, hint: None }
}

fn failed(name: &'static str, message: String, hint: &str) -> Check {
    Check { name, status: Status::Failed, message, hint: Some(hint.to_owned()) }
}

/// Without it less is possible, but not nothing.
fn optional(check: Check) -> Check {
    match check.status {
        Status::Failed => Check { status: Status::Warning, message: format!("{} (optional)", check.message), ..check },
        Status::Ok | Status::Warning => check,
    }
}

fn program(shell: &Shell, name: &'static str, command: &[&str], hint: &str) -> Check {
    let (program, arguments) = (command[0], &command[1..]);
    match cmd!(shell, "{program} {arguments...}").quiet().ignore_stderr().read() {
        Ok(text) => ok(name, text.lines().next().unwrap_or_default().to_owned()),
        Err(_) => failed(name, format!("`{}` does not run", command.join(" ")), hint),
    }
}

/// Build scripts compile C (SQLite, ring): they take `$CC`, else `cc`.
fn c_compiler(shell: &Shell) -> Check {
    let compiler =
        std::env::var("CC").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| String::from("cc"));
    let hint = "install a C compiler: `apt-get install build-essential`, `dnf install gcc`, `xcode-select --install`";
    program(shell, "c compiler", &[&compiler, "--version"], hint)
}

fn free_space(name: &'static str, folder: &Path, needed: u64) -> Check {
    match models::disk::free_bytes(folder) {
        Ok(free) if free >= needed => ok(name, format!("{} free in `{}`", size_words(free), folder.display())),
        Ok(free) => {
            let message = format!(
                "{} free in `{}`, a full build takes about {}",
                size_words(free),
                folder.display(),
                size_words(needed)
            );
            let hint = "free some space: `cargo clean`, `cargo xtask models disk-usage`".to_owned();
            Check { name, status: Status::Warning, message, hint: Some(hint) }
        }
        Err(error) => failed(name, format!("`{}` cannot be read: {error}", folder.display()), "check that it exists"),
    }
}

/// Whether the folder, or the nearest one above it that exists, takes a new file. Leaves nothing behind.
fn writable(name: &'static str, folder: &Path) -> Check {
    let Some(nearest) = folder.ancestors().find(|folder| folder.is_dir()) else {
        return failed(
            name,
            format!("no folder above `{}` exists", folder.display()),
            "set `HOME` to a folder that exists",
        );
    };
    let probe: PathBuf = nearest.join(format!(".llorch-doctor-{}", std::process::id()));
    match std::fs::File::create_new(&probe) {
        Ok(_) => {
            let removed = std::fs::remove_file(&probe);
            let remark = if removed.is_ok() { "" } else { ", but files cannot be removed" };
            ok(name, format!("`{}` is writable{remark}", folder.display()))
        }
        Err(error) => {
            let hint = format!(
                "sudo chown \"$USER\" '{}', or set `LLORCH_DATA_DIR` and `LLORCH_STATE_DIR`",
                nearest.display()
            );
            failed(name, format!("`{}` is not writable: {error}", nearest.display()), &hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Status, optional, program, writable};

    #[test]
    fn a_missing_program_fails_with_the_command_that_mends_it() {
        let shell = xshell::Shell::new().expect("a shell");
        let check = program(&shell, "x", &["no-such-program-here"], "install x");
        assert_eq!((check.status, check.hint.as_deref()), (Status::Failed, Some("install x")));
        assert_eq!(optional(check).status, Status::Warning);
        assert_eq!(program(&shell, "sh", &["sh", "-c", "echo 1"], "").message, "1");
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(writable("store", &folder.path().join("a/b")).status, Status::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert_eq!(writable("store", Path::new("/proc/none")).status, Status::Failed);
    }
}
