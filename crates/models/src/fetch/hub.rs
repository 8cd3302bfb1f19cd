//! The model hub: asks what a file is (HEAD), then takes its bytes (GET) from where the hub says they are, resuming what
//! an earlier run left. Addresses and tokens are `hub/address.rs`'s, headers and errors `hub/answer.rs`'s.

mod address;
mod answer;

use protocol::catalog::CatalogFile;
use ureq::http::{HeaderMap, Method, Uri};

use super::partial::{self, Partial};
use super::retry::{self, Schedule};
use super::session::{Expectation, ExpectedHash, Session};
use super::transport::{Answer, Question, Transport};
use super::{Event, FetchError, SourceSettings};
use crate::store::manifest::{Authority, ManifestFile};
use address::{follow, origin, resolve_url};
use answer::{Announced, Asked};

/// Redirects that are followed in a row.
const MAX_REDIRECTS: usize = 5;

/// The hub of these settings.
pub(super) struct Hub<'a> {
    settings: &'a SourceSettings,
    transport: Transport,
    /// Where a token may go.
    home: String,
}

/// A request header.
type Header = (&'static str, String);

/// What the hub says about one file, and where its bytes are.
struct Remote {
    expected: Expectation,
    location: Uri,
}

/// Whether a transfer can go on from where the partial file ends.
enum Body {
    /// The missing bytes, or all bytes after a restart, follow.
    Follows,
    /// The server cannot continue: ask for everything.
    StartAgain,
}

impl<'a> Hub<'a> {
    /// The hub, unless it is switched off. Nothing is sent yet.
    pub(super) fn open(settings: &'a SourceSettings) -> Result<Self, FetchError> {
        if let Some(variable) = settings.switched_off_by {
            return Err(FetchError::SwitchedOff { variable });
        }
        let unusable =
            |_| FetchError::Protocol { host: settings.endpoint.as_str().to_owned(), what: "no address".to_owned() };
        let endpoint: Uri = settings.endpoint.as_str().parse().map_err(unusable)?;
        Ok(Self { settings, transport: Transport::new(&settings.clocks), home: origin(&endpoint) })
    }

    /// Fetches one file to its final name, trying again what may pass.
    pub(super) fn fetch(&self, session: &mut Session<'_>, file: &CatalogFile) -> Result<ManifestFile, FetchError> {
        let mut schedule = Schedule::new(&self.settings.clocks);
        let mut transfer =
            Transfer { hub: self, file, partial: None, is_reached: false, best_bytes: 0, refetched: false };
        loop {
            let error = match transfer.attempt(session) {
                Ok(line) => return Ok(line),
                Err(error) => error,
            };
            if transfer.has_progressed() {
                schedule.progressed();
            }
            // An address that never answered is left to the next source, if there is one.
            let is_worth_a_try = transfer.is_reached || !session.has_alternative;
            if !is_worth_a_try || !is_passing(&error, transfer.is_reached) {
                return Err(error);
            }
            let Some(delay) = schedule.next(told(&error), retry::jitter()) else {
                return Err(error);
            };
            session.report(Event::Retrying { delay, reason: error.to_string() });
            session.sleep(delay)?;
        }
    }

    fn asked<'s>(&'s self, session: &'s Session<'_>, file: &'s CatalogFile) -> Asked<'s> {
        Asked {
            repo: &session.entry.repo,
            revision: &session.entry.revision,
            file,
            anonymous: self.settings.token.is_none(),
        }
    }

    /// HEAD: what the file is and where its bytes are.
    fn probe(&self, session: &Session<'_>, file: &CatalogFile) -> Result<Remote, FetchError> {
        let asked = self.asked(session, file);
        let mut url = resolve_url(&self.settings.endpoint, asked.repo, asked.revision, &file.name)?;
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.ask(session, Method::HEAD, &url, Vec::new())?;
            let announced = reply.announced();
            let location = match reply.status {
                200 => url,
                301 | 302 | 303 | 307 | 308 => {
                    let target = follow(&url, &reply.headers)?;
                    // The hub's own redirects (a renamed repository, its cache of small files) are followed; one to a
                    // store of bytes is the answer.
                    if !announced.is_description() && origin(&target) == origin(&url) {
                        url = target;
                        continue;
                    }
                    target
                }
                _ => return Err(announced.refusal(&asked)),
            };
            return Ok(Remote { expected: announced.expectation(&asked)?, location });
        }
        Err(too_many_redirects(&url))
    }

    /// GET: the answer that carries bytes or a refusal, redirects followed.
    fn get(&self, session: &Session<'_>, location: &Uri, headers: &[Header]) -> Result<Reply, FetchError> {
        let mut url = location.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.ask(session, Method::GET, &url, headers.to_vec())?;
            if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            url = follow(&url, &reply.headers)?;
        }
        Err(too_many_redirects(&url))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "method, address and headers are the request; a struct would only repeat it"
    )]
    fn ask(
        &self,
        session: &Session<'_>,
        method: Method,
        url: &Uri,
        mut headers: Vec<Header>,
    ) -> Result<Reply, FetchError> {
        let is_home = origin(url) == self.home;
        headers.push(("accept-encoding", "identity".to_owned()));
        if let Some(token) = &self.settings.token
            && is_home
        {
            headers.push(("authorization", format!("Bearer {}", token.secret())));
        }
        let mut answer = self.transport.ask(Question { method, url, headers, briefly: session.has_alternative })?;
        let (status, headers) = answer.head(session.cancel)?;
        Ok(Reply { answer, status, headers, is_home })
    }
}

/// An answer whose headers are here.
struct Reply {
    answer: Answer,
    status: u16,
    headers: HeaderMap,
    /// Whether the hub itself gave it, and not a store it redirected to.
    is_home: bool,
}

impl Reply {
    fn announced(&self) -> Announced<'_> {
        Announced { host: self.answer.host(), status: self.status, headers: &self.headers }
    }
}

/// One file on its way, over all attempts.
struct Transfer<'h> {
    hub: &'h Hub<'h>,
    file: &'h CatalogFile,
    partial: Option<Partial>,
    /// Whether the hub has answered at all: an address that was reached once may come back.
    is_reached: bool,
    /// The most bytes that were ever here.
    best_bytes: u64,
    /// Whether a finished file with the wrong content was already thrown away once.
    refetched: bool,
}

impl Transfer<'_> {
    /// Whether bytes arrived since this was last asked.
    fn has_progressed(&mut self) -> bool {
        let bytes = self.partial.as_ref().map_or(0, Partial::size_bytes);
        let has_progressed = bytes > self.best_bytes;
        self.best_bytes = self.best_bytes.max(bytes);
        has_progressed
    }

    fn attempt(&mut self, session: &mut Session<'_>) -> Result<ManifestFile, FetchError> {
        let remote = self.hub.probe(session, self.file)?;
        self.is_reached = true;
        let name = &self.file.name;
        let mut partial = match self.partial.take() {
            Some(partial) if partial.expected == remote.expected => partial,
            _ => {
                if let Some(kept) = session.kept(name, &remote.expected)? {
                    return Ok(kept);
                }
                let partial = Partial::open(session, name, remote.expected)?;
                let directory = partial.path.parent().unwrap_or(&partial.path);
                session.preflight(directory, partial.missing_bytes())?;
                self.best_bytes = partial.size_bytes();
                partial
            }
        };
        let resumed_bytes = partial.size_bytes();
        let total_bytes = Some(remote.expected.size_bytes);
        session.report(Event::Started { file: name.clone(), total_bytes, resumed_bytes });
        let transferred = self.receive(session, &remote, &mut partial);
        if let Err(error) = transferred {
            self.partial = Some(partial);
            return Err(error);
        }
        match remote.expected.verdict(name, &partial.sums()) {
            Ok(line) => {
                session.publish(name, &partial.file, &partial.path)?;
                partial::remove(&partial.path)?;
                Ok(line)
            }
            Err(error) => {
                partial.discard()?;
                // What an earlier run left may be to blame; bytes that all came now are the source's own.
                if resumed_bytes > 0 && !self.refetched {
                    self.refetched = true;
                    return self.attempt(session);
                }
                Err(error)
            }
        }
    }

    /// Brings the partial file to its full size.
    fn receive(&self, session: &mut Session<'_>, remote: &Remote, partial: &mut Partial) -> Result<(), FetchError> {
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
            // A signed address of a store: its refusals say nothing about the model.
            400 | 401 | 403 | 410 if !reply.is_home => Err(FetchError::AddressExpired { file: self.file.name.clone() }),
            206 | 416 => Err(announced.broken("a range was answered where none was asked for")),
            _ => Err(announced.refusal(&self.hub.asked(session, self.file))),
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

/// Whether the same request may succeed later.
fn is_passing(error: &FetchError, is_reached: bool) -> bool {
    match error {
        FetchError::Connection { .. } | FetchError::RateLimited { .. } | FetchError::AddressExpired { .. } => true,
        FetchError::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
        // Where there was no connection at all, waiting a little will not make one.
        FetchError::Unreachable { .. } => is_reached,
        FetchError::RepositoryMissing { .. }
        | FetchError::Gated { .. }
        | FetchError::TokenRefused
        | FetchError::RevisionMissing { .. }
        | FetchError::EntryMissing { .. }
        | FetchError::Disabled { .. }
        | FetchError::Protocol { .. }
        | FetchError::SwitchedOff { .. }
        | FetchError::Offline { .. }
        | FetchError::DiskFull { .. }
        | FetchError::HashMismatch { .. }
        | FetchError::SizeMismatch { .. }
        | FetchError::NoHash { .. }
        | FetchError::PythonMissing { .. }
        | FetchError::PipFailed { .. }
        | FetchError::Io { .. }
        | FetchError::Store(_)
        | FetchError::Interrupted => false,
    }
}

fn told(error: &FetchError) -> Option<std::time::Duration> {
    match error {
        FetchError::RateLimited { retry_after } | FetchError::Status { retry_after, .. } => *retry_after,
        _ => None,
    }
}

fn too_many_redirects(url: &Uri) -> FetchError {
    FetchError::Protocol { host: super::transport::host_of(url), what: "too many redirects".to_owned() }
}

impl Announced<'_> {
    /// What the bytes must be, by catalog and hub together; where both speak they must agree.
    fn expectation(&self, asked: &Asked<'_>) -> Result<Expectation, FetchError> {
        self.check_commit(asked.revision)?;
        let size_bytes = self.size_bytes()?;
        let announced_hash = self.hash()?;
        let file = asked.file;
        let hash = match (file.sha256, announced_hash) {
            (Some(expected), Some(ExpectedHash::Sha256(actual, _))) if expected != actual => {
                let (expected, actual) = (expected.to_string(), actual.to_string());
                return Err(FetchError::HashMismatch { file: file.name.clone(), expected, actual });
            }
            (Some(expected), _) => ExpectedHash::Sha256(expected, Authority::Catalog),
            (None, Some(announced)) => announced,
            (None, None) => return Err(FetchError::NoHash { file: file.name.clone() }),
        };
        let size_bytes = match (file.size_bytes, size_bytes) {
            (Some(expected), Some(actual)) if expected != actual => {
                return Err(FetchError::SizeMismatch { file: file.name.clone(), expected, actual });
            }
            (Some(expected), _) => expected,
            (None, Some(announced)) => announced,
            (None, None) => return Err(self.broken("it says no size")),
        };
        Ok(Expectation { size_bytes, hash })
    }
}
