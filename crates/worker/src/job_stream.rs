//! The events of one job: written by the engine's thread, read by any number of responses.
//!
//! One mechanism serves the submitter's stream, unary answers and resumed streams: a ring of events, capped in bytes, that
//! readers walk with a cursor. The writer never waits; it is told when the submitter lags, and pauses the sequence. The
//! terminal event cannot be skipped: [`EventWriter`]'s drop writes one if nobody else did.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;
use protocol::event::{Event, EventId, Failure};
use tokio::sync::Notify;

/// Largest sum of event texts a job keeps; the oldest go first. Some 10,000 token events.
pub(crate) const RING_LIMIT_BYTES: usize = 1 << 20;
/// Events the submitter may lag behind before its sequence is paused.
const LAG_LIMIT: u64 = 256;

/// One event as it goes onto the wire.
#[derive(Debug, Clone)]
pub(crate) struct StoredEvent {
    pub id: EventId,
    pub json: Arc<str>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<StoredEvent>,
    bytes: usize,
    next_sequence: u64,
    /// When the terminal event was written.
    done_at: Option<Instant>,
    /// Sequence number the submitting response will read next; `None` once it is gone.
    submitter: Option<u64>,
    /// Readers that came by the events URL.
    followers: usize,
    orphaned_since: Option<Instant>,
}

/// The events of one attempt of one job.
#[derive(Debug)]
pub(crate) struct JobStream {
    attempt: u32,
    orphan_grace: Duration,
    inner: Mutex<Inner>,
    changed: Notify,
    is_cancelled: AtomicBool,
}

/// What a reader finds at its cursor.
#[derive(Debug)]
pub(crate) enum Read {
    /// The next events.
    Events(Vec<StoredEvent>),
    /// Nothing yet.
    Pending,
    /// The stream is over.
    Done,
    /// The events at the cursor were evicted.
    Lost,
}

impl JobStream {
    pub(crate) fn new(attempt: u32, orphan_grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            attempt,
            orphan_grace,
            inner: Mutex::default(),
            changed: Notify::new(),
            is_cancelled: AtomicBool::new(false),
        })
    }

    /// Data behind the lock is whole at every point where a panic could happen, so that poisoning says nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn orphan_grace(&self) -> Duration {
        self.orphan_grace
    }

    /// Asks the engine's thread to end the job; it looks before every step.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// Whether the job should end: cancelled, or without a reader for longer than its grace.
    pub(crate) fn should_end(&self) -> bool {
        if self.is_cancelled.load(Ordering::Acquire) {
            return true;
        }
        self.lock().orphaned_since.is_some_and(|since| since.elapsed() >= self.orphan_grace)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done_at().is_some()
    }

    /// When the terminal event was written.
    pub(crate) fn done_at(&self) -> Option<Instant> {
        self.lock().done_at
    }

    /// Whether the submitter reads so slowly that its sequence should pause.
    pub(crate) fn is_lagging(&self) -> bool {
        let inner = self.lock();
        inner.submitter.is_some_and(|cursor| inner.next_sequence.saturating_sub(cursor) > LAG_LIMIT)
    }

    /// Events at and after `cursor`.
    pub(crate) fn read(&self, cursor: u64) -> Read {
        let inner = self.lock();
        let first = inner.next_sequence - inner.events.len() as u64;
        if cursor < first {
            return Read::Lost;
        }
        let skip = usize::try_from(cursor - first).unwrap_or(usize::MAX);
        let events: Vec<_> = inner.events.iter().skip(skip).cloned().collect();
        match (events.is_empty(), inner.done_at.is_some()) {
            (false, _) => Read::Events(events),
            (true, true) => Read::Done,
            (true, false) => Read::Pending,
        }
    }

    /// Sequence number after the newest event.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.lock().next_sequence
    }

    /// Resolves when something changed after this call was first polled; see [`Notify::notified`].
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn push(&self, event: &Event) {
        let mut inner = self.lock();
        if inner.done_at.is_some() {
            return;
        }
        let json: Arc<str> = serde_json::to_string(event).unwrap_or_else(|_| "{}".to_owned()).into();
        inner.bytes += json.len();
        let id = EventId { attempt: self.attempt, sequence: inner.next_sequence };
        inner.next_sequence += 1;
        inner.done_at = event.is_terminal().then(Instant::now);
        inner.events.push_back(StoredEvent { id, json });
        while inner.bytes > RING_LIMIT_BYTES {
            let Some(evicted) = inner.events.pop_front() else { break };
            inner.bytes -= evicted.json.len();
        }
        drop(inner);
        self.changed.notify_waiters();
    }
}

/// The one writer of a job's events.
#[derive(Debug)]
pub(crate) struct EventWriter(Arc<JobStream>);

impl EventWriter {
    pub(crate) fn new(stream: Arc<JobStream>) -> Self {
        Self(stream)
    }

    /// Appends an event; nothing after the terminal one.
    pub(crate) fn write(&self, event: &Event) {
        self.0.push(event);
    }

    pub(crate) fn stream(&self) -> &Arc<JobStream> {
        &self.0
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.0.push(&Event::Error(Failure {
            code: ErrorCode::Internal,
            message: "the worker gave up the job without an answer".to_owned(),
            retriable: false,
            tokens_out: 0,
        }));
    }
}

/// A reader's presence; dropping it is what "the client went away" means.
#[derive(Debug)]
pub(crate) struct Attachment {
    stream: Arc<JobStream>,
    is_submitter: bool,
}

impl Attachment {
    /// The response to the request that submitted the job.
    pub(crate) fn submitter(stream: Arc<JobStream>) -> Self {
        stream.lock().submitter = Some(0);
        Self { stream, is_submitter: true }
    }

    /// A response that joined later.
    pub(crate) fn follower(stream: Arc<JobStream>) -> Self {
        let mut inner = stream.lock();
        inner.followers += 1;
        if !stream.orphan_grace.is_zero() {
            inner.orphaned_since = None;
        }
        drop(inner);
        Self { stream, is_submitter: false }
    }

    pub(crate) fn stream(&self) -> &JobStream {
        &self.stream
    }

    /// Everything before `cursor` was handed to the connection.
    pub(crate) fn advance(&self, cursor: u64) {
        if self.is_submitter {
            self.stream.lock().submitter = Some(cursor);
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut inner = self.stream.lock();
        if self.is_submitter {
            inner.submitter = None;
        } else {
            inner.followers -= 1;
        }
        // Without a grace the submitter alone counts; with one, whoever resumed the stream stands in for it.
        let is_alone = inner.followers == 0 || self.stream.orphan_grace.is_zero();
        if inner.submitter.is_none() && is_alone {
            inner.orphaned_since.get_or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use protocol::event::{Event, Token};

    use super::{Attachment, EventWriter, JobStream, RING_LIMIT_BYTES, Read};

    fn token(text: &str, index: u64) -> Event {
        Event::Token(Token { t: text.to_owned(), i: index })
    }

    #[test]
    fn a_dropped_writer_leaves_a_terminal_event() {
        let stream = JobStream::new(1, Duration::ZERO);
        let writer = EventWriter::new(Arc::clone(&stream));
        writer.write(&token("a", 0));
        drop(writer);
        let Read::Events(events) = stream.read(0) else { panic!("two events") };
        assert_eq!(events.len(), 2);
        assert!(events[1].json.contains("\"type\":\"error\""), "{}", events[1].json);
        assert_eq!(events[1].id.to_string(), "1:1");
        assert!(matches!(stream.read(2), Read::Done));
    }

    #[test]
    fn the_ring_is_capped_and_says_what_it_lost() {
        let stream = JobStream::new(1, Duration::ZERO);
        let writer = EventWriter::new(Arc::clone(&stream));
        let text = "x".repeat(1000);
        for index in 0..2_000 {
            writer.write(&token(&text, index));
        }
        assert!(matches!(stream.read(0), Read::Lost));
        let Read::Events(events) = stream.read(1_999) else { panic!("the newest event") };
        assert_eq!(events.len(), 1);
        assert!(stream.lock().bytes <= RING_LIMIT_BYTES);
    }

    #[test]
    fn a_job_without_a_grace_ends_with_its_submitter_and_no_other() {
        let stream = JobStream::new(1, Duration::ZERO);
        let submitter = Attachment::submitter(Arc::clone(&stream));
        drop(Attachment::follower(Arc::clone(&stream)));
        assert!(!stream.should_end(), "a follower cancels nothing");
        let follower = Attachment::follower(Arc::clone(&stream));
        drop(submitter);
        assert!(stream.should_end(), "the submitter does, whoever else reads");
        drop(follower);
    }

    #[test]
    fn a_job_with_a_grace_goes_on_while_somebody_reads() {
        let stream = JobStream::new(1, Duration::from_millis(1));
        let submitter = Attachment::submitter(Arc::clone(&stream));
        let follower = Attachment::follower(Arc::clone(&stream));
        drop(submitter);
        std::thread::sleep(Duration::from_millis(5));
        assert!(!stream.should_end(), "it was resumed");
        drop(follower);
        std::thread::sleep(Duration::from_millis(5));
        assert!(stream.should_end());
        let patient = JobStream::new(1, Duration::from_secs(3600));
        drop(Attachment::submitter(Arc::clone(&patient)));
        assert!(!patient.should_end(), "the grace has not passed");
    }

    #[test]
    fn a_panic_that_held_the_lock_stops_nobody() {
        let stream = JobStream::new(1, Duration::ZERO);
        let holder = Arc::clone(&stream);
        let panicked = std::thread::spawn(move || {
            let _held = holder.lock();
            panic!("with the lock held");
        });
        assert!(panicked.join().is_err());
        EventWriter::new(Arc::clone(&stream)).write(&token("a", 0));
        assert!(matches!(stream.read(0), Read::Events(events) if events.len() == 2));
    }

    #[test]
    fn a_submitter_that_does_not_read_lags() {
        let stream = JobStream::new(1, Duration::ZERO);
        let writer = EventWriter::new(Arc::clone(&stream));
        let submitter = Attachment::submitter(Arc::clone(&stream));
        for index in 0..300 {
            writer.write(&token("x", index));
        }
        assert!(stream.is_lagging());
        submitter.advance(200);
        assert!(!stream.is_lagging());
    }
}
