//! What the hub's answers mean: metadata in headers, and refusals told apart. Every value is foreign text and is parsed
//! before it is used.

use protocol::catalog::{CatalogFile, Commit, RepoId};
use protocol::identifiers::Digest;
use ureq::http::HeaderMap;

use crate::fetch::FetchError;
use crate::fetch::retry;
use crate::fetch::session::ExpectedHash;
use crate::fetch::transport::one_line;
use crate::store::manifest::Authority;

/// What was asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a Commit,
    pub(super) file: &'a CatalogFile,
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
        let is_sha256 = tag.len() == 64;
        if is_sha256 && let Ok(digest) = tag.parse::<Digest>() {
            return Ok(Some(ExpectedHash::Sha256(digest, Authority::Hub)));
        }
        git_blob(tag).map(|hash| Some(ExpectedHash::GitBlob(hash))).ok_or_else(|| self.bad_value(name, text))
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
    pub(super) fn refusal(&self, asked: &Asked<'_>) -> FetchError {
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
                FetchError::RevisionMissing { repo: repo(), revision: asked.revision.clone() }
            }
            (404, Some("EntryNotFound")) => FetchError::EntryMissing {
                repo: repo(),
                revision: asked.revision.clone(),
                file: asked.file.name.clone(),
            },
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

fn git_blob(tag: &str) -> Option<[u8; 20]> {
    let is_hex = tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if tag.len() != 40 || !is_hex {
        return None;
    }
    let mut hash = [0; 20];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(tag.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}
