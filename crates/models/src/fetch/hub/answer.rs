//! What the hub's answers mean: metadata in headers, and refusals told apart. Every value is foreign text and is parsed
//! before it is used.

use protocol::catalog::{CatalogFile, Commit, FileName, RepoId};
use ureq::http::HeaderMap;

use crate::fetch::FetchError;
use crate::fetch::expectation::{ExpectedHash, content_hash};
use crate::fetch::retry;
use crate::fetch::transport::one_line;

/// What was asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a Commit,
    pub(super) file: &'a CatalogFile,
    pub(super) anonymous: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn subject(&self) -> Subject<'a> {
        let Self { repo, anonymous, .. } = *self;
        Subject { repo, revision: self.revision.as_str(), file: Some(&self.file.name), anonymous }
    }
}

/// What a refusal is about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    pub(super) file: Option<&'a FileName>,
    pub(super) anonymous: bool,
}

/// Status and headers of an answer.
#[derive(Clone, Copy)]
pub(super) struct Announced<'a> {
    pub(super) host: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
}

impl Announced<'_> {
    pub(super) fn broken(&self, what: &str) -> FetchError {
        FetchError::Protocol { host: self.host.to_owned(), what: what.to_owned() }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the answer describes a file in full, so that its redirect leads to bytes and not to another description.
    pub(super) fn is_description(&self) -> bool {
        ["x-repo-commit", "x-linked-etag", "x-linked-size"].iter().all(|name| self.headers.contains_key(*name))
    }

    /// The commit must be the pinned one: another may hold other bytes under the same name.
    pub(super) fn check_commit(&self, pinned: &Commit) -> Result<(), FetchError> {
        let Some(text) = self.text("x-repo-commit") else {
            return Err(self.broken("it names no commit (`X-Repo-Commit`), so it is no model hub"));
        };
        let commit: Commit = text.parse().map_err(|_| self.bad_value("X-Repo-Commit", text))?;
        if commit != *pinned {
            return Err(self.broken(&format!("it serves commit `{commit}` instead of the pinned `{pinned}`")));
        }
        Ok(())
    }

    /// The hash of the content, by whichever of the two tags is there.
    pub(super) fn hash(&self) -> Result<Option<ExpectedHash>, FetchError> {
        let linked = self.headers.contains_key("x-linked-etag");
        let name = if linked { "x-linked-etag" } else { "etag" };
        let Some(value) = self.headers.get(name) else {
            return Ok(None);
        };
        let text = value.to_str().map_err(|_| self.bad_value(name, "…"))?;
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
        content_hash(tag).map(Some).ok_or_else(|| self.bad_value(name, text))
    }

    /// The size of the content. The length of a redirect's own body is not it.
    pub(super) fn size_bytes(&self) -> Result<Option<u64>, FetchError> {
        match self.text("x-linked-size") {
            Some(text) => number(text).map(Some).ok_or_else(|| self.bad_value("X-Linked-Size", text)),
            None if self.status == 200 => self.content_length(),
            None => Ok(None),
        }
    }

    pub(super) fn content_length(&self) -> Result<Option<u64>, FetchError> {
        let Some(text) = self.text("content-length") else {
            return Ok(None);
        };
        number(text).map(Some).ok_or_else(|| self.bad_value("Content-Length", text))
    }

    /// Bytes as they are: compressed ones were not asked for, and could inflate without end.
    pub(super) fn check_plain(&self) -> Result<(), FetchError> {
        match self.text("content-encoding") {
            None | Some("identity") => Ok(()),
            Some(encoding) => Err(self.bad_value("Content-Encoding", encoding)),
        }
    }

    /// The error a status stands for.
    pub(super) fn refusal(&self, asked: &Subject<'_>) -> FetchError {
        let retry_after = retry::told(self.headers, retry::unix_seconds_now());
        let message = self.text("x-error-message").unwrap_or("");
        let repo = || asked.repo.clone();
        match (self.status, self.text("x-error-code")) {
            (401 | 403, Some("GatedRepo")) => {
                FetchError::Gated { repo: repo(), anonymous: self.status == 401 && asked.anonymous }
            }
            (401, _) if message.contains("Invalid credentials") => FetchError::TokenRefused,
            // To an anonymous caller a missing repository and a private one look alike.
            (401, _) | (404, Some("RepoNotFound")) => {
                FetchError::RepositoryMissing { repo: repo(), anonymous: asked.anonymous }
            }
            (403, _) if message.contains("disabled") => FetchError::Disabled { repo: repo() },
            (404, Some("RevisionNotFound")) => {
                FetchError::RevisionMissing { repo: repo(), revision: asked.revision.to_owned() }
            }
            (404, Some("EntryNotFound")) if let Some(file) = asked.file => {
                FetchError::EntryMissing { repo: repo(), revision: asked.revision.to_owned(), file: file.clone() }
            }
            (429, _) => FetchError::RateLimited { retry_after },
            (status, _) => FetchError::Status { host: self.host.to_owned(), status, retry_after },
        }
    }

    fn bad_value(&self, header: &str, value: &str) -> FetchError {
        self.broken(&format!("header `{header}` is `{}`", one_line(value)))
    }
}

/// Digits and nothing else; the standard parser would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
