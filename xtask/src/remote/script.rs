//! What is said to a far shell: quoting, and a start that reads the same in every login shell.
//!
//! A login shell may be bash, dash, zsh, fish, tcsh or busybox, and each reads quotes, `!`, newlines and backslashes in
//! its own way. So it is given one constant line of plain characters, which starts `/bin/sh`; that reads everything else
//! from standard input as one line of printable ASCII. Running it is `session.rs`'s.

use std::fmt::Write as _;

use crate::failure::Failure;

/// Linux gives one argument this many bytes, its terminating NUL included (execve(2): MAX_ARG_STRLEN).
const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// Of the 1 MiB that macOS has for arguments and environment together, the smaller of the two; half of it is ours.
const ARGUMENTS_BYTES_MAX: usize = 512 * 1024;

/// A POSIX shell script. Words from outside enter it through [`Script::word`] only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script(String);

impl Script {
    /// A script of fixed text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The same script and more fixed text.
    #[must_use]
    pub fn then(mut self, text: &str) -> Self {
        self.0.push_str(text);
        self
    }

    /// The same script and one word, quoted.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.0.push_str(&quoted(word));
        self
    }

    /// The same script and words, each behind a blank.
    #[must_use]
    pub fn words<T: AsRef<str>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        for word in words {
            self.0.push(' ');
            self.0.push_str(&quoted(word.as_ref()));
        }
        self
    }

    /// The same script and a path: `~/` is the far home folder, and a relative path begins there.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        match path.strip_prefix("~/") {
            Some(below) => self.then("\"$HOME\"/").word(below),
            None if path == "~" => self.then("\"$HOME\""),
            None if path.starts_with('/') => self.word(path),
            None => self.then("\"$HOME\"/").word(path),
        }
    }

    /// The same script, then another.
    #[must_use]
    pub fn append(self, other: &Script) -> Self {
        self.then(&other.0)
    }

    /// The text, for people.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// One line for `printf %b`, its newline included: printable ASCII, everything else as `\0ooo`.
    pub fn line(&self) -> Vec<u8> {
        let mut line = String::with_capacity(self.0.len() + 64);
        for byte in self.0.bytes() {
            match byte {
                b' '..=b'~' if byte != b'\\' => line.push(char::from(byte)),
                _ => {
                    let _infallible = write!(line, "\\0{byte:03o}");
                }
            }
        }
        line.push('\n');
        line.into_bytes()
    }
}

/// The word in single quotes, whatever it holds: no character is special there but the quote itself.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The command for the login shell. Both streams begin with `mark`, so that what a start-up file prints can be told from
/// what the task prints; the pid is the far session's and process group's (sshd makes both).
pub fn start_command(mark: &str) -> String {
    format!(r#"exec /bin/sh -c 'echo {mark}; echo {mark} $$ >&2; IFS= read -r p && eval "$(printf %b "$p")"'"#)
}

/// Refuses what no far side could be given as arguments.
pub fn check_arguments<T: AsRef<str>>(arguments: &[T]) -> Result<(), Failure> {
    let mut total: usize = 0;
    for (index, argument) in arguments.iter().map(AsRef::as_ref).enumerate() {
        if argument.contains('\0') {
            return Err(Failure::usage(format!("argument {index} contains a NUL, which no command line can")));
        }
        if argument.len() > ARGUMENT_BYTES_MAX {
            let message = format!("argument {index} has {} bytes, the most is {ARGUMENT_BYTES_MAX}", argument.len());
            return Err(Failure::usage(message).hint("send it on standard input"));
        }
        total = total.saturating_add(argument.len() + 1);
    }
    if total > ARGUMENTS_BYTES_MAX {
        let message = format!("the arguments have {total} bytes, the most is {ARGUMENTS_BYTES_MAX}");
        return Err(Failure::usage(message).hint("send them on standard input"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ARGUMENT_BYTES_MAX, Script, check_arguments, quoted, start_command};

    #[test]
    fn words_are_quoted_and_paths_begin_at_home() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let script = Script::new("cd ").path("~/a b").then("; cd ").path("src").then("; cd ").path("/x").then("; y");
        assert_eq!(script.words(["-n", ""]).text(), r#"cd "$HOME"/'a b'; cd "$HOME"/'src'; cd '/x'; y '-n' ''"#);
    }

    #[test]
    fn the_line_is_printable_ascii() {
        let line = Script::new("a\\\n\u{a0}\u{1b}é").line();
        assert_eq!(String::from_utf8_lossy(&line), "a\\0134\\0012\\0302\\0240\\0033\\0303\\0251\n");
    }

    #[test]
    fn the_start_reads_the_same_in_every_shell() {
        let command = start_command("m4rk");
        let inside = command.strip_prefix("exec /bin/sh -c '").and_then(|rest| rest.strip_suffix('\''));
        let inside = inside.expect("one single-quoted word");
        assert!(!inside.contains(['\'', '!', '\\', '\n']), "{inside}");
    }

    #[test]
    fn what_cannot_be_an_argument_is_refused_here() {
        assert!(check_arguments(&["a\0b"]).is_err());
        assert!(check_arguments(&["x".repeat(ARGUMENT_BYTES_MAX + 1)]).is_err());
        assert!(check_arguments(&vec!["x".repeat(100_000); 6]).is_err());
        assert!(check_arguments(&["x".repeat(100_000), String::new()]).is_ok());
    }
}
