//! One file on its way, over all attempts: what an earlier run left is gone on with, the bytes come over one connection or
//! several, and only what has the right hash gets a name.

use std::time::Duration;

use protocol::catalog::CatalogFile;

use super::ranges::{self, Outcome};
use super::requester::Reply;
use super::{Announced, Hub, Remote, told};
use crate::fetch::partial::{self, Partial};
use crate::fetch::retry::{self, Schedule};
use crate::fetch::session::Session;
use crate::fetch::transport::Answer;
use crate::fetch::{Event, FetchError};
use crate::hashing::Sums;
use crate::store::manifest::ManifestFile;

/// One file on its way.
pub(super) struct Transfer<'h> {
    pub(super) hub: &'h Hub<'h>,
    file: &'h CatalogFile,
    pub(super) schedule: Schedule,
    partial: Option<Partial>,
    /// Whether the hub has answered at all: an address that was reached once may come back.
    pub(super) is_reached: bool,
    /// Whether the server may still prove that it serves ranges.
    pub(super) has_ranges: bool,
    /// The most bytes that were ever here.
    best_bytes: u64,
    /// Whether a finished file with the wrong content was already thrown away once.
    refetched: bool,
}

/// Whether a transfer can go on from where the partial file ends.
enum Body {
    /// The missing bytes, or all bytes after a restart, follow.
    Follows,
    /// The server cannot continue: ask for everything.
    StartAgain,
}

impl<'h> Transfer<'h> {
    pub(super) fn new(hub: &'h Hub<'h>, file: &'h CatalogFile) -> Self {
        Self {
            hub,
            file,
            schedule: Schedule::new(&hub.settings.clocks),
            partial: None,
            is_reached: false,
            has_ranges: hub.settings.shape.connections > 1,
            best_bytes: 0,
            refetched: false,
        }
    }

    /// The wait before the next try, or `None` to give up.
    pub(super) fn next_delay(&mut self, error: &FetchError) -> Option<Duration> {
        let bytes = self.partial.as_ref().map_or(0, Partial::size_bytes);
        if bytes > self.best_bytes {
            self.best_bytes = bytes;
            self.schedule.progressed();
        }
        self.schedule.next(told(error), retry::jitter())
    }

    pub(super) fn attempt(&mut self, session: &mut Session<'_>) -> Result<ManifestFile, FetchError> {
        let remote = self.hub.probe(session, self.file)?;
        self.is_reached = true;
        let name = &self.file.name;
        let mut partial = match self.partial.take() {
            Some(partial) if partial.expected == remote.expected => partial,
            _ => {
                if let Some(kept) = session.kept(name, &remote.expected)? {
                    return Ok(kept);
                }
                let mut partial = Partial::open(session, name, remote.expected)?;
                if !self.goes_in_parts(&partial) {
                    partial.gather(session, name)?;
                }
                let directory = partial.path.parent().unwrap_or(&partial.path);
                session.preflight(directory, partial.missing_bytes())?;
                self.best_bytes = partial.size_bytes();
                partial
            }
        };
        let resumed_bytes = partial.size_bytes();
        let total_bytes = Some(remote.expected.size_bytes);
        session.report(Event::Started { file: name.clone(), total_bytes, resumed_bytes });
        let sums = match self.receive(session, &remote, &mut partial) {
            Ok(sums) => sums,
            Err(error) => {
                self.partial = Some(partial);
                return Err(error);
            }
        };
        match remote.expected.verdict(name, &sums) {
            Ok(line) => {
                session.publish(name, &partial.file, &partial.path)?;
                partial::remove(&partial.path)?;
                Ok(line)
            }
            Err(error) => {
                // What an earlier run left may be to blame; bytes that all came now are the source's own.
                if resumed_bytes > 0 && !self.refetched {
                    self.refetched = true;
                    partial.discard()?;
                    return self.attempt(session);
                }
                session.quarantine(name, &partial.path);
                Err(error)
            }
        }
    }

    /// Whether several connections are worth a try.
    fn goes_in_parts(&self, partial: &Partial) -> bool {
        self.has_ranges && partial.expected.size_bytes > self.hub.settings.shape.range_bytes
    }

    /// Brings the partial file to its full size; the hashes of its bytes.
    fn receive(
        &mut self,
        session: &mut Session<'_>,
        remote: &Remote,
        partial: &mut Partial,
    ) -> Result<Sums, FetchError> {
        if self.goes_in_parts(partial) {
            match ranges::receive(self, session, (remote, partial))? {
                Outcome::Complete(sums) => return Ok(sums),
                Outcome::OneStream(reply) => {
                    self.has_ranges = false;
                    if let Some(reply) = reply
                        && let Body::Follows = self.accept(session, &reply, partial)?
                    {
                        self.take_body(session, reply.answer, partial)?;
                        return Ok(partial.sums());
                    }
                }
            }
        }
        partial.gather(session, &self.file.name)?;
        self.receive_stream(session, remote, partial)?;
        Ok(partial.sums())
    }

    /// Brings the end of the partial file over one connection.
    fn receive_stream(
        &self,
        session: &mut Session<'_>,
        remote: &Remote,
        partial: &mut Partial,
    ) -> Result<(), FetchError> {
        if partial.missing_bytes() == 0 {
            return Ok(());
        }
        let mut headers = Vec::new();
        if partial.size_bytes() > 0 {
            headers.push(("range", format!("bytes={}-", partial.size_bytes())));
            headers.extend(partial.validator().map(|validator| ("if-range", validator.to_owned())));
        }
        let reply = self.hub.get(session, &remote.location, &headers)?;
        if let Body::Follows = self.accept(session, &reply, partial)? {
            return self.take_body(session, reply.answer, partial);
        }
        partial.restart(session)?;
        let reply = self.hub.get(session, &remote.location, &[])?;
        match self.accept(session, &reply, partial)? {
            Body::Follows => self.take_body(session, reply.answer, partial),
            Body::StartAgain => Err(reply.announced().broken("a range was answered where none was asked for")),
        }
    }

    /// The error of an answer that is neither bytes nor a matter of ranges.
    pub(super) fn refusal(&self, session: &Session<'_>, announced: &Announced<'_>, is_home: bool) -> FetchError {
        match announced.status {
            // A signed address of a store: its refusals say nothing about the model.
            400 | 401 | 403 | 410 if !is_home => FetchError::AddressExpired { file: self.file.name.clone() },
            206 | 416 => announced.broken("a range was answered where none was asked for"),
            _ => announced.refusal(&self.hub.asked(session, self.file).subject()),
        }
    }

    /// Decides from status and headers whether the body is the bytes that are missing.
    fn accept(&self, session: &Session<'_>, reply: &Reply, partial: &mut Partial) -> Result<Body, FetchError> {
        let announced = reply.announced();
        let size_bytes = partial.expected.size_bytes;
        let offset = partial.size_bytes();
        match announced.status {
            200 => {
                announced.check_plain()?;
                if let Some(actual) = announced.content_length()?.filter(|length| *length != size_bytes) {
                    return Err(FetchError::SizeMismatch {
                        file: self.file.name.clone(),
                        expected: size_bytes,
                        actual,
                    });
                }
                if offset > 0 {
                    partial.restart(session)?;
                }
                partial.set_validator(session, announced.text("etag"))?;
                Ok(Body::Follows)
            }
            206 if offset > 0 => {
                announced.check_plain()?;
                let is_same_content = partial.validator().is_none() || announced.text("etag") == partial.validator();
                let is_exact = announced.text("content-range")
                    == Some(&*format!("bytes {offset}-{}/{size_bytes}", size_bytes - 1));
                let is_long_enough = announced.content_length()?.is_none_or(|length| length == size_bytes - offset);
                Ok(if is_same_content && is_exact && is_long_enough { Body::Follows } else { Body::StartAgain })
            }
            416 if offset > 0 => Ok(Body::StartAgain),
            _ => Err(self.refusal(session, &announced, reply.is_home)),
        }
    }

    fn take_body(
        &self,
        session: &mut Session<'_>,
        mut answer: Answer,
        partial: &mut Partial,
    ) -> Result<(), FetchError> {
        while partial.missing_bytes() > 0 {
            let Some(bytes) = answer.bytes(session.cancel)? else {
                let (here, size_bytes) = (partial.size_bytes(), partial.expected.size_bytes);
                let reason = format!("the body ended after {here} of {size_bytes} bytes");
                return Err(FetchError::Connection { host: answer.host().to_owned(), reason });
            };
            if bytes.len() as u64 > partial.missing_bytes() {
                let actual = partial.size_bytes().saturating_add(bytes.len() as u64);
                let expected = partial.expected.size_bytes;
                partial.restart(session)?;
                return Err(FetchError::SizeMismatch { file: self.file.name.clone(), expected, actual });
            }
            partial.append(session, &bytes)?;
            session.report(Event::Progress { bytes: partial.size_bytes() });
        }
        Ok(())
    }
}
