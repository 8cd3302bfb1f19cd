//! Asking servers: who may see the token, who wants to be left alone, and what every request says.

use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::{HeaderMap, Method, Uri};

use super::address::{follow, origin};
use super::answer::Announced;
use super::{Header, MAX_REDIRECTS, too_many_redirects};
use crate::fetch::limiter::Limiter;
use crate::fetch::settings::Token;
use crate::fetch::transport::{Answer, Exchange, Question, Transport};
use crate::fetch::{FetchError, SourceSettings, retry};

/// Asks servers, for one download and on all its threads.
pub(super) struct Requester {
    transport: Transport,
    token: Option<Token>,
    /// Where the token may go.
    home: String,
    limiter: Limiter,
}

/// How long a request may take.
#[derive(Clone, Copy)]
pub(in crate::fetch) struct Patience<'a> {
    pub(in crate::fetch) cancel: &'a AtomicBool,
    /// Give up on an address that does not answer soon, because another source is left to try.
    pub(in crate::fetch) briefly: bool,
}

/// An answer whose headers are here.
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Whether the hub itself gave it, and not a store it redirected to.
    pub(super) is_home: bool,
}

impl Reply {
    pub(super) fn announced(&self) -> Announced<'_> {
        Announced { host: self.answer.host(), status: self.status, headers: &self.headers }
    }
}

impl Requester {
    pub(super) fn new(settings: &SourceSettings) -> Result<Self, FetchError> {
        let unusable =
            |_| FetchError::Protocol { host: settings.endpoint.as_str().to_owned(), what: "no address".to_owned() };
        let endpoint: Uri = settings.endpoint.as_str().parse().map_err(unusable)?;
        Ok(Self {
            transport: Transport::new(&settings.clocks),
            token: settings.token.clone(),
            home: origin(&endpoint),
            limiter: settings.limiter.clone(),
        })
    }

    /// Asks once, and waits for the answer's headers.
    pub(super) fn ask(
        &self,
        patience: Patience<'_>,
        (method, url): (Method, &Uri),
        headers: Vec<Header>,
    ) -> Result<Reply, FetchError> {
        self.wait(url, patience.cancel)?;
        let headers = self.with_usual(url, headers);
        let mut answer = self.transport.ask(Question { method, url, headers, briefly: patience.briefly })?;
        let (status, headers) = answer.head(patience.cancel)?;
        self.note(url, status, &headers);
        Ok(Reply { answer, status, headers, is_home: origin(url) == self.home })
    }

    /// GET on this thread, redirects followed; `true` beside an answer of the hub itself.
    pub(super) fn get(
        &self,
        location: &Uri,
        headers: &[Header],
        cancel: &AtomicBool,
    ) -> Result<(Exchange, bool), FetchError> {
        let mut url = location.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.wait(&url, cancel)?;
            let headers = self.with_usual(&url, headers.to_vec());
            let exchange =
                self.transport.exchange(Question { method: Method::GET, url: &url, headers, briefly: false })?;
            self.note(&url, exchange.status, &exchange.headers);
            if !matches!(exchange.status, 301 | 302 | 303 | 307 | 308) {
                return Ok((exchange, origin(&url) == self.home));
            }
            url = follow(&url, &exchange.headers)?;
        }
        Err(too_many_redirects(&url))
    }

    fn wait(&self, url: &Uri, cancel: &AtomicBool) -> Result<(), FetchError> {
        self.limiter.wait(&origin(url), &|| cancel.load(Ordering::Relaxed))
    }

    /// Remembers what the server asked for, for everybody who asks it.
    fn note(&self, url: &Uri, status: u16, headers: &HeaderMap) {
        let refused = matches!(status, 429 | 503).then(|| retry::told(headers, retry::unix_seconds_now())).flatten();
        if let Some(delay) = refused.or_else(|| retry::used_up(headers)) {
            self.limiter.hold(&origin(url), delay);
        }
    }

    fn with_usual(&self, url: &Uri, mut headers: Vec<Header>) -> Vec<Header> {
        headers.push(("accept-encoding", "identity".to_owned()));
        if let Some(token) = &self.token
            && origin(url) == self.home
        {
            headers.push(("authorization", format!("Bearer {}", token.secret())));
        }
        headers
    }
}
