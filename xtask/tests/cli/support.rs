//! A home of its own for every test, and the programs that are started in it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Size of the file that stands for a model where no worker looks into it.
pub const MODEL_BYTES: usize = 300_000;

/// A home folder, with a catalog of one model, `tiny`.
pub struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { folder, variables: Vec::new() };
        std::fs::write(home.path("tiny.gguf"), model_bytes()).expect("a model file");
        std::fs::write(home.path("catalog.toml"), catalog()).expect("a catalog");
        let catalog = home.path("catalog.toml").display().to_string();
        home.with("LLORCH_CATALOG", &catalog)
    }

    /// The same home with a variable in the environment of every program.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The same home with the model `tiny` in its store.
    pub fn with_model(self) -> Self {
        let outcome = self.run(&["models", "download", "tiny", "--from", "tiny.gguf"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        self
    }

    /// The same home, its pool starting fake workers that follow `script`.
    pub fn with_fake_worker(self, script: &testkit::fake_worker::Script) -> Self {
        let worker = testkit::fake_worker::binary().display().to_string();
        self.with("LLORCH_WORKER_BINARY", &worker).with(testkit::fake_worker::SCRIPT_VARIABLE, &script.to_json())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The model's folder in the store.
    pub fn model_folder(&self) -> PathBuf {
        self.path(".local/share/llorch/models/tiny")
    }

    /// Runs the command outside any checkout, as it is installed: under the name `llorch`, its programs beside it.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.start(arguments))
    }

    /// Starts it, both streams piped, in a process group of its own.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(&self.installed(), arguments).current_dir(self.folder.path()).spawn().expect("the command starts")
    }

    /// Runs the command in this checkout.
    pub fn run_in_checkout(&self, arguments: &[&str]) -> Outcome {
        finish(self.start_in_checkout(arguments))
    }

    /// Starts the command in this checkout, from a folder below its root.
    pub fn start_in_checkout(&self, arguments: &[&str]) -> Child {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_xtask")), arguments);
        command.current_dir(root.join("crates")).spawn().expect("the command starts")
    }

    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let foreign = |name: &str| {
            ["XDG_", "LLORCH_", "HF_", "CARGO_MANIFEST", "FAKE_", "TRANSFORMERS_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        for (name, _) in std::env::vars().filter(|(name, _)| foreign(name)) {
            command.env_remove(name);
        }
        // The home moves, the toolchain stays where it is.
        for (name, below_home) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if let (None, Some(home)) = (std::env::var_os(name), std::env::var_os("HOME")) {
                command.env(name, Path::new(&home).join(below_home));
            }
        }
        command.args(arguments).env("HOME", self.folder.path()).process_group(0);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Another program in the environment of this home's.
    pub fn prepared(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(program, arguments);
        command.current_dir(self.folder.path());
        command
    }

    /// Where the command is installed.
    pub fn program(&self) -> String {
        self.installed().display().to_string()
    }

    /// The command under its installed name, the programs it calls beside it; all are the programs under test.
    fn installed(&self) -> PathBuf {
        let command = self.path("bin/llorch");
        if !command.exists() {
            std::fs::create_dir_all(self.path("bin")).expect("a folder");
            link(Path::new(env!("CARGO_BIN_EXE_xtask")), &command);
            for program in beside() {
                link(program, &self.path("bin").join(program.file_name().expect("a name")));
            }
        }
        command
    }

    /// Workers on record, as `worker list --all --json` prints them.
    pub fn workers(&self) -> Vec<Value> {
        let outcome = self.run(&["worker", "list", "--all", "--json"]);
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        document["workers"].as_array().expect("workers").clone()
    }

    /// Nothing that was started in this home is left.
    pub fn assert_nothing_runs(&self) {
        let marker = format!("HOME={}", self.folder.path().display());
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left = processes_with(&marker);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        for worker in self.workers() {
            assert!(["stopped", "failed"].contains(&worker["status"].as_str().expect("a status")), "{worker}");
        }
    }
}

impl Outcome {
    /// Standard output as JSON, one value a line.
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    pub fn last_event(&self) -> Value {
        self.events().pop().unwrap_or_else(|| panic!("no events: {self:?}"))
    }
}

/// Waits for the end of a program that was started.
pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().expect("it ends");
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Reads standard output until `wanted` is in it; what was read so far. The rest stays to be read by the caller.
pub fn read_until(child: &mut Child, wanted: &str) -> String {
    let stdout = child.stdout.take().expect("a pipe");
    let mut reader = BufReader::new(stdout);
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut piece = Vec::new();
        // Tokens come without line ends: whatever is there is taken.
        let available = reader.fill_buf().expect("a pipe that can be read").len();
        assert!(available > 0, "it ended before `{wanted}`: {text}");
        piece.resize(available, 0);
        reader.read_exact(&mut piece).expect("bytes that are there");
        text.push_str(&String::from_utf8_lossy(&piece));
    }
    child.stdout = Some(reader.into_inner());
    text
}

/// Sends a signal to a child alone, or to its whole group as a terminal does.
pub fn interrupt(child: &Child, whole_group: bool) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    let sent = if whole_group {
        rustix::process::kill_process_group(pid, Signal::INT)
    } else {
        rustix::process::kill_process(pid, Signal::INT)
    };
    sent.expect("it runs");
}

fn processes_with(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&words).replace('\0', " "));
        }
    }
    found
}

pub fn model_bytes() -> Vec<u8> {
    (0..MODEL_BYTES).map(|index| (index * 31 % 251) as u8).collect()
}

/// A catalog whose only model is `model_bytes`.
pub fn catalog() -> String {
    let sha256 = testkit::hub::sha256_hex(&model_bytes());
    format!(
        r#"schema = 1
[[model]]
id = "tiny"
aliases = ["tiny-model"]
repo = "org/tiny"
revision = "{COMMIT}"
file = "tiny.gguf"
size_bytes = {MODEL_BYTES}
sha256 = "{sha256}"
license = "MIT"
gated = false
architecture = "llama"
tokenizer = "gpt2/smollm"
context_length = 128
"#
    )
}

/// The commit of the catalog's entry.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub that holds the model.
pub fn hub(bytes_per_second: Option<u64>) -> testkit::hub::Hub {
    let repo = testkit::hub::Repo::new("org/tiny", COMMIT).large("tiny.gguf", model_bytes());
    let builder = testkit::hub::Hub::builder().repo(repo);
    match bytes_per_second {
        Some(rate) => builder.bytes_per_second(rate).start(),
        None => builder.start(),
    }
}

fn link(from: &Path, to: &Path) {
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(drop)).expect("a program");
}

/// Programs that are installed beside the command, and the crates whose sources make them.
const BESIDE: [(&str, &[&str]); 2] = [
    ("llorch-pool", &["pool/src", "models/src", "protocol/src"]),
    ("llorch-convert", &["convert/src", "gguf/src", "architectures/src", "text/src"]),
];

/// Those programs beside this test's own, built first where one is missing or older than its sources.
fn beside() -> &'static [PathBuf] {
    static PROGRAMS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().expect("target/<profile>");
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates");
        let program = |(name, sources): &(&str, &[&str])| {
            let program = folder.join(name);
            let built = std::fs::metadata(&program).and_then(|data| data.modified()).ok();
            let newest = sources.iter().filter_map(|source| newest(&crates.join(source))).max();
            if built.is_none() || newest > built {
                build(folder, name);
            }
            program
        };
        BESIDE.iter().map(program).collect()
    })
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest(&entry.path()),
            _ => entry.metadata().and_then(|data| data.modified()).ok(),
        })
        .max()
}

#[expect(clippy::disallowed_methods, reason = "a bare `cargo nextest run -p xtask` has not built it")]
fn build(folder: &Path, name: &str) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--workspace", "--bin", name]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "`{name}` cannot be built: {status}");
}
