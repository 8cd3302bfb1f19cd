//! What can go wrong, one word each, and how an answer is spoilt by it.

use std::time::Duration;

use super::answer::{Answer, Length};

/// Which of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The hub itself.
    Hub,
    /// The store of large files.
    Store,
}

/// One thing that goes wrong with one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: lets a request pass, so that a later one is hit.
    Pass,
    /// The connection ends after so many bytes of body.
    DropAfter(u64),
    /// The connection ends without an answer.
    Reset,
    /// A range is answered with 200 and everything.
    IgnoreRange,
    /// `Content-Length` says something else than is sent.
    ContentLength(u64),
    /// No length, in chunks; the last chunk is missing if not `terminated`.
    Chunked {
        /// Whether the body ends as it should.
        terminated: bool,
    },
    /// One byte of the content is another, and nothing says so.
    FlipByte(usize),
    /// Bytes are added to the content, and the length says so.
    Append(Vec<u8>),
    /// A header has another value, or is gone.
    Header(&'static str, Option<String>),
    /// The answer is this and nothing else.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers; the length is added.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// Silence before the first byte.
    StallBeforeAnswer(Duration),
    /// Silence after so many bytes of body; then the rest.
    StallAfter(u64, Duration),
    /// Pieces of so many bytes with a pause after each.
    Trickle(usize, Duration),
}

impl Fault {
    /// 403 as a store gives it when the signature of an address has expired.
    #[must_use]
    pub fn expired() -> Self {
        let headers = vec![("content-type", "application/xml".to_owned())];
        Fault::Answer { status: 403, headers, body: b"<Error><Code>AccessDenied</Code></Error>".to_vec() }
    }

    /// 429, with `Retry-After` if seconds are given.
    #[must_use]
    pub fn rate_limited(retry_after_seconds: Option<u64>) -> Self {
        let headers = retry_after_seconds.map(|seconds| ("retry-after", seconds.to_string()));
        Fault::Answer { status: 429, headers: headers.into_iter().collect(), body: b"slow down".to_vec() }
    }

    /// A status with a short page as body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let headers = vec![("content-type", "text/html".to_owned())];
        Fault::Answer { status, headers, body: b"<html>an error page, not a model</html>".to_vec() }
    }

    /// Spoils `answer`. `IgnoreRange` is not done here: it changes what is answered, not how.
    pub(super) fn apply(self, answer: &mut Answer) {
        match self {
            Fault::Pass | Fault::IgnoreRange => {}
            Fault::DropAfter(bytes) => answer.cut_after = Some(bytes),
            Fault::Reset => answer.is_reset = true,
            Fault::ContentLength(length) => answer.length = Length::Says(length),
            Fault::Chunked { terminated } => answer.length = Length::Chunked { terminated },
            Fault::FlipByte(index) => answer.flipped = Some(index as u64),
            Fault::Append(more) => {
                let mut bytes = answer.body.to_vec();
                bytes.extend(more);
                answer.body = bytes.into();
            }
            Fault::Header(name, value) => {
                answer.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                answer.headers.extend(value.map(|value| (name.to_owned(), value)));
            }
            Fault::Answer { status, headers, body } => {
                answer.status = status;
                answer.headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                answer.body = body.into();
                answer.length = Length::Exact;
            }
            Fault::StallBeforeAnswer(pause) => answer.stall_before = Some(pause),
            Fault::StallAfter(bytes, pause) => answer.stall_after = Some((bytes, pause)),
            Fault::Trickle(bytes, pause) => answer.trickle = Some((bytes, pause)),
        }
    }
}
