//! The guard of a connection: a far shell that ends a task when it is told to, or when it hears nothing any more.
//!
//! It is the session that makes the connection, so there is no connection without one, and it ends with this process,
//! however that ends: its input is a pipe that is open here alone. What it does is `guard.sh`.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lines::Lines;
use super::script::Script;
use super::streams::Event;

const GUARD: &str = include_str!("guard.sh");
/// Lines of a login shell that says something else than it was asked to.
const NOISE_LINES_MAX: usize = 8;
/// Of each of them.
const NOISE_LETTERS_MAX: usize = 200;

/// This side of it.
pub struct Guard {
    input: Mutex<PipeWriter>,
    heard: Arc<Mutex<Heard>>,
    beats: AtomicU64,
}

/// What came from it, and who wants to know.
#[derive(Default)]
struct Heard {
    listener: Option<Sender<Event>>,
    noise: Vec<String>,
    /// Beats that were answered.
    echoes: u64,
}

impl Guard {
    /// Sends the far shell what it is to do, and listens.
    pub fn start(mark: &str, mut input: PipeWriter, output: PipeReader) -> Self {
        let script = Script::new("mark=").word(mark).then("\n").then(GUARD);
        // A line that is not read is a connection that does not open.
        let _noticed = input.write_all(&script.line());
        let heard = Arc::new(Mutex::new(Heard::default()));
        listen(output, mark.to_owned(), Arc::clone(&heard));
        Self { input: Mutex::new(input), heard, beats: AtomicU64::new(0) }
    }

    /// Tells it something; that it has gone is noticed by its silence.
    pub fn say(&self, words: &str) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let _noticed = input.write_all(format!("{words}\n").as_bytes());
    }

    /// A sign of life; its number.
    pub fn beat(&self) -> u64 {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let _noticed = input.write_all(b"beat\n");
        self.beats.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many were answered.
    pub fn echoes(&self) -> u64 {
        lock(&self.heard).echoes
    }

    /// From now on what it says goes to `listener`: the task that runs.
    pub fn tell(&self, listener: Sender<Event>) {
        lock(&self.heard).listener = Some(listener);
    }

    /// What the login shell said instead.
    pub fn noise(&self) -> Vec<String> {
        lock(&self.heard).noise.clone()
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(mut output: PipeReader, mark: String, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        let (mut lines, mut buffer) = (Lines::default(), [0_u8; 4 * 1024]);
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            for line in lines.push(&buffer[..count]) {
                hear(&heard, &mark, &String::from_utf8_lossy(&line));
            }
        }
    });
}

fn hear(heard: &Mutex<Heard>, mark: &str, line: &str) {
    let mut heard = lock(heard);
    let event = match line.strip_prefix(mark).map(str::trim) {
        Some("held") => Event::Held,
        Some("beat") => Event::Beat,
        Some("lost") => Event::Lost,
        Some("released") => Event::Released,
        Some(_) => return,
        None => {
            if heard.noise.len() < NOISE_LINES_MAX {
                heard.noise.push(line.chars().take(NOISE_LETTERS_MAX).collect());
            }
            return;
        }
    };
    heard.echoes += u64::from(matches!(event, Event::Beat));
    // Between two tasks nobody listens.
    let _nobody = heard.listener.as_ref().map(|listener| listener.send(event));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::GUARD;

    #[test]
    fn a_guard_that_cannot_speak_any_more_still_ends_its_task() {
        let task = duct::cmd("setsid", ["sleep", "300"]).unchecked().start().expect("a task");
        let pid = task.pids()[0];
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (input, mut told) = std::io::pipe().expect("a pipe");
        let guard = duct::cmd("sh", ["-c", &format!("mark=m\n{GUARD}")]).stdin_file(input).stdout_file(writer);
        let guard = guard.stderr_null().unchecked().start().expect("a guard");
        std::io::Write::write_all(&mut told, format!("hold {pid}\n").as_bytes()).expect("it listens");
        std::thread::sleep(Duration::from_millis(300));
        // Nobody hears what it says, and it is spoken to once more before all is silent.
        drop(reader);
        std::io::Write::write_all(&mut told, b"beat\n").expect("it listens");
        let started = Instant::now();
        while task.try_wait().expect("it can be waited for").is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "the task still runs");
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(told);
        let _ended = guard.wait();
    }
}
