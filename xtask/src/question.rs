//! Questions to the person at the terminal.

use std::io::BufRead;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;

/// Refuses to ask where nobody would see it.
///
/// # Errors
/// Exit code 2 without a terminal.
pub fn require(output: Output) -> Result<(), Failure> {
    if output.can_ask() {
        return Ok(());
    }
    Err(Failure::usage("a question needs a terminal, and here is none").hint("`--yes` answers it"))
}

/// The person's answer; anything but yes is no.
///
/// # Errors
/// Exit code 2 without a terminal; Ctrl-C.
pub fn ask(output: Output, question: &str) -> Result<bool, Failure> {
    require(output)?;
    interrupt::watch()?;
    output.question(question);
    let (sender, receiver) = channel();
    // On a thread of its own, because a read does not end at Ctrl-C.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        let _the_command_ends = sender.send(read.map(|_| answer).unwrap_or_default());
    });
    loop {
        interrupt::check()?;
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => return Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}
