//! SIGINT, SIGTERM and SIGHUP as messages: one thread turns them into calls of a closure.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// A request to end, by signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal or the connection is gone.
    HangUp,
}

const SIGNALS: [(i32, Interrupt); 3] = [(2, Interrupt::Interrupt), (15, Interrupt::Terminate), (1, Interrupt::HangUp)];

/// Calls `on_interrupt` for every such signal from now on, each on a thread of its own.
///
/// # Errors
/// The system refuses the handler, a socket or a thread.
pub fn watch(on_interrupt: impl Fn(Interrupt) + Clone + Send + 'static) -> io::Result<()> {
    for (number, interrupt) in SIGNALS {
        let (mut receiver, sender) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(number, sender)?;
        let on_interrupt = on_interrupt.clone();
        std::thread::Builder::new().name(String::from("signals")).spawn(move || {
            let mut byte = [0_u8; 1];
            while receiver.read_exact(&mut byte).is_ok() {
                on_interrupt(interrupt);
            }
        })?;
    }
    Ok(())
}
