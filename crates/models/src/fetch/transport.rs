//! One HTTP exchange on a thread of its own, so that the caller can stop waiting at any moment and local work (hashing,
//! writing) never counts against the network's clocks. Redirects, statuses and meaning are `hub`'s.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Uri};
use ureq::{Agent, Timeout};

use super::{Clocks, FetchError};

/// How often a waiting caller looks at its cancel flag.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Bytes read from the network at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes read at once where no other thread takes them.
const LARGE_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that may wait for the disk: 2 MiB.
const CHUNKS_AHEAD: usize = 32;
/// Connections that are kept for the next part: as many as carry parts, and room for more.
const IDLE_CONNECTIONS: usize = 8;
/// Largest answer header that is read.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How we introduce ourselves.
const USER_AGENT: &str = concat!("llorch/", env!("CARGO_PKG_VERSION"));

/// The HTTP client.
pub(super) struct Transport {
    agent: Agent,
    clocks: Clocks,
}

/// What is asked for.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Uri,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Give up on an address that does not answer soon, because another source is left to try.
    pub(super) briefly: bool,
}

/// An exchange on the caller's own thread: for those that have one.
pub(super) struct Exchange {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    reader: ureq::BodyReader<'static>,
    host: String,
    buffer: Vec<u8>,
}

/// An answer that is arriving.
pub(super) struct Answer {
    parts: Receiver<Part>,
    host: String,
}

enum Part {
    Head(u16, HeaderMap),
    Bytes(Vec<u8>),
    End,
    Failed(FetchError),
}

impl Transport {
    pub(super) fn new(clocks: &Clocks) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects decide where a token may go: they are ours.
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .max_response_header_size(MAX_HEADER_BYTES)
            .input_buffer_size(LARGE_CHUNK_BYTES)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .timeout_per_read(Some(clocks.idle))
            .timeout_per_write(Some(clocks.idle))
            .timeout_recv_response(Some(clocks.first_byte))
            .build();
        Self { agent: config.new_agent(), clocks: *clocks }
    }

    /// Begins an exchange. Dropping the answer ends it at the next byte or clock.
    pub(super) fn ask(&self, question: Question<'_>) -> Result<Answer, FetchError> {
        let host = host_of(question.url);
        let request = self.request(question)?;
        let (sender, parts) = sync_channel(CHUNKS_AHEAD);
        let (agent, thread_host) = (self.agent.clone(), host.clone());
        let thread = std::thread::Builder::new().name("llorch-fetch".to_owned());
        let spawned = thread.spawn(move || converse(&agent, request, &thread_host, &sender));
        spawned.map_err(|error| no_thread(&host, &error))?;
        Ok(Answer { parts, host })
    }

    /// Makes an exchange on this thread, up to the answer's headers.
    pub(super) fn exchange(&self, question: Question<'_>) -> Result<Exchange, FetchError> {
        let host = host_of(question.url);
        let request = self.request(question)?;
        let (head, body) = self.agent.run(request).map_err(|error| before_answer(&host, &error))?.into_parts();
        let (status, headers, reader) = (head.status.as_u16(), head.headers, body.into_reader());
        Ok(Exchange { status, headers, reader, host, buffer: vec![0; LARGE_CHUNK_BYTES] })
    }

    fn request(&self, question: Question<'_>) -> Result<ureq::http::Request<()>, FetchError> {
        let mut request = ureq::http::Request::builder().method(question.method).uri(question.url);
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        let unusable =
            |error: ureq::http::Error| FetchError::Protocol { host: host_of(question.url), what: error.to_string() };
        let request = request.body(()).map_err(unusable)?;
        let (resolve, connect) = match question.briefly {
            true => (self.clocks.resolve_briefly, self.clocks.connect_briefly),
            false => (self.clocks.resolve, self.clocks.connect),
        };
        let configured = self.agent.configure_request(request);
        Ok(configured.timeout_resolve(Some(resolve)).timeout_connect(Some(connect)).build())
    }
}

/// The error of a thread that could not be made.
pub(super) fn no_thread(host: &str, error: &io::Error) -> FetchError {
    FetchError::Protocol { host: host.to_owned(), what: format!("no thread for it: {error}") }
}

impl Exchange {
    /// Whom the answer comes from, for messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The next bytes of the body, `None` at its end.
    pub(super) fn bytes(&mut self) -> Result<Option<&[u8]>, FetchError> {
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => return Ok(Some(&self.buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(FetchError::Connection { host: self.host.clone(), reason: described(&error) });
                }
            }
        }
    }
}

impl Answer {
    /// Whom the answer comes from, for messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Status and headers; to be asked for first, once.
    pub(super) fn head(&mut self, cancel: &AtomicBool) -> Result<(u16, HeaderMap), FetchError> {
        match self.part(cancel)? {
            Part::Head(status, headers) => Ok((status, headers)),
            Part::Failed(error) => Err(error),
            Part::Bytes(_) | Part::End => Err(self.broken()),
        }
    }

    /// The next bytes of the body, `None` at its end.
    pub(super) fn bytes(&mut self, cancel: &AtomicBool) -> Result<Option<Vec<u8>>, FetchError> {
        match self.part(cancel)? {
            Part::Bytes(bytes) => Ok(Some(bytes)),
            Part::End => Ok(None),
            Part::Failed(error) => Err(error),
            Part::Head(..) => Err(self.broken()),
        }
    }

    fn part(&mut self, cancel: &AtomicBool) -> Result<Part, FetchError> {
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(FetchError::Interrupted);
            }
            match self.parts.recv_timeout(CANCEL_POLL) {
                Ok(part) => return Ok(part),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.broken()),
            }
        }
    }

    fn broken(&self) -> FetchError {
        FetchError::Connection { host: self.host.clone(), reason: "the exchange ended early".to_owned() }
    }
}

/// The thread's work. A send that fails means that nobody waits any more.
fn converse(agent: &Agent, request: ureq::http::Request<()>, host: &str, sender: &SyncSender<Part>) {
    let response = match agent.run(request) {
        Ok(response) => response,
        Err(error) => {
            let _ = sender.send(Part::Failed(before_answer(host, &error)));
            return;
        }
    };
    let (head, body) = response.into_parts();
    if sender.send(Part::Head(head.status.as_u16(), head.headers)).is_err() {
        return;
    }
    let mut reader = body.into_reader();
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    loop {
        let part = match reader.read(&mut buffer) {
            Ok(0) => Part::End,
            Ok(count) => Part::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Part::Failed(FetchError::Connection { host: host.to_owned(), reason: described(&error) }),
        };
        let is_last = !matches!(part, Part::Bytes(_));
        if sender.send(part).is_err() || is_last {
            return;
        }
    }
}

/// An error before any answer: either there was no connection at all, or it broke.
fn before_answer(host: &str, error: &ureq::Error) -> FetchError {
    let host = host.to_owned();
    let unreachable = |reason: String| FetchError::Unreachable { host: host.clone(), reason };
    match error {
        ureq::Error::HostNotFound => unreachable("the name does not resolve".to_owned()),
        ureq::Error::ConnectionFailed => unreachable("no connection".to_owned()),
        ureq::Error::Timeout(Timeout::Resolve) => unreachable("the name does not resolve in time".to_owned()),
        ureq::Error::Timeout(Timeout::Connect) => unreachable("no connection in time".to_owned()),
        ureq::Error::Rustls(error) => unreachable(format!("no secure connection: {error}")),
        ureq::Error::Tls(error) => unreachable(format!("no secure connection: {error}")),
        ureq::Error::ConnectProxyFailed(error) => unreachable(format!("the proxy refused: {error}")),
        ureq::Error::Timeout(_) => FetchError::Connection { host, reason: "no answer in time".to_owned() },
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => FetchError::Connection { host, reason: described(error) },
            _ => unreachable(described(error)),
        },
        other => FetchError::Protocol { host, what: one_line(&other.to_string()) },
    }
}

fn described(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(_)) => "no byte arrived in time".to_owned(),
        _ => one_line(&error.to_string()),
    }
}

/// Foreign text in a message: one line, bounded, nothing that steers a terminal or turns the reading direction.
pub(super) fn one_line(text: &str) -> String {
    let is_steering = |char: char| {
        char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if is_steering(char) { ' ' } else { char }).take(300).collect()
}

/// Host and port of an address, for messages.
pub(super) fn host_of(url: &Uri) -> String {
    url.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default()
}
