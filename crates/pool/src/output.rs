//! What a command prints: results to standard output, everything for people to standard error (design §5).

use std::io::{self, IsTerminal, Write};

use protocol::pool::{CommandError, ErrorEvent};
use serde::Serialize;

use crate::error::PoolError;

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Standard output carries JSON only.
    pub json: bool,
    /// Says more on standard error.
    pub verbose: bool,
}

impl Output {
    /// One JSON value on a line of its own.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn value(self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// One line of the result.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    }

    /// An event of a long verb, with `--json` only.
    pub fn event(self, event: &impl Serialize) {
        if self.json {
            // A reader that went away is noticed where it matters; the work goes on.
            let _nobody_reads = self.value(event);
        }
    }

    /// A sentence for people.
    pub fn note(self, text: &str) {
        let _nobody_reads = writeln!(io::stderr(), "{text}");
    }

    /// A sentence for people who asked for more.
    pub fn detail(self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// A line of standard error that the next one replaces; nothing where no terminal is.
    pub fn progress(self, text: &str) {
        if io::stderr().is_terminal() {
            let _nobody_reads = write!(io::stderr(), "\r\x1b[2K{text}");
        }
    }

    /// Takes the last [`Self::progress`] line away.
    pub fn end_progress(self) {
        self.progress("");
    }

    /// An error in the shape of design §5, with `--json` as the last event too.
    pub fn error(self, error: &PoolError) {
        self.note(&format!("error: {}", error.message));
        for line in &error.known {
            self.note(&format!("  {}", neutralise(line)));
        }
        if let Some(hint) = &error.hint {
            self.note(&format!("hint: {hint}"));
        }
        self.error_event(error);
    }

    /// The event alone.
    pub fn error_event(self, error: &PoolError) {
        self.event(&ErrorEvent::Error(CommandError {
            code: error.code,
            exit_code: error.code.exit_code(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            known: error.known.clone(),
        }));
    }
}

/// The text with control characters made visible, so that a worker's output cannot drive the reader's terminal.
#[must_use]
pub fn neutralise(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        // Directional overrides can make a line read as another.
        let overrides = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (character.is_control() && character != '\t') || overrides {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::neutralise;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(neutralise("a\tb \x1b[2J\x07é\u{9b}1m\u{202e}"), "a\tb \\u{1b}[2J\\u{7}é\\u{9b}1m\\u{202e}");
    }
}
