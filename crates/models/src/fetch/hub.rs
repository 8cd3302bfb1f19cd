//! The model hub: asks what a file is (HEAD), then has its bytes brought (GET) from where the hub says they are.
//! Requests and tokens are `hub/requester.rs`'s, addresses `hub/address.rs`'s, headers and errors `hub/answer.rs`'s; one
//! file's way over all attempts is `hub/transfer.rs`'s, its parts over several connections `hub/ranges.rs`'s.

mod address;
mod answer;
mod carrier;
pub(super) mod look;
mod ranges;
pub(super) mod requester;
mod transfer;

use std::sync::Arc;

use protocol::catalog::CatalogFile;
use ureq::http::{Method, Uri};

use super::expectation::{Expectation, ExpectedHash};
use super::session::Session;
use super::transport::host_of;
use super::{Event, FetchError, SourceSettings};
use crate::store::manifest::{Authority, ManifestFile};
use address::{follow, origin, resolve_url};
use answer::{Announced, Asked};
use requester::{Patience, Reply, Requester};
use transfer::Transfer;

/// Redirects that are followed in a row.
const MAX_REDIRECTS: usize = 5;

/// The hub of these settings.
pub(super) struct Hub<'a> {
    settings: &'a SourceSettings,
    requester: Arc<Requester>,
}

/// A request header.
type Header = (&'static str, String);

/// What the hub says about one file, and where its bytes are.
struct Remote {
    expected: Expectation,
    location: Uri,
}

impl<'a> Hub<'a> {
    /// The hub, unless it is switched off. Nothing is sent yet.
    pub(super) fn open(settings: &'a SourceSettings) -> Result<Self, FetchError> {
        if let Some(variable) = settings.switched_off_by {
            return Err(FetchError::SwitchedOff { variable });
        }
        Ok(Self { settings, requester: Arc::new(Requester::new(settings)?) })
    }

    /// Fetches one file to its final name, trying again what may pass.
    pub(super) fn fetch(&self, session: &mut Session<'_>, file: &CatalogFile) -> Result<ManifestFile, FetchError> {
        let mut transfer = Transfer::new(self, file);
        loop {
            let error = match transfer.attempt(session) {
                Ok(line) => return Ok(line),
                Err(error) => error,
            };
            // An address that never answered is left to the next source, if there is one.
            let is_worth_a_try = transfer.is_reached || !session.has_alternative;
            if !is_worth_a_try || !is_passing(&error, transfer.is_reached) {
                return Err(error);
            }
            let Some(delay) = transfer.next_delay(&error) else {
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
        self.probe_with(patience(session), &self.asked(session, file))
    }

    fn probe_with(&self, patience: Patience<'_>, asked: &Asked<'_>) -> Result<Remote, FetchError> {
        let mut url = resolve_url(&self.settings.endpoint, asked.repo, asked.revision, &asked.file.name)?;
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.requester.ask(patience, (Method::HEAD, &url), Vec::new())?;
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
                _ => return Err(announced.refusal(&asked.subject())),
            };
            return Ok(Remote { expected: announced.expectation(asked)?, location });
        }
        Err(too_many_redirects(&url))
    }

    /// GET: the answer that carries bytes or a refusal, redirects followed.
    fn get(&self, session: &Session<'_>, location: &Uri, headers: &[Header]) -> Result<Reply, FetchError> {
        self.get_with(patience(session), location, headers)
    }

    fn get_with(&self, patience: Patience<'_>, location: &Uri, headers: &[Header]) -> Result<Reply, FetchError> {
        let mut url = location.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.requester.ask(patience, (Method::GET, &url), headers.to_vec())?;
            if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            url = follow(&url, &reply.headers)?;
        }
        Err(too_many_redirects(&url))
    }
}

/// How long a session's requests may take.
fn patience<'s>(session: &'s Session<'_>) -> Patience<'s> {
    Patience { cancel: session.cancel, briefly: session.has_alternative }
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
        | FetchError::NotCached { .. }
        | FetchError::SwitchedOff { .. }
        | FetchError::Offline { .. }
        | FetchError::DiskFull { .. }
        | FetchError::TooManyFiles { .. }
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
    FetchError::Protocol { host: host_of(url), what: "too many redirects".to_owned() }
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
