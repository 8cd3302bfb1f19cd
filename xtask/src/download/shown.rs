//! How downloads look while they run: a line each on a terminal, one for all of them if there are several; with `--json`
//! one event a line, each with its model; else nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use models::fetch::Event;
use protocol::catalog::FileName;
use serde::Serialize;

use super::Wanted;
use crate::output::{Output, spinner_style, transfer_style};
use crate::terminal;

/// Between two progress events with `--json`: a person or a program can follow no more.
const EVENT_PERIOD: Duration = Duration::from_millis(100);

/// The lines of all downloads of one command.
#[derive(Debug)]
pub struct Board {
    output: Output,
    lines: MultiProgress,
    total: Option<Total>,
}

/// The line for all of them.
#[derive(Debug, Clone)]
struct Total {
    bar: ProgressBar,
    bytes: Arc<AtomicU64>,
}

impl Board {
    /// A board for these downloads.
    pub fn new(output: Output, wanted: &[Wanted]) -> Self {
        let probe = output.progress();
        let is_hidden = probe.is_hidden();
        probe.finish_and_clear();
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { terminal::draw_target() };
        let lines = MultiProgress::with_draw_target(target);
        let total = (wanted.len() > 1).then(|| {
            let bar = lines.add(ProgressBar::no_length());
            let sizes = wanted.iter().map(|wanted| wanted.entry.size_bytes().unwrap_or(0));
            bar.set_style(transfer_style());
            bar.set_length(sizes.fold(0, u64::saturating_add));
            bar.set_message(format!("{} models", wanted.len()));
            Total { bar, bytes: Arc::default() }
        });
        Self { output, lines, total }
    }

    /// The line of one download.
    pub fn line(&self, model: &str) -> Line {
        let bar = ProgressBar::no_length();
        let bar = match &self.total {
            Some(total) => self.lines.insert_before(&total.bar, bar),
            None => self.lines.add(bar),
        };
        bar.set_style(spinner_style());
        bar.enable_steady_tick(Duration::from_millis(100));
        Line {
            output: self.output,
            model: model.to_owned(),
            bar,
            total: self.total.clone(),
            counted: 0,
            finished: 0,
            next_event: Instant::now(),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(total) = &self.total {
            total.bar.finish_and_clear();
        }
    }
}

/// The line of one download.
pub struct Line {
    output: Output,
    model: String,
    bar: ProgressBar,
    total: Option<Total>,
    /// Bytes of this model that are in the total.
    counted: u64,
    /// Bytes of its files that are complete.
    finished: u64,
    next_event: Instant,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    AlreadyInstalled { model: &'a str },
    Waiting { model: &'a str, bytes: u64 },
    Resolving { model: &'a str, source: String },
    SourceFailed { model: &'a str, source: String, reason: &'a str },
    Started { model: &'a str, file: &'a FileName, total_bytes: Option<u64>, resumed_bytes: u64 },
    Progress { model: &'a str, bytes: u64 },
    Retrying { model: &'a str, delay_ms: u128, reason: &'a str },
    Verifying { model: &'a str, file: &'a FileName },
    Quarantined { model: &'a str, file: &'a FileName, path: &'a Path },
    FileFinished { model: &'a str, file: &'a FileName },
    Installed { model: &'a str },
}

impl Line {
    /// Shows what happened.
    pub fn show(&mut self, event: Event) {
        self.draw(&event);
        let model = self.model.as_str();
        let line = match &event {
            Event::AlreadyInstalled => Told::AlreadyInstalled { model },
            Event::Waiting { bytes } => Told::Waiting { model, bytes: *bytes },
            Event::Resolving { source } => Told::Resolving { model, source: source.to_string() },
            Event::SourceFailed { source, reason, .. } => {
                Told::SourceFailed { model, source: source.to_string(), reason }
            }
            Event::Started { file, total_bytes, resumed_bytes } => {
                Told::Started { model, file, total_bytes: *total_bytes, resumed_bytes: *resumed_bytes }
            }
            Event::Progress { bytes } => {
                if Instant::now() < self.next_event {
                    return;
                }
                self.next_event = Instant::now() + EVENT_PERIOD;
                Told::Progress { model, bytes: *bytes }
            }
            Event::Retrying { delay, reason } => Told::Retrying { model, delay_ms: delay.as_millis(), reason },
            Event::Verifying { file } => Told::Verifying { model, file },
            Event::Quarantined { file, path } => Told::Quarantined { model, file, path },
            Event::FileFinished { file } => Told::FileFinished { model, file },
            Event::Finished => Told::Installed { model },
        };
        // A reader that went away is noticed when the result is printed; the download is worth finishing.
        let _nobody_reads = self.output.event(&line);
    }

    /// Takes the line away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn draw(&mut self, event: &Event) {
        let say = |text: String| self.bar.suspend(|| self.output.warning(text));
        match event {
            Event::AlreadyInstalled | Event::Finished => {}
            Event::FileFinished { .. } => self.finished = self.counted,
            Event::Waiting { .. } => {
                self.bar.set_message(format!("{}: another process is fetching it, waiting", self.model));
            }
            Event::Resolving { source } => {
                self.bar.set_style(spinner_style());
                self.bar.set_message(format!("{}: asking {source}", self.model));
            }
            // Its hint is for the case that no other source helps, and then the error has it.
            Event::SourceFailed { source, reason, .. } => say(format!("{}: {source}: {reason}", self.model)),
            Event::Started { file, total_bytes, resumed_bytes } => {
                if let Some(total_bytes) = total_bytes {
                    self.bar.set_style(transfer_style());
                    self.bar.set_length(*total_bytes);
                }
                self.bar.set_message(format!("{}: {}", self.model, file.base_name()));
                self.bar.set_position(*resumed_bytes);
                // Bytes of an earlier run are no speed of this one.
                self.bar.reset_eta();
                self.count(*resumed_bytes);
            }
            Event::Progress { bytes } => {
                self.bar.set_position(*bytes);
                self.count(*bytes);
            }
            Event::Retrying { delay, reason } => {
                say(format!("{}: {reason}; trying again in {} s", self.model, delay.as_secs().max(1)));
            }
            Event::Quarantined { path, .. } => {
                say(format!("{}: wrong bytes are kept as `{}`", self.model, path.display()))
            }
            Event::Verifying { file } => {
                self.bar.set_style(spinner_style());
                self.bar.set_message(format!("{}: verifying {}", self.model, file.base_name()));
            }
        }
    }

    /// Brings the total up to date: `bytes` of the present file are here.
    fn count(&mut self, bytes: u64) {
        let now = self.finished.saturating_add(bytes);
        let Some(total) = &self.total else {
            self.counted = now;
            return;
        };
        // Two steps, because a transfer that starts again goes back.
        total.bytes.fetch_add(now, Ordering::Relaxed);
        let sum = total.bytes.fetch_sub(self.counted, Ordering::Relaxed).saturating_sub(self.counted);
        self.counted = now;
        total.bar.set_position(sum);
    }
}
