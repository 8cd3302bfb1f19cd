//! What a verb prints: results to standard output, everything for people to standard error (design §5).
//!
//! No verb writes to either stream by other means, so that `--json`, `--quiet` and a closed pipe hold everywhere.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::When;
use crate::failure::Failure;
use crate::terminal;

mod fold;

pub use fold::table;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// How much a line of a table asks to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Worth a look.
    Warning,
    /// Something does not work.
    Error,
}

/// How a verb prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Standard output carries JSON only.
    pub json: bool,
    verbose: bool,
    quiet: bool,
    colored: bool,
    /// The same of standard output, which may lead elsewhere.
    has_colored_results: bool,
    has_events: bool,
    has_progress: bool,
}

impl Output {
    /// Resolves `--color` against the terminal, which may be a dumb one, and `NO_COLOR`.
    pub fn new(json: bool, verbose: bool, quiet: bool, color: When) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colored = is_colored(color, terminal::is_shown(), no_color);
        let has_colored_results = is_colored(color, terminal::are_results_shown(), no_color);
        Self { json, verbose, quiet, colored, has_colored_results, has_events: true, has_progress: true }
    }

    /// One JSON value on a line of its own.
    pub fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(&serde_json::to_string(value).map_err(anyhow::Error::from)?)
    }

    /// One line of the result.
    pub fn line(self, text: &str) -> Result<(), Failure> {
        self.raw(&format!("{text}\n"))
    }

    /// Aligned rows; on a terminal that is narrower than they are, what does not fit is continued below its column.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn table(self, rows: &[Vec<String>]) -> Result<(), Failure> {
        self.table_with_alarms(rows, &[])
    }

    /// The same; a row that begins with one of these words begins in its colour.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn table_with_alarms(self, rows: &[Vec<String>], alarms: &[(&str, Alarm)]) -> Result<(), Failure> {
        let lines = match terminal::stdout_columns() {
            Some(columns) => fold::wrapped(rows, columns),
            None => table(rows),
        };
        let alarms = if self.has_colored_results { alarms } else { &[] };
        lines.iter().try_for_each(|line| self.line(&alarmed(line, alarms)))
    }

    /// A piece of the result, shown at once.
    pub fn raw(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::reader_gone(),
            _ => Failure::coded(ErrorCode::StorageFailed, format!("cannot write to standard output: {error}")),
        })
    }

    /// An event of a long verb, with `--json` only.
    pub fn event(self, event: &impl Serialize) -> Result<(), Failure> {
        if self.json && self.has_events { self.value(event) } else { Ok(()) }
    }

    /// The same without events: for a verb that is a step of another, whose `done` is the only one.
    #[must_use]
    pub fn without_events(self) -> Self {
        Self { has_events: false, ..self }
    }

    /// The same without lines of progress: for work beside other work, which would draw over each other.
    #[must_use]
    pub fn without_progress(self) -> Self {
        Self { has_progress: false, ..self }
    }

    /// A sentence for people.
    pub fn note(self, text: impl Display) {
        let text = text.to_string();
        // What is aligned, or in lines, is no sentence.
        let is_sentence = !text.contains("  ") && !text.contains('\n');
        let text = if is_sentence { folded(&text, 0) } else { text };
        if !self.quiet {
            self.to_stderr(&format!("{text}\n"));
        }
    }

    /// A sentence for people who asked for more.
    pub fn detail(self, text: impl Display) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Something that went wrong and is not the end.
    pub fn warning(self, text: impl Display) {
        if !self.quiet {
            self.labelled((CYAN, "warning"), &text.to_string());
        }
    }

    /// A command that is about to run.
    pub fn command(self, command: impl Display) {
        if !self.quiet {
            // Not folded: what a terminal wraps by itself is still one line to who copies it.
            self.to_stderr(&format!("{}\n", self.paint(DIM, &format!("$ {command}"))));
        }
    }

    /// A failure, in the shape of design §5; with `--json` as the last event too.
    pub fn failure(self, failure: &Failure) {
        if failure.is_silent {
            return;
        }
        self.labelled((RED, "error"), &neutralise(&failure.message));
        for line in &failure.known {
            self.to_stderr(&format!("  {}\n", folded(&neutralise(line), 2)));
        }
        if let Some(hint) = typed_hint(failure) {
            // Without a command in backquotes it may be one itself.
            if hint.contains('`') {
                self.labelled((CYAN, "hint"), &hint);
            } else {
                self.to_stderr(&format!("{}: {hint}\n", self.paint(CYAN, "hint")));
            }
        }
        self.failure_event(failure);
    }

    /// What clap says of a command line that it does not understand.
    pub fn usage_error(self, error: &clap::Error) {
        let text = error.render();
        let text = if self.colored { text.ansi().to_string() } else { text.to_string() };
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // Help, which clap has folded.
            return self.to_stderr(&text);
        }
        for line in text.lines() {
            let words = line.trim_start_matches(' ');
            let indent = line.len() - words.len();
            self.to_stderr(&format!("{:indent$}{}\n", "", folded(words, indent)));
        }
    }

    /// The event alone.
    pub fn failure_event(self, failure: &Failure) {
        let hint = typed_hint(failure);
        let event = ErrorEvent {
            event: "error",
            code: failure.code,
            exit_code: failure.exit_code,
            message: &failure.message,
            hint: hint.as_deref(),
            known: &failure.known,
        };
        let _nobody_reads = self.event(&event);
    }

    /// Removes the last line that somebody wrote to the terminal of standard error.
    pub fn take_back_line(self) {
        if terminal::is_shown() {
            self.to_stderr("\x1b[1A\x1b[2K\r");
        }
    }

    /// A line that shows progress on a terminal and nothing anywhere else.
    pub fn progress(self) -> ProgressBar {
        if self.quiet || !self.has_progress || !terminal::is_shown() {
            return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, terminal::draw_target());
        bar.set_style(spinner_style());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Does something that may take its time, with a line about it while it lasts.
    pub fn during<T>(self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let bar = self.progress();
        bar.set_message(what);
        let done = work();
        bar.finish_and_clear();
        done
    }

    /// Whether people asked for silence.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether a question would reach a person.
    pub fn can_ask(self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks on the terminal.
    pub fn question(self, text: impl Display) {
        self.to_stderr(&format!("{text} [y/N] "));
    }

    /// A sentence behind a word that says what it is.
    fn labelled(self, (color, label): (&str, &str), text: &str) {
        self.to_stderr(&format!("{}: {}\n", self.paint(color, label), folded(text, label.len() + 2)));
    }

    fn paint(self, color: &str, text: &str) -> String {
        if self.colored { format!("{color}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn to_stderr(self, text: &str) {
        let _nobody_reads = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn is_colored(color: When, is_shown: bool, no_color: bool) -> bool {
    match color {
        When::Always => true,
        When::Never => false,
        When::Auto => is_shown && !no_color,
    }
}

/// A sentence as the terminal of standard error shows it best; as it is where that is none.
fn folded(text: &str, used: usize) -> String {
    terminal::stderr_columns().map_or_else(|| text.to_owned(), |columns| fold::sentence(text, used, columns))
}

/// A line whose first word is in its colour. What continues a row begins with blanks.
fn alarmed(line: &str, alarms: &[(&str, Alarm)]) -> String {
    let found = alarms.iter().find_map(|(word, alarm)| Some((word, alarm, line.strip_prefix(word)?)));
    match found {
        Some((word, Alarm::Error, rest)) => format!("{RED}{word}{PLAIN}{rest}"),
        Some((word, Alarm::Warning, rest)) => format!("{YELLOW}{word}{PLAIN}{rest}"),
        None => line.to_owned(),
    }
}

/// Style of a progress line without a known end.
pub fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Style of a transfer of a known size.
pub fn transfer_style() -> ProgressStyle {
    let template = "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A size for people: `94 MB`.
pub fn size_words(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes < unit.saturating_mul(10) => {
            let tenths = bytes / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// The text with control characters made visible, so that another program's words cannot drive the reader's terminal.
pub fn neutralise(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let overrides = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (character.is_control() && !matches!(character, '\t' | '\n')) || overrides {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// The hint as it is typed here: the installed command has a shorter name.
fn typed_hint(failure: &Failure) -> Option<String> {
    failure.hint.as_ref().map(|hint| hint.replace("cargo xtask", crate::cli::program_name()))
}

#[derive(Serialize)]
struct ErrorEvent<'a> {
    event: &'static str,
    code: ErrorCode,
    exit_code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    known: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::{Alarm, alarmed, is_colored, neutralise, size_words};
    use crate::cli::When;

    #[test]
    fn sizes_read_like_sizes() {
        let words: Vec<String> = [0, 999, 1_000, 98_362_432, 2_393_231_072, 48_000_000_000].map(size_words).into();
        assert_eq!(words, ["0 B", "999 B", "1.0 kB", "98 MB", "2.3 GB", "48 GB"]);
    }

    #[test]
    fn colour_is_asked_for_or_there_is_a_terminal_for_it() {
        for (when, is_shown, no_color, expected) in [
            (When::Auto, true, false, true),
            (When::Auto, true, true, false),
            (When::Auto, false, false, false),
            (When::Always, false, true, true),
            (When::Never, true, false, false),
        ] {
            assert_eq!(is_colored(when, is_shown, no_color), expected, "{when:?} {is_shown} {no_color}");
        }
    }

    #[test]
    fn only_the_word_that_alarms_is_coloured() {
        let alarms = [("warning", Alarm::Warning), ("FAILED", Alarm::Error)];
        assert_eq!(alarmed("FAILED  disk  full", &alarms), "\x1b[1;31mFAILED\x1b[0m  disk  full");
        assert_eq!(alarmed("warning  warning", &alarms), "\x1b[1;33mwarning\x1b[0m  warning");
        for same in ["ok  warning", "        FAILED again", ""] {
            assert_eq!(alarmed(same, &alarms), same);
        }
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(neutralise("a\tb\n\x1b[2J\u{202e}"), "a\tb\n\\u{1b}[2J\\u{202e}");
    }
}
