//! What the program prints: one result line, or with `--json` one event a line; errors to standard error too.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::{Code, ConvertError};
use crate::event::Event;

/// How the program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Standard output carries JSON only.
    pub json: bool,
}

/// An event as it is printed, one a line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Started {
        tensors_total: u64,
        bytes_total: u64,
        resumed_bytes: u64,
    },
    Progress {
        tensor: &'a str,
        tensors_done: u64,
        bytes_done: u64,
    },
    Verifying,
    Done {
        path: &'a Path,
        size_bytes: u64,
        sha256: &'a str,
        tensors: u64,
        types: &'a BTreeMap<String, u64>,
        tokenizer: &'a str,
    },
    Error {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    },
}

impl<'a> Line<'a> {
    fn of(event: &'a Event) -> Line<'a> {
        match event {
            Event::Started { tensors_total, bytes_total, resumed_bytes } => Line::Started {
                tensors_total: *tensors_total,
                bytes_total: *bytes_total,
                resumed_bytes: *resumed_bytes,
            },
            Event::Progress { tensor, tensors_done, bytes_done } => {
                Line::Progress { tensor, tensors_done: *tensors_done, bytes_done: *bytes_done }
            }
            Event::Verifying => Line::Verifying,
            Event::Done(report) => Line::Done {
                path: &report.path,
                size_bytes: report.size_bytes,
                sha256: &report.sha256,
                tensors: report.tensors,
                types: &report.types,
                tokenizer: &report.tokenizer,
            },
        }
    }
}

impl Output {
    /// One event; without `--json` only a finished file is worth a line.
    pub fn event(self, event: &Event) {
        if self.json {
            self.json_line(&Line::of(event));
        } else if let Event::Done(report) = event {
            let types: Vec<String> = report.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
            self.line(&format!(
                "{}: {} bytes, {} tensors ({}), sha256 {}, tokenizer {}",
                report.path.display(),
                report.size_bytes,
                report.tensors,
                types.join(", "),
                report.sha256,
                report.tokenizer
            ));
        }
    }

    /// One JSON value on a line of its own.
    pub fn json_line(self, value: &impl Serialize) {
        // These types hold nothing that JSON cannot.
        if let Ok(text) = serde_json::to_string(value) {
            self.line(&text);
        }
    }

    /// One line of the result.
    pub fn line(self, text: &str) {
        let mut stdout = io::stdout().lock();
        // A reader that went away is no reason to stop a conversion.
        let _nobody_reads = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    /// An error, for people and with `--json` for machines.
    pub fn error(self, error: &ConvertError) {
        self.failure(error.code(), &error.to_string(), error.hint().as_deref());
    }

    /// An error that is no conversion's: a command line that makes no sense.
    pub fn failure(self, code: Code, message: &str, hint: Option<&str>) {
        let mut stderr = io::stderr().lock();
        let _nobody_reads = writeln!(stderr, "error: {message}");
        if let Some(hint) = hint {
            let _nobody_reads = writeln!(stderr, "hint: {hint}");
        }
        if self.json {
            self.json_line(&Line::Error { code: code.name(), message, hint });
        }
    }
}
