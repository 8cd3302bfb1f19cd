//! The streams of a session: pipes to ssh, and threads that turn what comes through them into events.
//!
//! What the events mean is `session.rs`'s; our own words in the streams are found by `filter.rs`.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use anyhow::Context;

use super::filter::{Start, Status, Trailer};
use super::paced::Paced;
use crate::failure::Failure;
use crate::process::{Call, Group};

/// Takes what the task prints.
pub type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;
/// Writes what the task reads, on a thread of its own.
pub type Source = Box<dyn FnOnce(Paced) + Send>;

/// What a stream brought.
pub enum Event {
    Started(String),
    Held,
    Beat,
    Lost,
    Released,
    Status(Status),
    Bytes,
    ReaderGone,
    Closed { noise: Vec<String> },
}

/// A pipe, its reading end first.
pub fn pipe() -> Result<(PipeReader, PipeWriter), Failure> {
    Ok(std::io::pipe().context("cannot make a pipe")?)
}

/// Starts a session; its standard error goes into `errors`.
pub fn spawn(call: &Call, errors: PipeWriter) -> Result<(duct::Handle, PipeWriter, PipeReader), Failure> {
    let (input_reader, input) = pipe()?;
    let (output, output_writer) = pipe()?;
    let expression = call.expression().stdin_file(input_reader).stdout_file(output_writer).stderr_file(errors);
    let expression = Group::Own.apply(&expression);
    let handle = call.start(&expression)?;
    // The far ends of the pipes are open in the child alone.
    drop(expression);
    Ok((handle, input, output))
}

/// Where a stream goes.
pub struct Pump {
    /// Takes what is the task's.
    pub sink: Sink,
    /// Takes the rest.
    pub sender: Sender<Event>,
    /// Whether somebody is busy taking.
    pub writing: Arc<AtomicBool>,
    /// Whether the status stands in it, and the pid in its first line.
    pub has_status: bool,
}

/// Moves a stream to where it goes, on a thread of its own.
pub fn pump(mut reader: PipeReader, mark: &str, mut to: Pump) {
    let (mut start, mut trailer) = (Start::new(mark), Trailer::new(mark));
    std::thread::spawn(move || {
        let mut buffer = vec![0_u8; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let piece = start.push(&buffer[..count]);
            if let (Some(pid), true) = (piece.started, to.has_status) {
                to.send(Event::Started(pid));
            }
            let (bytes, status) = if to.has_status { trailer.push(&piece.bytes) } else { (piece.bytes, None) };
            to.write(&bytes);
            status.into_iter().for_each(|status| to.send(Event::Status(status)));
        }
        to.write(&trailer.rest());
        to.send(Event::Closed { noise: start.noise() });
    });
}

impl Pump {
    fn send(&self, event: Event) {
        let _nobody_waits_any_more = self.sender.send(event);
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.writing.store(true, Ordering::SeqCst);
        let written = (self.sink)(bytes);
        self.writing.store(false, Ordering::SeqCst);
        self.send(if written.is_ok() { Event::Bytes } else { Event::ReaderGone });
    }
}
