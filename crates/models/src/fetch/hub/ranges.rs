//! One file over several connections. This loop owns which bytes are here and who brings which; carriers only bring. The
//! first request decides whether it is done at all: only a server that answers it with the exact range and a strong tag
//! has proved that its ranges are parts of one content.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::carrier::{Broken, Gate, Report, Route, is_part, range_header};
use super::requester::Reply;
use super::{Announced, Remote, Transfer, is_passing};
use crate::fetch::background::{Follower, Syncer, Waited};
use crate::fetch::partial::{Partial, is_strong};
use crate::fetch::session::Session;
use crate::fetch::transport::no_thread;
use crate::fetch::{Event, FetchError};
use crate::hashing::Sums;

/// Between two looks at the cancel flag.
const POLL: Duration = Duration::from_millis(50);
/// How often the side file is brought up to date: a process that dies loses what came since, a few MiB on a fast line.
const SAVE_EVERY: Duration = Duration::from_millis(50);
/// Reports that may wait: carriers that are ahead of this loop wait for it.
const REPORTS_AHEAD: usize = 256;

/// What came of it.
pub(super) enum Outcome {
    /// Every byte is here.
    Complete(Sums),
    /// The server gives everything at once; this answer's body is it, if there is one.
    OneStream(Option<Reply>),
}

/// Brings what is missing of `partial`.
pub(super) fn receive(
    transfer: &mut Transfer<'_>,
    session: &mut Session<'_>,
    (remote, partial): (&Remote, &mut Partial),
) -> Result<Outcome, FetchError> {
    let size_bytes = partial.expected.size_bytes;
    let step = session.settings.shape.range_bytes;
    let Some(first) = partial.coverage().first_gap(size_bytes, step) else {
        return hash_all(session, partial).map(Outcome::Complete);
    };
    let mut headers = vec![range_header(&first)];
    headers.extend(partial.validator().map(|validator| ("if-range", validator.to_owned())));
    let reply = transfer.hub.get(session, &remote.location, &headers)?;
    let announced = reply.announced();
    match announced.status {
        206 => {
            let tag = announced.text("etag").filter(|tag| is_strong(tag)).map(str::to_owned);
            let is_same = partial.validator().is_none_or(|known| tag.as_deref() == Some(known));
            let validator = tag.filter(|_| is_same);
            let (Some(validator), true) = (validator, is_part(&announced, &first, size_bytes)?) else {
                return Ok(Outcome::OneStream(None));
            };
            partial.set_validator(session, Some(&validator))?;
            run(transfer, session, Begun { remote, partial, validator, first, reply }).map(Outcome::Complete)
        }
        200 => Ok(Outcome::OneStream(Some(reply))),
        416 => Ok(Outcome::OneStream(None)),
        _ => Err(transfer.refusal(session, &announced, reply.is_home)),
    }
}

/// A transfer whose first answer was accepted.
struct Begun<'a> {
    remote: &'a Remote,
    partial: &'a mut Partial,
    validator: String,
    first: Range<u64>,
    reply: Reply,
}

fn run(transfer: &mut Transfer<'_>, session: &mut Session<'_>, begun: Begun<'_>) -> Result<Sums, FetchError> {
    let Begun { remote, partial, validator, first, reply } = begun;
    let size_bytes = partial.expected.size_bytes;
    let threads = |error: std::io::Error| no_thread(reply.answer.host(), &error);
    let (sender, reports) = sync_channel(REPORTS_AHEAD);
    let gate = Arc::new(Gate::new(Arc::clone(&partial.file)));
    let route = Arc::new(Route {
        requester: Arc::clone(&transfer.hub.requester),
        location: remote.location.clone(),
        validator,
        size_bytes,
        gate: Arc::clone(&gate),
        reports: sender,
    });
    let hasher = session.hasher(&partial.expected);
    let follower = Follower::start(Arc::clone(&partial.file), hasher, size_bytes).map_err(threads)?;
    let syncer = Syncer::start(Arc::clone(&partial.file)).map_err(threads)?;
    let mut round = Round {
        transfer,
        session,
        partial,
        route,
        claims: Vec::new(),
        paused_until: Vec::new(),
        follower,
        syncer,
        saved_at: Instant::now(),
        is_changed: false,
    };
    round.start(first, Some(reply))?;
    let brought = round.bring_all(&reports);
    gate.close();
    if round.is_changed {
        round.partial.restart(round.session)?;
    } else {
        // What was written before the gate closed, and not told yet.
        reports.try_iter().for_each(|report| round.take_in(&report));
        round.partial.save(round.session)?;
    }
    brought?;
    round.finish()
}

/// The state of a transfer over several connections.
struct Round<'r, 'h, 's> {
    transfer: &'r mut Transfer<'h>,
    session: &'r mut Session<'s>,
    partial: &'r mut Partial,
    route: Arc<Route>,
    /// What carriers are bringing.
    claims: Vec<Range<u64>>,
    /// Connections that broke, and when each may be made again.
    paused_until: Vec<Instant>,
    follower: Follower,
    syncer: Syncer,
    saved_at: Instant,
    /// Whether the server has another content by now, so that nothing that is here counts.
    is_changed: bool,
}

impl Round<'_, '_, '_> {
    /// Keeps as many carriers going as there may be, until nothing is missing.
    fn bring_all(&mut self, reports: &Receiver<Report>) -> Result<(), FetchError> {
        self.follower.advance(self.partial.coverage().front());
        while self.partial.missing_bytes() > 0 {
            self.session.check_cancel()?;
            self.start_more()?;
            let report = match reports.recv_timeout(POLL) {
                Ok(report) => report,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.take_in(&report);
            if let Report::Ended(part, result) = report {
                self.claims.retain(|claim| claim.start != part.start);
                result.or_else(|broken| self.mend(broken))?;
            }
            if self.saved_at.elapsed() >= SAVE_EVERY {
                self.partial.save(self.session)?;
                self.saved_at = Instant::now();
            }
        }
        Ok(())
    }

    fn take_in(&mut self, report: &Report) {
        let Report::Bytes(written) = report else { return };
        self.partial.cover(written.clone());
        self.transfer.schedule.progressed();
        self.follower.advance(self.partial.coverage().front());
        self.syncer.arrived(written.end - written.start);
        self.session.report(Event::Progress { bytes: self.partial.size_bytes() });
    }

    fn start_more(&mut self) -> Result<(), FetchError> {
        let now = Instant::now();
        self.paused_until.retain(|until| *until > now);
        let connections = self.session.settings.shape.connections.max(1);
        while self.claims.len() + self.paused_until.len() < connections {
            let mut planned = self.partial.coverage().clone();
            self.claims.iter().for_each(|claim| planned.add(claim.clone()));
            let step = self.session.settings.shape.range_bytes;
            let Some(part) = planned.first_gap(self.route.size_bytes, step) else { break };
            self.start(part, None)?;
        }
        Ok(())
    }

    fn start(&mut self, part: Range<u64>, reply: Option<Reply>) -> Result<(), FetchError> {
        let (route, claim) = (Arc::clone(&self.route), part.clone());
        let work = move || match reply {
            Some(reply) => route.bring_from(reply.answer, part),
            None => route.bring(part),
        };
        let thread = std::thread::Builder::new().name("llorch-carrier".to_owned());
        thread.spawn(work).map_err(|error| no_thread("this machine", &error))?;
        self.claims.push(claim);
        Ok(())
    }

    /// Decides what a part that did not come means: a pause for its connection, or the end.
    fn mend(&mut self, broken: Broken) -> Result<(), FetchError> {
        let error = match broken {
            Broken::Fetch(error) => error,
            Broken::Refused { is_home, exchange } => {
                let announced =
                    Announced { host: exchange.host(), status: exchange.status, headers: &exchange.headers };
                self.transfer.refusal(self.session, &announced, is_home)
            }
            Broken::Write(error) => {
                return Err(self.session.write_error(&self.partial.path, self.partial.missing_bytes(), error));
            }
            Broken::Changed => {
                self.transfer.has_ranges = false;
                self.is_changed = true;
                let host = super::host_of(&self.route.location);
                return Err(FetchError::Connection { host, reason: "the content changed under way".to_owned() });
            }
            Broken::Closed => return Ok(()),
        };
        // A new address is asked for where all began.
        if !is_passing(&error, true) || matches!(error, FetchError::AddressExpired { .. }) {
            return Err(error);
        }
        let Some(delay) = self.transfer.next_delay(&error) else {
            return Err(error);
        };
        self.session.report(Event::Retrying { delay, reason: error.to_string() });
        self.paused_until.push(Instant::now() + delay);
        Ok(())
    }

    /// Waits for what went on beside the transfer.
    fn finish(self) -> Result<Sums, FetchError> {
        let Self { session, partial, follower, syncer, .. } = self;
        let sums = wait_for_hash(session, partial, follower)?;
        let synced = syncer.finish(&mut || session.check_cancel().is_ok());
        match synced.map_err(|error| session.write_error(&partial.path, 0, error))? {
            Waited::Done(()) => Ok(sums),
            Waited::Cancelled => Err(FetchError::Interrupted),
        }
    }
}

/// Hashes a file of which nothing is missing.
fn hash_all(session: &mut Session<'_>, partial: &Partial) -> Result<Sums, FetchError> {
    let hasher = session.hasher(&partial.expected);
    let size_bytes = partial.expected.size_bytes;
    let mut follower = Follower::start(Arc::clone(&partial.file), hasher, size_bytes)
        .map_err(|error| no_thread("this machine", &error))?;
    follower.advance(size_bytes);
    wait_for_hash(session, partial, follower)
}

fn wait_for_hash(session: &mut Session<'_>, partial: &Partial, follower: Follower) -> Result<Sums, FetchError> {
    let name = session.entry.files().iter().find(|file| session.temporary_path(&file.name, "") == partial.path);
    if let Some(file) = name {
        session.report(Event::Verifying { file: file.name.clone() });
    }
    let hashed = follower.finish(&mut || session.check_cancel().is_ok());
    match hashed.map_err(FetchError::reading(&partial.path))? {
        Waited::Done(sums) => Ok(sums),
        Waited::Cancelled => Err(FetchError::Interrupted),
    }
}
