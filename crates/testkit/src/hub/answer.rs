//! What a request deserves: files, redirects and refusals as the real hub gives them. Pure: no socket, no clock.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Access, Content, On, Repo, RepoFile, Seen, State};

/// An answer, and how it is delivered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Content,
    /// This byte of the body is another one on the wire.
    pub(super) flipped: Option<u64>,
    pub(super) length: Length,
    pub(super) is_reset: bool,
    pub(super) cut_after: Option<u64>,
    pub(super) stall_before: Option<Duration>,
    pub(super) stall_after: Option<(u64, Duration)>,
    pub(super) trickle: Option<(usize, Duration)>,
}

/// What is said about the length of the body.
pub(super) enum Length {
    Exact,
    Says(u64),
    Chunked { terminated: bool },
}

impl Answer {
    fn new(status: u16, body: impl Into<Content>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            flipped: None,
            length: Length::Exact,
            is_reset: false,
            cut_after: None,
            stall_before: None,
            stall_after: None,
            trickle: None,
        }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The honest answer to a request.
pub(super) fn honest(state: &State, request: &Seen, ignore_range: bool) -> Answer {
    match request.on {
        On::Hub => hub(state, request),
        On::Store => store(state, request, ignore_range),
    }
}

fn hub(state: &State, request: &Seen) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api", "models", owner, name, rest @ ..] => {
            let id = format!("{owner}/{name}");
            match allowed(state, request, &id) {
                Ok(repo) => api(repo, rest, query),
                Err(refusal) => *refusal,
            }
        }
        [owner, name, "resolve", revision, file @ ..] => {
            let id = format!("{owner}/{name}");
            match allowed(state, request, &id) {
                Ok(repo) => resolve(state, repo, &unescaped(revision), &unescaped(&file.join("/"))),
                Err(refusal) => *refusal,
            }
        }
        _ => refused(404, "", "Not found"),
    }
}

/// The repository, if whoever asks may read it.
fn allowed<'s>(state: &'s State, request: &Seen, id: &str) -> Result<&'s Repo, Box<Answer>> {
    let token = request.header("authorization").map(|value| value.trim_start_matches("Bearer "));
    let rights = match token {
        None => None,
        Some(token) => match state.content.tokens.get(token) {
            None => return Err(Box::new(refused(401, "", "Invalid credentials in Authorization header"))),
            Some(rights) => Some(rights),
        },
    };
    let may_read = rights.is_some_and(|rights| rights.iter().any(|repo| repo == id));
    let missing = || match rights {
        None => Box::new(refused(401, "RepoNotFound", "Invalid username or password.")),
        Some(_) => Box::new(refused(404, "RepoNotFound", "Repository not found")),
    };
    let repo = state.content.repos.get(id).ok_or_else(missing)?;
    let is_api = request.target.starts_with("/api/");
    match &repo.access {
        Access::Open => Ok(repo),
        Access::Gated | Access::Private if may_read => Ok(repo),
        // The description of a gated repository is public.
        Access::Gated if is_api => Ok(repo),
        Access::Gated => {
            let text = format!(
                "Access to model {id} is restricted. You must have access to it and be authenticated to access it."
            );
            Err(Box::new(refused(if rights.is_some() { 403 } else { 401 }, "GatedRepo", &text)))
        }
        Access::Private => Err(missing()),
        Access::Disabled => Err(Box::new(refused(403, "", "Access to this resource is disabled."))),
        Access::RenamedTo(other) => {
            let target = request.target.replacen(id, other, 1);
            Err(Box::new(Answer::new(307, target.clone().into_bytes()).with("location", target)))
        }
    }
}

fn resolve(state: &State, repo: &Repo, revision: &str, path: &str) -> Answer {
    if revision != repo.commit && !repo.revisions.iter().any(|known| known == revision) {
        return refused(404, "RevisionNotFound", "Invalid rev id");
    }
    let Some(file) = repo.files.get(path) else {
        return refused(404, "EntryNotFound", "Entry not found").with("x-repo-commit", &repo.commit);
    };
    if !file.is_large {
        return Answer::new(200, file.content.clone())
            .with("content-type", "text/plain; charset=utf-8")
            .with("etag", format!("\"{}\"", file.git_sha1))
            .with("x-repo-commit", &repo.commit);
    }
    let location = format!("{}/repos/{}?X-Amz-Signature=5179", state.store_origin, file.sha256);
    // The redirect has a body and a tag of its own; neither is about the file.
    Answer::new(302, format!("Found. Redirecting to {location}").into_bytes())
        .with("location", location)
        .with("etag", "\"3fc2-redirect\"")
        .with("x-repo-commit", &repo.commit)
        .with("x-linked-etag", format!("\"{}\"", file.sha256))
        .with("x-linked-size", file.content.len().to_string())
        .with("accept-ranges", "bytes")
}

fn store(state: &State, request: &Seen, ignore_range: bool) -> Answer {
    let Some((path, query)) = request.target.split_once('?') else {
        return Answer::new(403, &b"<Error><Code>AccessDenied</Code></Error>"[..]);
    };
    // A signed address and a token at once: such stores refuse both together.
    if request.has_token() || !query.contains("X-Amz-Signature=") {
        return Answer::new(400, &b"<Error><Code>InvalidArgument</Code></Error>"[..]);
    }
    let files = state.content.repos.values().flat_map(|repo| repo.files.values());
    let name = path.rsplit('/').next().unwrap_or("");
    let Some(file) = files.into_iter().find(|file| file.is_large && file.sha256 == name) else {
        return Answer::new(404, &b"<Error><Code>NoSuchKey</Code></Error>"[..]);
    };
    let tag = store_tag(file);
    let total = file.content.len();
    let condition_holds = request.header("if-range").is_none_or(|condition| condition == tag);
    let range = request.header("range").filter(|_| condition_holds && !ignore_range);
    let answer = match range.map(|range| requested(range, total)) {
        None => Answer::new(200, file.content.clone()),
        Some(None) => Answer::new(416, &b""[..]).with("content-range", format!("bytes */{total}")),
        Some(Some((start, end))) => Answer::new(206, file.content.part(start, end))
            .with("content-range", format!("bytes {start}-{}/{total}", end - 1)),
    };
    answer.with("etag", tag).with("accept-ranges", "bytes").with("content-type", "binary/octet-stream")
}

/// The store's own tag, which is not the content's hash.
fn store_tag(file: &RepoFile) -> String {
    format!("\"store-{}\"", &file.sha256[..16])
}

/// Start and end (exclusive) of `bytes=N-` or `bytes=N-M`; `None` if it cannot be satisfied.
fn requested(range: &str, total: u64) -> Option<(u64, u64)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = if last.is_empty() { total } else { total.min(last.parse::<u64>().ok()?.checked_add(1)?) };
    (start < end).then_some((start, end))
}

fn api(repo: &Repo, rest: &[&str], query: &str) -> Answer {
    let known = |revision: &str| revision == repo.commit || repo.revisions.iter().any(|known| known == revision);
    match rest {
        [] => described(repo),
        ["revision", revision] if known(&unescaped(revision)) => described(repo),
        ["tree", revision] if known(&unescaped(revision)) => tree(repo, revision, query),
        ["revision" | "tree", _] => refused(404, "RevisionNotFound", "Invalid rev id"),
        _ => refused(404, "", "Not found"),
    }
}

fn described(repo: &Repo) -> Answer {
    let siblings: Vec<Value> = repo.files.keys().map(|path| json!({ "rfilename": path })).collect();
    let gated = if repo.access == Access::Gated { json!("auto") } else { json!(false) };
    let body = json!({ "id": repo.id, "sha": repo.commit, "private": false, "gated": gated, "siblings": siblings });
    Answer::new(200, body.to_string().into_bytes()).with("content-type", "application/json")
}

/// One page of files; `limit` files a page, the next one behind `Link`.
fn tree(repo: &Repo, revision: &str, query: &str) -> Answer {
    let parameter = |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let number = |name: &str| parameter(name).and_then(|(_, value)| value.parse::<usize>().ok());
    let (limit, start) = (number("limit").unwrap_or(1000).max(1), number("cursor").unwrap_or(0));
    let page: Vec<Value> = repo.files.iter().skip(start).take(limit).map(|(path, file)| listed(path, file)).collect();
    let end = start + page.len();
    let answer = Answer::new(200, Value::Array(page).to_string().into_bytes()).with("content-type", "application/json");
    if end >= repo.files.len() {
        return answer;
    }
    let next = format!("</api/models/{}/tree/{revision}?limit={limit}&cursor={end}>; rel=\"next\"", repo.id);
    answer.with("link", next)
}

fn listed(path: &str, file: &RepoFile) -> Value {
    let mut entry = json!({ "type": "file", "oid": file.git_sha1, "size": file.content.len(), "path": path });
    if file.is_large {
        entry["lfs"] = json!({ "oid": file.sha256, "size": file.content.len(), "pointerSize": 134 });
    }
    entry
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({ "error": message }).to_string().into_bytes();
    let answer = Answer::new(status, body).with("content-type", "application/json").with("x-error-message", message);
    if code.is_empty() { answer } else { answer.with("x-error-code", code) }
}

/// Undoes percent-encoding.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
