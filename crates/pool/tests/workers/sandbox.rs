//! Folders of one test, the program run in them, and the check that nothing keeps running.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pool::registry::Registry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::fake_worker::{SCRIPT_VARIABLE, Script};

/// A generous ceiling for anything that must happen at all.
pub const CEILING: Duration = Duration::from_secs(60);

pub struct Sandbox {
    folder: tempfile::TempDir,
    script: Script,
    worker_binary: PathBuf,
}

/// A command that has ended.
pub struct Done {
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn last(&self) -> &Value {
        self.events.last().unwrap_or_else(|| panic!("no events; stderr: {}", self.stderr))
    }

    /// Asserts an error event with this code and exit code 1.
    #[track_caller]
    pub fn assert_error(&self, code: &str) -> &Value {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        let last = self.last();
        assert_eq!((&last["event"], &last["code"]), (&Value::from("error"), &Value::from(code)), "{last}");
        assert!(self.stderr.starts_with("error: ") || self.stderr.contains("\nerror: "), "{}", self.stderr);
        last
    }
}

impl Sandbox {
    pub fn new() -> Self {
        Self::with(Script::default())
    }

    pub fn with(script: Script) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("model.gguf"), "no model").expect("a file");
        Self { folder, script, worker_binary: testkit::fake_worker::binary() }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn registry(&self) -> Registry {
        Registry::open(&self.state_dir()).expect("a registry")
    }

    #[expect(clippy::disallowed_methods, reason = "the program under test is a process")]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llorch-pool"));
        command
            .args(arguments)
            .env("LLORCH_STATE_DIR", self.state_dir())
            .env("LLORCH_DATA_DIR", self.folder.path().join("data"))
            .env("LLORCH_WORKER_BINARY", &self.worker_binary)
            .env(SCRIPT_VARIABLE, self.script.to_json())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        done(&self.command(arguments).output().expect("the program runs"))
    }

    pub fn spawn_arguments<'a>(&self, model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["--json", "worker", "spawn", "cpu", "--model-path", model];
        arguments.extend(more);
        arguments
    }

    pub fn spawn(&self, more: &[&str]) -> Done {
        let model = self.path("model.gguf").display().to_string();
        self.run(&self.spawn_arguments(&model, more))
    }

    /// Spawns a worker that becomes ready, and gives its `done` event.
    #[track_caller]
    pub fn spawn_ready(&self, more: &[&str]) -> Value {
        let done = self.spawn(more);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        assert_eq!(done.last()["event"], "done");
        done.last().clone()
    }

    /// The workers of `worker list`.
    pub fn list(&self, more: &[&str]) -> Vec<Value> {
        let mut arguments = vec!["--json", "worker", "list"];
        arguments.extend(more);
        let done = self.run(&arguments);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.last()["workers"].as_array().expect("a list").clone()
    }

    /// Starts a command and reads its events as they come.
    pub fn start(&self, arguments: &[&str], stdin: Stdio) -> Live {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Live { child, stdin, lines: BufReader::new(stdout).lines() }
    }

    pub fn start_spawn(&self, more: &[&str], stdin: Stdio) -> Live {
        let model = self.path("model.gguf").display().to_string();
        self.start(&self.spawn_arguments(&model, more), stdin)
    }

    /// Processes that were started in this sandbox and still run.
    pub fn running(&self) -> Vec<u32> {
        let wanted = format!("LLORCH_STATE_DIR={}", self.state_dir().display());
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        };
        pids.filter(ours).collect()
    }

    /// Waits until nothing runs any more.
    #[track_caller]
    pub fn assert_nothing_runs(&self) {
        wait_until("every process is gone", || self.running().is_empty());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let stopped = self.run(&["worker", "stop-all", "--grace", "1"]);
            assert!(matches!(stopped.code, Some(0 | 1)), "{}", stopped.stderr);
            self.assert_nothing_runs();
            return;
        }
        for pid in self.running() {
            signal(pid, Signal::KILL);
        }
    }
}

/// A command that runs.
pub struct Live {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Live {
    /// The next event of this name.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
            if event["event"] == name {
                return event;
            }
            assert_ne!(event["event"], "error", "{event}");
        }
        panic!("no event `{name}`");
    }

    /// The remaining events and the exit code.
    pub fn finish(mut self) -> (Option<i32>, Vec<Value>) {
        drop(self.stdin.take());
        self.finish_holding_stdin()
    }

    /// The same without closing standard input first.
    pub fn finish_holding_stdin(mut self) -> (Option<i32>, Vec<Value>) {
        let events = self.lines.by_ref().map_while(Result::ok).map(|line| serde_json::from_str(&line).expect("JSON"));
        let events = events.collect();
        (self.child.wait().expect("a status").code(), events)
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _gone = kill_process(pid, signal);
}

pub fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a number")
}

pub fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10));
    }
}

fn done(output: &Output) -> Done {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let events = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Done { code: output.status.code(), events, stdout, stderr }
}
