//! A model hub on loopback that behaves like the real one where a client could be hurt: large files live on another
//! origin, redirects carry misleading lengths, refusals come in the real variety, and faults are played from a script.
//!
//! Plain sockets and threads instead of a web framework: half of what it must do (lying lengths, cut bodies, silence) is
//! what a framework exists to prevent. What is asked of whom is `answer.rs`'s, bytes on the wire are `server.rs`'s.

mod answer;
mod content;
mod fault;
mod git_blob;
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub use content::Content;
pub use fault::{Fault, On};
pub use git_blob::git_blob_sha1;

/// A hub that runs until it is dropped.
pub struct Hub {
    state: Arc<State>,
    hub_address: SocketAddr,
    store_address: SocketAddr,
}

/// What the hub holds.
#[derive(Debug, Clone, Default)]
pub struct HubBuilder {
    repos: BTreeMap<String, Repo>,
    tokens: BTreeMap<String, Vec<String>>,
    bytes_per_second: Option<u64>,
    total_bytes_per_second: Option<u64>,
}

/// One repository.
#[derive(Debug, Clone)]
pub struct Repo {
    id: String,
    commit: String,
    revisions: Vec<String>,
    files: BTreeMap<String, RepoFile>,
    access: Access,
}

/// Who may read a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Access {
    Open,
    /// Only tokens that list it; its existence is known.
    Gated,
    /// Only tokens that list it; to others it does not exist.
    Private,
    /// Taken down.
    Disabled,
    /// Lives under another name now.
    RenamedTo(String),
}

#[derive(Debug, Clone)]
struct RepoFile {
    content: Content,
    /// Whether it lives in the large-file store.
    is_large: bool,
    sha256: String,
    git_sha1: String,
}

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which of the two ports.
    pub on: On,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// When it was there in full.
    pub at: Instant,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Status it was answered with; 0 if it was not.
    pub status: u16,
    /// Bytes of body that were written so far.
    pub body_bytes: u64,
}

impl Seen {
    /// Whether the request carried a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.headers.contains_key("authorization")
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

struct State {
    content: HubBuilder,
    store_origin: String,
    faults: Mutex<VecDeque<(On, u32, Fault)>>,
    seen: Mutex<Vec<Seen>>,
    body_bytes: AtomicU64,
    /// When the shared line is free again.
    line_free_at: Mutex<Instant>,
    is_stopping: AtomicBool,
}

impl Repo {
    /// An open, empty repository at `commit` (40 hexadecimal digits), also reachable as `main`.
    #[must_use]
    pub fn new(id: &str, commit: &str) -> Self {
        let (id, commit) = (id.to_owned(), commit.to_owned());
        Self { id, commit, revisions: vec!["main".to_owned()], files: BTreeMap::new(), access: Access::Open }
    }

    /// Adds a file of the large-file store: served by redirect from the other port, named by its SHA-256.
    #[must_use]
    pub fn large(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.file(path, Content::from(bytes.into()), true)
    }

    /// Adds a file of the large-file store whose bytes need not be in memory: so many zeros, or a file on disk.
    #[must_use]
    pub fn huge(self, path: &str, content: Content) -> Self {
        self.file(path, content, true)
    }

    /// Adds a small file: served at once, named by its git blob hash.
    #[must_use]
    pub fn small(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.file(path, Content::from(bytes.into()), false)
    }

    fn file(mut self, path: &str, content: Content, is_large: bool) -> Self {
        let (sha256, git_sha1) = (content.sha256(), content.git_sha1());
        self.files.insert(path.to_owned(), RepoFile { content, is_large, sha256, git_sha1 });
        self
    }

    /// Another name of the commit: a branch, a tag, `refs/pr/1`.
    #[must_use]
    pub fn revision(mut self, name: &str) -> Self {
        self.revisions.push(name.to_owned());
        self
    }

    /// Only tokens that list it may read it.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { access: Access::Gated, ..self }
    }

    /// To all but tokens that list it, it does not exist.
    #[must_use]
    pub fn private(self) -> Self {
        Self { access: Access::Private, ..self }
    }

    /// Taken down.
    #[must_use]
    pub fn disabled(self) -> Self {
        Self { access: Access::Disabled, ..self }
    }

    /// Every request is redirected to the same path of the repository `id`.
    #[must_use]
    pub fn renamed_to(self, id: &str) -> Self {
        Self { access: Access::RenamedTo(id.to_owned()), ..self }
    }
}

impl HubBuilder {
    /// Adds a repository.
    #[must_use]
    pub fn repo(mut self, repo: Repo) -> Self {
        self.repos.insert(repo.id.clone(), repo);
        self
    }

    /// Makes a token valid; `repos` are the gated and private repositories it may read.
    #[must_use]
    pub fn token(mut self, token: &str, repos: &[&str]) -> Self {
        self.tokens.insert(token.to_owned(), repos.iter().map(|repo| (*repo).to_owned()).collect());
        self
    }

    /// Limits the rate of every body.
    #[must_use]
    pub fn bytes_per_second(self, rate: u64) -> Self {
        Self { bytes_per_second: Some(rate), ..self }
    }

    /// Limits the rate of all bodies together, as a line of that speed would.
    #[must_use]
    pub fn total_bytes_per_second(self, rate: u64) -> Self {
        Self { total_bytes_per_second: Some(rate), ..self }
    }

    /// Starts serving on two loopback ports.
    ///
    /// # Panics
    /// If no port can be bound: no test can go on then.
    #[must_use]
    pub fn start(self) -> Hub {
        let (hub_listener, hub_address) = server::bind();
        let (store_listener, store_address) = server::bind();
        let state = Arc::new(State {
            content: self,
            store_origin: format!("http://{store_address}"),
            faults: Mutex::default(),
            seen: Mutex::default(),
            body_bytes: AtomicU64::new(0),
            line_free_at: Mutex::new(Instant::now()),
            is_stopping: AtomicBool::new(false),
        });
        server::serve(hub_listener, On::Hub, Arc::clone(&state));
        server::serve(store_listener, On::Store, Arc::clone(&state));
        Hub { state, hub_address, store_address }
    }
}

impl Hub {
    /// An empty hub to be filled.
    #[must_use]
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// What `HF_ENDPOINT` is to hold.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub_address)
    }

    /// Origin of the large-file store, the second port.
    #[must_use]
    pub fn store_origin(&self) -> String {
        format!("http://{}", self.store_address)
    }

    /// Plays `fault` on the next request to `on`. Faults of one port are played in the order they were added.
    pub fn fault(&self, on: On, fault: Fault) {
        self.faults(on, 1, fault);
    }

    /// Plays `fault` on the next `times` requests to `on`.
    pub fn faults(&self, on: On, times: u32, fault: Fault) {
        self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back((on, times, fault));
    }

    /// Plays no fault any more.
    pub fn clear_faults(&self) {
        self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Everything that was asked so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests to one port with one method.
    #[must_use]
    pub fn requests_to(&self, on: On, method: &str) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.on == on && seen.method == method).collect()
    }

    /// Bytes of bodies written so far, over all requests.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.state.body_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the two threads that wait for a connection.
        for address in [self.hub_address, self.store_address] {
            drop(std::net::TcpStream::connect(address));
        }
    }
}

impl State {
    /// The next fault for a request to `on`.
    fn next_fault(&self, on: On) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let index = faults.iter().position(|(wanted, ..)| *wanted == on)?;
        let (_, times, fault) = faults.get_mut(index)?;
        *times = times.saturating_sub(1);
        let (is_spent, fault) = (*times == 0, fault.clone());
        if is_spent {
            faults.remove(index);
        }
        Some(fault)
    }

    /// When so many bytes more may go over the shared line; at once if there is no limit.
    fn turn(&self, bytes: u64) -> Option<Instant> {
        let rate = self.content.total_bytes_per_second?;
        let mut free_at = self.line_free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*free_at).max(Instant::now());
        *free_at = turn + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        Some(turn)
    }

    fn record(&self, seen: Seen) -> usize {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(seen);
        all.len() - 1
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Seen)) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(index).map(change);
    }
}

/// SHA-256 of some bytes as hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
