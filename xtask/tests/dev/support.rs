//! A machine of a test's own: a home, and a search path with nothing on it but what the test puts there.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

/// Every wait of a test ends; machines that build beside it are slow.
const SOON: Duration = Duration::from_secs(30);

/// Programs of a machine on which nothing is missing. Shell builtins only: there is nothing else on the search path.
const HEALTHY: [(&str, &str); 9] = [
    ("rustc", "echo 'rustc 1.95.0 (0123456789 2026-01-01)'"),
    ("cargo", "echo 'cargo 1.95.0'"),
    ("cc", "echo 'cc 1.0'"),
    ("git", "echo 'git version 2.50.0'"),
    ("python3", "echo 'Python 3.13'; echo 'pip 25.0'"),
    ("ssh", "echo 'OpenSSH_10.0' >&2"),
    ("ssh-add", "echo '256 SHA256:x key (ED25519)'"),
    ("uname", "echo this-machine.lan"),
    ("sudo", "case $1 in *=*) export \"$1\"; shift;; esac; exec \"$@\""),
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

    pub fn run_program(&self, program: &Path, arguments: &[&str]) -> Outcome {
        finish(self.start(program, arguments))
    }

    /// Starts a program, its output piped, in a process group of its own.
    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.env_clear().args(arguments).current_dir(self.path("work")).process_group(0);
        command.env("HOME", self.path("home")).env("PATH", self.path("bin")).env("LC_ALL", "C");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Where cargo found libraries of the program under test.
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|value| ("LD_LIBRARY_PATH", value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }

    /// A program that never answers; its process id is in the file `pid` once it runs.
    pub fn hanging(self, name: &str) -> Self {
        let pid = self.path("pid").display().to_string();
        self.program(name, &format!("echo $$ > '{pid}'; exec /bin/sleep 300"))
    }

    /// Waits until the program that never answers runs.
    pub fn pid_of_hanging(&self) -> Pid {
        let until = Instant::now() + SOON;
        loop {
            if let Some(pid) = self.read("pid").trim().parse().ok().and_then(Pid::from_raw) {
                return pid;
            }
            assert!(Instant::now() < until, "it was not started");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the doctor finds.
    pub fn doctor(&self, arguments: &[&str]) -> Diagnosis {
        let outcome = self.run(&[&["dev", "doctor", "--json"], arguments].concat());
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        Diagnosis { code: outcome.code, checks: document["checks"].as_array().expect("checks").clone() }
    }
}

/// Waits for the end of a program that was started.
pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("no signal");
    Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// That process is gone, or will be soon.
pub fn assert_ends(pid: Pid) {
    let until = Instant::now() + SOON;
    while rustix::process::test_kill_process(pid).is_ok() {
        assert!(Instant::now() < until, "process {pid:?} was left behind");
        std::thread::sleep(Duration::from_millis(20));
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
