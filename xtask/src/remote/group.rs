//! Several hosts side by side: whose line is whose, all of them to their end, a summary, the worst exit code.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::lines::Lines;
use super::select::Host;
use super::streams::Sink;
use crate::failure::Failure;
use crate::output::{Output, neutralise, table};

/// How one host's task ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whose.
    pub host: String,
    /// Its exit code, or why there is none of its own.
    pub result: Result<u8, Failure>,
    /// How long it took.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    host: &'a str,
    line: serde_json::Value,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    hosts: Vec<Summary<'a>>,
}

#[derive(Serialize)]
struct Summary<'a> {
    host: &'a str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<protocol::error::ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    seconds: f64,
}

/// Which of its streams a host's line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its results.
    Output,
    /// What it says to people.
    Errors,
}

/// Prints the lines of hosts whose names are this wide at most.
#[derive(Debug, Clone)]
pub struct Printer {
    output: Output,
    width: usize,
    lock: Arc<Mutex<()>>,
}

impl Printer {
    /// A printer for these hosts.
    pub fn new(output: Output, hosts: &[Host]) -> Self {
        let width = hosts.iter().map(|host| host.name.chars().count()).max().unwrap_or(0);
        Self { output, width, lock: Arc::default() }
    }

    /// A sink that prints whole lines of one host.
    pub fn sink(&self, host: &str, stream: Stream) -> Sink {
        let mut sink = LineSink { printer: self.clone(), host: host.to_owned(), stream, lines: Lines::default() };
        Box::new(move |bytes| sink.push(bytes))
    }

    fn print(&self, host: &str, line: &[u8], stream: Stream) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let _in_turn = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if stream == Stream::Errors {
            self.output.note(format_args!("{host:<width$} | {}", shown(&text), width = self.width));
            return Ok(());
        }
        let line = if self.output.json {
            let value = serde_json::from_str(&text).unwrap_or_else(|_| serde_json::Value::from(text.as_ref()));
            serde_json::to_string(&Line { host, line: value }).unwrap_or_default()
        } else {
            let text = if std::io::stdout().is_terminal() { neutralise(&text) } else { text.into_owned() };
            format!("{host:<width$} | {text}", width = self.width)
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush())
    }
}

/// Prints the lines of one stream as they become whole, and at the end what has no newline.
struct LineSink {
    printer: Printer,
    host: String,
    stream: Stream,
    lines: Lines,
}

impl LineSink {
    fn push(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let whole = self.lines.push(bytes);
        whole.iter().try_for_each(|line| self.printer.print(&self.host, line, self.stream))
    }
}

impl Drop for LineSink {
    fn drop(&mut self) {
        let rest = self.lines.rest();
        if !rest.is_empty() {
            let _nobody_reads = self.printer.print(&self.host, &rest, self.stream);
        }
    }
}

/// A line of another machine's for people here; it may colour, but not move.
fn shown(text: &str) -> String {
    // What was drawn over itself is shown as it stood last.
    let last = text.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default();
    neutralise(last)
}

/// Runs `task` for every host at the same time, whatever the others do. An interrupt reaches all.
pub fn side_by_side<T: Sync>(
    jobs: &[T],
    name: impl Fn(&T) -> &Host,
    task: impl Fn(&T) -> Result<u8, Failure> + Sync,
) -> Vec<Outcome> {
    let task = &task;
    std::thread::scope(|scope| {
        let start = |job| {
            let run = move || {
                let started = Instant::now();
                (task(job), started.elapsed().as_secs_f64())
            };
            (name(job).name.clone(), scope.spawn(run))
        };
        let threads: Vec<_> = jobs.iter().map(start).collect();
        let ended = threads.into_iter().map(|(host, thread)| {
            let (result, seconds) = thread.join().unwrap_or_else(|_| (Err(Failure::new("a bug of ours")), 0.0));
            Outcome { host, result, seconds }
        });
        ended.collect()
    })
}

/// Of one host its own end; of several a summary and the worst exit code.
///
/// # Errors
/// The one host's failure.
pub fn finish(output: Output, mut outcomes: Vec<Outcome>) -> Result<u8, Failure> {
    match outcomes.pop() {
        Some(only) if outcomes.is_empty() => only.result,
        last => summarise(output, &outcomes.into_iter().chain(last).collect::<Vec<_>>()),
    }
}

/// Says how all ended; returns the worst exit code: the highest.
pub fn summarise(output: Output, outcomes: &[Outcome]) -> Result<u8, Failure> {
    for outcome in outcomes {
        if let Err(failure) = &outcome.result {
            output.without_events().failure(&failure.clone().at(&outcome.host));
        }
    }
    let code = |outcome: &Outcome| outcome.result.as_ref().map_or_else(|failure| failure.exit_code, |code| *code);
    if output.json {
        let hosts = outcomes.iter().map(|outcome| {
            let failure = outcome.result.as_ref().err();
            Summary {
                host: &outcome.host,
                exit_code: code(outcome),
                code: failure.map(|failure| failure.code),
                message: failure.map(|failure| failure.message.as_str()),
                seconds: (outcome.seconds * 1000.0).round() / 1000.0,
            }
        });
        output.event(&Done { event: "done", hosts: hosts.collect() })?;
    } else {
        let row = |outcome: &Outcome| {
            let verdict = match &outcome.result {
                Ok(0) => String::from("done"),
                Ok(code) => format!("exit code {code}"),
                Err(failure) => failure.message.clone(),
            };
            vec![outcome.host.clone(), format!("{:.1} s", outcome.seconds), verdict]
        };
        table(&outcomes.iter().map(row).collect::<Vec<_>>()).iter().for_each(|line| output.note(line));
    }
    Ok(outcomes.iter().map(code).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_line_cannot_drive_the_terminal() {
        assert_eq!(shown("10%\r50%\r100%\r"), "100%");
        assert_eq!(shown("\x1b[2Jx"), "\\u{1b}[2Jx");
    }
}
