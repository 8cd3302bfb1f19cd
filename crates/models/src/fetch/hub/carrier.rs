//! One part of a file over one connection, on a thread of its own: asks for it, makes sure that the answer is it, and
//! writes it where it belongs.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{PoisonError, RwLock};

use ureq::http::Uri;

use super::answer::Announced;
use super::requester::Requester;
use crate::fetch::FetchError;
use crate::fetch::transport::{Answer, Exchange};

/// What a carrier tells.
pub(super) enum Report {
    /// These bytes were written.
    Bytes(Range<u64>),
    /// It is done with its part, or with a piece of it.
    Ended(Range<u64>, Result<(), Broken>),
}

/// Why a part did not come.
pub(super) enum Broken {
    /// The network or the server.
    Fetch(FetchError),
    /// A refusal, which only the caller can put into words.
    Refused { is_home: bool, exchange: Box<Exchange> },
    /// The disk.
    Write(io::Error),
    /// The server does not serve this part of this content any more.
    Changed,
    /// Nobody wants it any more.
    Closed,
}

/// The right to write into a file, for all carriers of one transfer. After [`Gate::close`] not one byte more is written,
/// even by a thread that is still reading from a silent server.
pub(super) struct Gate {
    file: Arc<File>,
    is_open: RwLock<bool>,
    /// The same for those who wait.
    pub(super) is_closed: AtomicBool,
}

impl Gate {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file, is_open: RwLock::new(true), is_closed: AtomicBool::new(false) }
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), Broken> {
        let is_open = self.is_open.read().unwrap_or_else(PoisonError::into_inner);
        match *is_open {
            true => self.file.write_all_at(bytes, at).map_err(Broken::Write),
            false => Err(Broken::Closed),
        }
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// What all carriers of one transfer know.
pub(super) struct Route {
    pub(super) requester: Arc<Requester>,
    pub(super) location: Uri,
    pub(super) validator: String,
    pub(super) size_bytes: u64,
    pub(super) gate: Arc<Gate>,
    pub(super) reports: SyncSender<Report>,
}

/// Whether an answer is exactly `part` of a file of `size_bytes`, and under the tag that was asked for.
pub(super) fn is_part(announced: &Announced<'_>, part: &Range<u64>, size_bytes: u64) -> Result<bool, FetchError> {
    announced.check_plain()?;
    let range = format!("bytes {}-{}/{size_bytes}", part.start, part.end - 1);
    let is_long_enough = announced.content_length()?.is_none_or(|length| length == part.end - part.start);
    Ok(announced.status == 206 && announced.text("content-range") == Some(&*range) && is_long_enough)
}

/// `Range` of a part.
pub(super) fn range_header(part: &Range<u64>) -> (&'static str, String) {
    ("range", format!("bytes={}-{}", part.start, part.end - 1))
}

impl Route {
    /// Brings `part`; runs on a thread of its own.
    pub(super) fn bring(&self, part: Range<u64>) {
        let result = self.fetch(&part);
        let _nobody_waits = self.reports.send(Report::Ended(part, result));
    }

    /// As [`Route::bring`], out of an answer whose headers were accepted.
    pub(super) fn bring_from(&self, mut answer: Answer, part: Range<u64>) {
        let mut at = part.start;
        let result = loop {
            let piece = match answer.bytes(&self.gate.is_closed) {
                Ok(piece) => piece,
                Err(FetchError::Interrupted) => break Err(Broken::Closed),
                Err(error) => break Err(Broken::Fetch(error)),
            };
            match self.take(piece.as_deref(), (&mut at, part.end), answer.host()) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(broken) => break Err(broken),
            }
        };
        let _nobody_waits = self.reports.send(Report::Ended(part, result));
    }

    fn fetch(&self, part: &Range<u64>) -> Result<(), Broken> {
        let headers = [range_header(part), ("if-range", self.validator.clone())];
        let asked = self.requester.get(&self.location, &headers, &self.gate.is_closed);
        let (mut exchange, is_home) = asked.map_err(Broken::Fetch)?;
        let announced = Announced { host: exchange.host(), status: exchange.status, headers: &exchange.headers };
        match exchange.status {
            200 | 416 => return Err(Broken::Changed),
            206 => {
                let is_same = announced.text("etag") == Some(&self.validator);
                if !is_same || !is_part(&announced, part, self.size_bytes).map_err(Broken::Fetch)? {
                    return Err(Broken::Changed);
                }
            }
            _ => return Err(Broken::Refused { is_home, exchange: Box::new(exchange) }),
        }
        let has_length = announced.text("content-length").is_some();
        let mut at = part.start;
        let host = exchange.host().to_owned();
        loop {
            let piece = exchange.bytes().map_err(Broken::Fetch)?;
            if self.take(piece, (&mut at, part.end), &host)? {
                continue;
            }
            if has_length {
                // Reading the end that is there anyway lets the next part have the connection.
                let _end = exchange.bytes();
            }
            return Ok(());
        }
    }

    /// Writes the next piece; whether more is to come.
    fn take(&self, piece: Option<&[u8]>, (at, end): (&mut u64, u64), host: &str) -> Result<bool, Broken> {
        let Some(bytes) = piece else {
            let reason = format!("the body ended {} bytes early", end - *at);
            return Err(Broken::Fetch(FetchError::Connection { host: host.to_owned(), reason }));
        };
        let next = *at + bytes.len() as u64;
        if next > end {
            let what = "more bytes than it announced".to_owned();
            return Err(Broken::Fetch(FetchError::Protocol { host: host.to_owned(), what }));
        }
        self.gate.write(bytes, *at)?;
        let written = *at..next;
        *at = next;
        self.reports.send(Report::Bytes(written)).map_err(|_| Broken::Closed)?;
        Ok(next < end)
    }
}
