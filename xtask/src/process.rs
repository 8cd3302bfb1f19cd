//! Other programs: a call is a value first, run last. Children are waited for whatever happens, and ended on Ctrl-C.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;

/// Between two looks at signals while a child runs.
const POLL: Duration = Duration::from_millis(50);
/// A child that got the terminal's own Ctrl-C ends within this, and needs none from us.
const TERMINAL_GRACE: Duration = Duration::from_millis(300);
/// What a child has after a second Ctrl-C, before it is killed.
const FORCE_GRACE: Duration = Duration::from_secs(8);

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    removed: Vec<OsString>,
    directory: Option<PathBuf>,
}

/// Whom a terminal's Ctrl-C reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The child and this process: for children that clear up themselves.
    Shared,
    /// This process only, which passes it on to the child and all it started: for compilers and test runners, whose
    /// own children would else outlive them.
    Own,
}

impl Group {
    /// The expression, its process put into the group.
    pub fn apply(self, expression: &duct::Expression) -> duct::Expression {
        match self {
            Group::Shared => expression.clone(),
            Group::Own => expression.before_spawn(|command| {
                command.process_group(0);
                Ok(())
            }),
        }
    }
}

/// How a child ended, and what it wrote where that was kept.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 128 and the signal's number if a signal ended it.
    pub code: u8,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// Standard output as text, without the last line's end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// The lines of standard error that are worth showing.
    pub fn complaints(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.stderr);
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

impl Call {
    /// A call without arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        Self { program, arguments: Vec::new(), variables: Vec::new(), removed: Vec::new(), directory: None }
    }

    /// The same call with more arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// The same call with a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The same call without a variable in its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.removed.push(name.into());
        self
    }

    /// The same call, started by another program that takes it as its last arguments: `taskset -c 0 CALL`.
    #[must_use]
    pub fn through(mut self, program: &str, arguments: &[&str]) -> Self {
        let own = std::mem::replace(&mut self.program, program.into());
        let before = arguments.iter().map(OsString::from).chain([own]);
        self.arguments = before.chain(self.arguments).collect();
        self
    }

    /// The same call in a directory.
    #[must_use]
    pub fn dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Runs it in sight of the user, standard input closed.
    pub fn run(&self, group: Group) -> Result<u8, Failure> {
        self.finish(&self.expression().stdin_null(), group).map(|ended| ended.code)
    }

    /// Runs it and keeps its standard output; its errors stay in sight.
    pub fn capture(&self, group: Group) -> Result<Ended, Failure> {
        self.finish(&self.expression().stdin_null().stdout_capture(), group)
    }

    /// As [`Call::run`], what it prints to standard output included in what people see: ours is for machines.
    pub fn run_to_stderr(&self, group: Group) -> Result<u8, Failure> {
        self.finish(&self.expression().stdin_null().stdout_to_stderr(), group).map(|ended| ended.code)
    }

    /// Runs it out of sight and keeps all it wrote: for questions whose answer is looked at here.
    pub fn ask(&self, group: Group) -> Result<Ended, Failure> {
        self.finish(&self.expression().stdin_null().stdout_capture().stderr_capture(), group)
    }

    /// As [`Call::ask`], with something to read on standard input.
    pub fn ask_with(&self, group: Group, stdin: impl Into<Vec<u8>>) -> Result<Ended, Failure> {
        self.finish(&self.expression().stdin_bytes(stdin).stdout_capture().stderr_capture(), group)
    }

    /// As [`Call::run`], or as [`Call::run_to_stderr`] where standard output is for JSON.
    pub fn run_beside(&self, output: Output, group: Group) -> Result<u8, Failure> {
        if output.json { self.run_to_stderr(group) } else { self.run(group) }
    }

    /// As [`Call::run`], what it prints to standard error included in the result: a test runner's report is one.
    pub fn run_to_stdout(&self, group: Group) -> Result<u8, Failure> {
        self.finish(&self.expression().stdin_null().stderr_to_stdout(), group).map(|ended| ended.code)
    }

    /// Runs it and hands over each line of its standard output as it comes. What it writes to standard error is dropped:
    /// for programs that say everything in lines.
    pub fn each_line(&self, group: Group, on_line: &mut dyn FnMut(&str)) -> Result<u8, Failure> {
        let before = interrupt::begin()?;
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let expression = self.expression().stdin_null().stderr_null().stdout_file(writer);
        let handle = self.start(&group.apply(&expression))?;
        // Its end of the pipe is open in the child alone.
        drop(expression);
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok());
        });
        let mut passed_on = before;
        loop {
            match lines.recv_timeout(POLL) {
                Ok(line) => on_line(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let count = interrupt::count();
            if count > passed_on {
                send(&handle, group, if passed_on == before { Signal::INT } else { Signal::KILL });
                passed_on = count;
            }
        }
        let output = wait(&handle, group, passed_on)?;
        if interrupt::count() > before { Err(Failure::interrupted()) } else { Ok(exit_code(output.status)) }
    }

    /// The failure of a call that ended with `code`.
    pub fn failed(&self, code: u8) -> Failure {
        let directory = self.directory.as_ref().map(|directory| format!("in `{}`", directory.display()));
        Failure::new(format!("`{self}` failed with exit code {code}")).known(directory.into_iter().collect())
    }

    /// The call as duct takes it; exit codes are no errors.
    pub fn expression(&self) -> duct::Expression {
        let mut expression = duct::cmd(&self.program, &self.arguments);
        for (name, value) in &self.variables {
            expression = expression.env(name, value);
        }
        for name in &self.removed {
            expression = expression.env_remove(name);
        }
        match &self.directory {
            Some(directory) => expression.dir(directory).unchecked(),
            None => expression.unchecked(),
        }
    }

    /// Starts an expression made of this call.
    pub fn start(&self, expression: &duct::Expression) -> Result<duct::Handle, Failure> {
        expression.start().map_err(|error| {
            let program = Path::new(&self.program).display();
            Failure::new(format!("cannot start `{program}`: {error}"))
                .hint(format!("check that `{program}` is installed"))
        })
    }

    fn finish(&self, expression: &duct::Expression, group: Group) -> Result<Ended, Failure> {
        let expression = group.apply(expression);
        // One that came between two steps is no less meant.
        let before = interrupt::begin()?;
        let handle = self.start(&expression)?;
        let output = wait(&handle, group, before)?;
        // A child of the shared group was interrupted too and has said so itself: its exit code tells.
        if group == Group::Own && interrupt::count() > before {
            // Whatever it started and did not take along.
            send(&handle, group, Signal::KILL);
            return Err(Failure::interrupted());
        }
        Ok(Ended { code: exit_code(output.status), stdout: output.stdout.clone(), stderr: output.stderr.clone() })
    }
}

/// Waits for the child; passes on what interrupts this process.
fn wait(handle: &duct::Handle, group: Group, before: usize) -> Result<&std::process::Output, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot wait for a child process: {error}"));
    let mut passed_on = before;
    let mut kill_at: Option<Instant> = None;
    loop {
        if let Some(output) = handle.wait_timeout(POLL).map_err(failed)? {
            return Ok(output);
        }
        let count = interrupt::count();
        if count > passed_on {
            let first = passed_on == before;
            passed_on = count;
            if first
                && group == Group::Shared
                && let Some(output) = handle.wait_timeout(TERMINAL_GRACE).map_err(failed)?
            {
                return Ok(output);
            }
            send(handle, group, Signal::INT);
            if !first {
                kill_at = Some(Instant::now() + FORCE_GRACE);
            }
        }
        // A child that ended on Ctrl-C may have left its own children, who hold the pipe that is being read.
        let is_abandoned = group == Group::Own && count > before && has_ended(handle);
        if is_abandoned || kill_at.is_some_and(|moment| Instant::now() >= moment) {
            send(handle, group, Signal::KILL);
        }
    }
}

/// Whether the child itself is gone, whatever became of its output. Its id is not given to another process as long as
/// its group lives.
fn has_ended(handle: &duct::Handle) -> bool {
    let mut pids = handle.pids().into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    pids.all(|pid| test_kill_process(pid).is_err())
}

fn send(handle: &duct::Handle, group: Group, signal: Signal) {
    for pid in handle.pids().into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // One that has just ended is what we want.
        let _gone = match group {
            Group::Shared => kill_process(pid, signal),
            Group::Own => kill_process_group(pid, signal),
        };
    }
}

/// The program that a shell would find under that name, `beyond` looked through after its own folders.
pub fn find_on_path(name: &str, beyond: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(beyond.iter().map(PathBuf::from));
    let programs = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    programs.into_iter().find(|program| access(program, Access::EXEC_OK).is_ok() && program.is_file())
}

/// The exit code a shell would report.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(formatter, "{name}={} ", quoted(value))?;
        }
        // Cargo hands its own full path down; people type its name.
        let is_cargo = std::env::var_os("CARGO").is_some_and(|cargo| cargo == self.program);
        let program = if is_cargo { OsStr::new("cargo") } else { &self.program };
        write!(formatter, "{}", quoted(program))?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {}", quoted(argument)))
    }
}

/// The text as a POSIX shell would have to be given it.
pub fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Prints the calls of a plan instead of running them.
pub fn print_plan(output: Output, calls: &[String]) -> Result<u8, Failure> {
    if output.json {
        output.value(&serde_json::json!({ "event": "plan", "steps": calls }))?;
    } else {
        calls.iter().try_for_each(|call| output.line(call))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::{Call, Group};

    #[test]
    fn a_call_prints_as_it_would_be_typed() {
        let call = Call::new("cargo").args(["build", "a b", "it's", ""]).env("X", "1 2");
        assert_eq!(call.to_string(), r"X='1 2' cargo build 'a b' 'it'\''s' ''");
    }

    #[test]
    fn exit_codes_and_output_come_back() {
        let ended = Call::new("sh").args(["-c", "echo out; exit 7"]).capture(Group::Own).expect("sh runs");
        assert_eq!((ended.code, ended.stdout.as_slice()), (7, b"out\n".as_slice()));
        assert_eq!(Call::new("sh").args(["-c", "kill -9 $$"]).run(Group::Shared).expect("sh runs"), 137);
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Call::new("no-such-program-here").run(Group::Own).expect_err("there is none");
        assert!(failure.message.contains("no-such-program-here") && failure.hint.is_some());
    }
}
