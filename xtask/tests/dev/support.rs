//! A machine of a test's own: a home, and a search path with nothing on it but what the test puts there.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Programs of a machine on which nothing is missing. Shell builtins only: there is nothing else on the search path.
const HEALTHY: [(&str, &str); 9] = [
    ("rustc", "echo 'rustc 1.95.0 (0123456789 2026-01-01)'"),
    ("cargo", "echo 'cargo 1.95.0'"),
    ("cc", "echo 'cc 1.0'"),
    ("git", "echo 'git version 2.50.0'"),
    ("python3", "echo 'Python 3.13'"),
    ("ssh", "echo 'OpenSSH_10.0' >&2"),
    ("ssh-add", "echo '256 SHA256:x key (ED25519)'"),
    ("uname", "echo this-machine.lan"),
    ("sudo", "case $1 in *=*) shift;; esac; exec \"$@\""),
];

/// A machine.
pub struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Machine {
    /// Nothing is missing, and the hub is switched off.
    pub fn healthy() -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a folder"), variables: Vec::new() };
        for folder in ["home", "bin", "work"] {
            std::fs::create_dir(machine.path(folder)).expect("a folder");
        }
        let machine = HEALTHY.iter().fold(machine, |machine, (name, script)| machine.program(name, script));
        machine.with("HF_HUB_OFFLINE", "1")
    }

    /// The same machine in a checkout that asks for a toolchain.
    pub fn in_checkout(self, channel: &str) -> Self {
        self.file("work/Cargo.toml", "")
            .file("work/catalog.toml", "")
            .file("work/xtask/Cargo.toml", "")
            .file("work/rust-toolchain.toml", &format!("[toolchain]\nchannel = \"{channel}\"\n"))
    }

    /// The same machine with another variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same machine, a program of it following another script.
    pub fn program(self, name: &str, script: &str) -> Self {
        let path = format!("bin/{name}");
        let machine = self.file(&path, &format!("#!/bin/sh\n{script}\n"));
        machine.mode(&path, 0o755);
        machine
    }

    /// The same machine without a program.
    pub fn without(self, name: &str) -> Self {
        std::fs::remove_file(self.path("bin").join(name)).expect("a program that was there");
        self
    }

    /// The same machine with a file.
    pub fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// The same machine with a configuration.
    pub fn configuration(self, text: &str) -> Self {
        let machine = self.file("home/.config/llorch/config.toml", text);
        machine.mode("home/.config/llorch/config.toml", 0o600);
        machine
    }

    pub fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs the command in `work`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_xtask")), arguments)
    }

    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    pub fn run_program(&self, program: &Path, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        command.env_clear().args(arguments).current_dir(self.path("work")).process_group(0);
        command.env("HOME", self.path("home")).env("PATH", self.path("bin")).env("LC_ALL", "C");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Where cargo found libraries of the program under test.
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|value| ("LD_LIBRARY_PATH", value)));
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("no signal");
        Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What the doctor finds.
    pub fn doctor(&self, arguments: &[&str]) -> Diagnosis {
        let outcome = self.run(&[&["dev", "doctor", "--json"], arguments].concat());
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        Diagnosis { code: outcome.code, checks: document["checks"].as_array().expect("checks").clone() }
    }
}

/// What the doctor found.
#[derive(Debug)]
pub struct Diagnosis {
    pub code: i32,
    checks: Vec<Value>,
}

impl Diagnosis {
    /// Status, message and hint of the first line of that name.
    pub fn line(&self, name: &str) -> (&str, &str, &str) {
        let found = self.checks.iter().find(|check| check["name"] == name);
        let check = found.unwrap_or_else(|| panic!("no `{name}` in {self:?}"));
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        (text("status"), text("message"), text("hint"))
    }

    /// Every line that is not `ok`, by name.
    pub fn complaints(&self) -> Vec<&str> {
        let bad = self.checks.iter().filter(|check| check["status"] != "ok");
        bad.filter_map(|check| check["name"].as_str()).collect()
    }

    /// That line has failed, says `words` and how to mend it, and the exit code says so too.
    #[track_caller]
    pub fn assert_failed(&self, name: &str, words: &str, hint: &str) {
        self.assert_line(name, ("failed", words, hint));
        assert_eq!(self.code, 1, "{self:?}");
    }

    /// That line only warns: the exit code is not its.
    #[track_caller]
    pub fn assert_warned(&self, name: &str, words: &str, hint: &str) {
        self.assert_line(name, ("warning", words, hint));
        assert_eq!(self.code, 0, "{self:?}");
    }

    #[track_caller]
    fn assert_line(&self, name: &str, (status, words, hint): (&str, &str, &str)) {
        let line = self.line(name);
        assert!(line.0 == status && line.1.contains(words) && line.2.contains(hint), "{line:?}");
    }
}
