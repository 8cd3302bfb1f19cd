//! Writing to a far task no faster than the line takes it.
//!
//! The guard's beats go over the same line as what a task reads. Whatever is written ahead of them holds them up, and a
//! guard that hears none ends the task: so no more is under way than the line takes in a fraction of a guard's patience.

use std::io::{self, PipeWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Guard;

/// What a line of 10 kB/s takes in less than a second.
const WINDOW_BYTES_MIN: usize = 8 * 1024;
/// Beyond this nothing is gained on any line.
const WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// An answer within this lets the window grow; one after three times as long lets it shrink. A guard waits 3.5 s.
const SOON: Duration = Duration::from_millis(400);
/// Between two looks at whether the answer is there.
const POLL: Duration = Duration::from_micros(500);
/// A guard that answers no more is noticed by whoever runs the task; this thread only has to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A task's standard input.
pub struct Paced {
    input: PipeWriter,
    guard: Arc<Guard>,
    window_bytes: usize,
    under_way_bytes: usize,
}

impl Paced {
    /// Nothing is under way yet.
    pub fn new(input: PipeWriter, guard: Arc<Guard>) -> Self {
        Self { input, guard, window_bytes: WINDOW_BYTES_MIN, under_way_bytes: 0 }
    }

    /// Waits until what was written so far has arrived: a beat that was sent behind it is answered.
    fn wait(&mut self) -> io::Result<()> {
        let (started, number) = (Instant::now(), self.guard.beat());
        while self.guard.echoes() < number {
            if started.elapsed() > LIMIT {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            std::thread::sleep(POLL);
        }
        self.window_bytes = next_window(self.window_bytes, started.elapsed());
        self.under_way_bytes = 0;
        Ok(())
    }
}

/// The window after an answer that took so long.
fn next_window(window_bytes: usize, answered_in: Duration) -> usize {
    if answered_in <= SOON {
        (window_bytes * 2).min(WINDOW_BYTES_MAX)
    } else if answered_in > SOON * 3 {
        (window_bytes / 2).max(WINDOW_BYTES_MIN)
    } else {
        window_bytes
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.under_way_bytes >= self.window_bytes {
            self.wait()?;
        }
        let room = self.window_bytes - self.under_way_bytes;
        let written = self.input.write(&bytes[..bytes.len().min(room)])?;
        self.under_way_bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, next_window};

    #[test]
    fn a_fast_line_gets_much_and_a_slow_one_little() {
        let after = |answers: &[u64]| {
            let step = |window, ms: &u64| next_window(window, Duration::from_millis(*ms));
            answers.iter().fold(WINDOW_BYTES_MIN, step)
        };
        assert_eq!(after(&[1; 20]), WINDOW_BYTES_MAX);
        assert_eq!(after(&[1, 1, 2_000, 2_000, 2_000]), WINDOW_BYTES_MIN);
        assert_eq!(after(&[1, 900]), 2 * WINDOW_BYTES_MIN);
    }
}
