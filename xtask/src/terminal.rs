//! The terminal behind standard error: this process's own, or that of whoever forwarded this command from another host.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressDrawTarget, TermLike};

use crate::remote::far::TERMINAL_VARIABLE;

/// Lines are drawn anew this often a second.
const REFRESH_HZ: u8 = 10;
/// A terminal that does not know its width.
const COLUMNS: u16 = 80;

/// Whether standard error is shown on a terminal that can do more than write, here or at the other end of a forwarded
/// command.
pub fn is_shown() -> bool {
    is_own() || forwarded_columns().is_some()
}

/// Whether standard output is such a terminal.
pub fn are_results_shown() -> bool {
    io::stdout().is_terminal() && !is_dumb(std::env::var_os("TERM").as_deref())
}

/// The width of standard error's, if there is one.
pub fn columns() -> Option<u16> {
    if !is_own() {
        return forwarded_columns();
    }
    let size = rustix::termios::tcgetwinsize(io::stderr()).map(|size| size.ws_col);
    Some(size.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS))
}

/// The width of the terminal that standard output is, if it is one.
pub fn stdout_columns() -> Option<usize> {
    own_columns(io::stdout())
}

/// The width of the terminal that standard error is, if it is one, even a dumb one.
pub fn stderr_columns() -> Option<usize> {
    own_columns(io::stderr())
}

fn own_columns(stream: impl IsTerminal + std::os::fd::AsFd) -> Option<usize> {
    let size = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(&stream))?;
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether standard error is this process's own terminal, and one that understands more than text.
fn is_own() -> bool {
    io::stderr().is_terminal() && !is_dumb(std::env::var_os("TERM").as_deref())
}

/// A terminal without colours and a cursor that can be moved says so: editors that run a shell, logs, CI.
fn is_dumb(name: Option<&OsStr>) -> bool {
    name.is_some_and(|name| name == "dumb")
}

/// Where progress is drawn: nowhere if nobody would see it.
pub fn draw_target() -> ProgressDrawTarget {
    match forwarded_columns() {
        _ if is_own() => ProgressDrawTarget::stderr_with_hz(REFRESH_HZ),
        Some(columns) => ProgressDrawTarget::term_like_with_hz(Box::new(Forwarded { columns }), REFRESH_HZ),
        None => ProgressDrawTarget::hidden(),
    }
}

fn forwarded_columns() -> Option<u16> {
    std::env::var(TERMINAL_VARIABLE).ok()?.parse().ok().filter(|columns| *columns > 0)
}

/// A terminal at the other end of a pipe; it understands what every one does (ECMA-48).
#[derive(Debug)]
struct Forwarded {
    columns: u16,
}

impl Forwarded {
    fn moved(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{count}{direction}")) }
    }
}

impl TermLike for Forwarded {
    fn width(&self) -> u16 {
        self.columns
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.moved(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        io::stderr().lock().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    #[test]
    fn a_dumb_terminal_is_known_by_its_name() {
        let is_dumb = |name: &str| super::is_dumb(Some(OsStr::new(name)));
        assert!(is_dumb("dumb") && !is_dumb("xterm-256color") && !super::is_dumb(None));
    }
}
