//! Looking at what the hub has without fetching it: which commit a revision is, which files it holds, how a file begins.
//! Everything that comes is bounded and checked before it is used.

use protocol::catalog::{CatalogFile, Commit, FileName, RepoId};
use protocol::identifiers::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Uri};

use super::address::{follow, origin};
use super::answer::Subject;
use super::carrier::is_part;
use super::requester::Patience;
use super::{Hub, MAX_REDIRECTS, is_passing, too_many_redirects};
use crate::fetch::FetchError;
use crate::fetch::transport::{host_of, one_line};
use crate::reference::Revision;

/// Largest page of a listing that is read: a thousand files take a third of it.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// Pages of a listing that are asked for.
const MAX_PAGES: usize = 50;

/// A repository at one commit.
#[derive(Debug, Clone)]
pub(in crate::fetch) struct Contents {
    pub(in crate::fetch) commit: Commit,
    /// As the owner states it.
    pub(in crate::fetch) license: Option<String>,
    /// Files whose names can be used, in the hub's order.
    pub(in crate::fetch) files: Vec<CatalogFile>,
}

#[derive(Deserialize)]
struct RawModel {
    sha: Commit,
    #[serde(default, rename = "cardData")]
    card: Option<RawCard>,
}

#[derive(Deserialize)]
struct RawCard {
    #[serde(default)]
    license: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawNode {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: u64,
    #[serde(default)]
    lfs: Option<RawLarge>,
}

#[derive(Deserialize)]
struct RawLarge {
    oid: Digest,
}

impl Hub<'_> {
    /// What `repo` holds at `revision`.
    pub(in crate::fetch) fn contents(
        &self,
        patience: Patience<'_>,
        repo: &RepoId,
        revision: Option<&Revision>,
    ) -> Result<Contents, FetchError> {
        let endpoint = self.settings.endpoint.as_str();
        let name = revision.map_or("main", Revision::as_str);
        let subject = Subject { repo, revision: name, file: None, anonymous: self.settings.token.is_none() };
        let segment = revision.map_or_else(|| "main".to_owned(), Revision::segment);
        let url = parsed(&format!("{endpoint}/api/models/{repo}/revision/{segment}"))?;
        let (model, _) = self.json::<RawModel>(patience, url, &subject)?;
        let license = model.card.and_then(|card| card.license);
        let license = license.and_then(|license| license.as_str().map(one_line));
        let mut contents = Contents { commit: model.sha, license, files: Vec::new() };
        let mut next = Some(parsed(&format!(
            "{endpoint}/api/models/{repo}/tree/{}?recursive=true&expand=false",
            contents.commit
        ))?);
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { break };
            let (nodes, following) = self.json::<Vec<RawNode>>(patience, url, &subject)?;
            contents.files.extend(nodes.into_iter().filter_map(listed));
            next = following;
        }
        Ok(contents)
    }

    /// The first `bytes` bytes of a file, or all of it if it is shorter; and how long it is.
    pub(in crate::fetch) fn beginning(
        &self,
        patience: Patience<'_>,
        (repo, revision): (&RepoId, &Commit),
        (file, bytes): (&CatalogFile, u64),
    ) -> Result<(Vec<u8>, u64), FetchError> {
        let asked = super::Asked { repo, revision, file, anonymous: self.settings.token.is_none() };
        let remote = self.probe_with(patience, &asked)?;
        let size_bytes = remote.expected.size_bytes;
        let part = 0..bytes.min(size_bytes);
        let headers = [super::carrier::range_header(&part)];
        let mut reply = self.get_with(patience, &remote.location, &headers)?;
        let announced = reply.announced();
        // A server without ranges begins with the same bytes; the rest is not read.
        let is_beginning = announced.status == 200 || is_part(&announced, &part, size_bytes)?;
        if !is_beginning {
            return Err(announced.refusal(&asked.subject()));
        }
        let wanted = usize::try_from(part.end).unwrap_or(usize::MAX);
        let mut beginning = Vec::new();
        while beginning.len() < wanted {
            let Some(piece) = reply.answer.bytes(patience.cancel)? else {
                return Err(reply.announced().broken("the body ended early"));
            };
            beginning.extend_from_slice(&piece[..piece.len().min(wanted - beginning.len())]);
        }
        Ok((beginning, size_bytes))
    }

    /// One JSON document and the address of the next page.
    fn json<T: DeserializeOwned>(
        &self,
        patience: Patience<'_>,
        url: Uri,
        subject: &Subject<'_>,
    ) -> Result<(T, Option<Uri>), FetchError> {
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            let mut reply = self.requester.ask(patience, (Method::GET, &url), Vec::new())?;
            if matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
                url = follow(&url, &reply.headers)?;
                continue;
            }
            if reply.status != 200 {
                return Err(reply.announced().refusal(subject));
            }
            let next = reply.announced().text("link").and_then(next_link).map(str::to_owned);
            let mut text = Vec::new();
            while let Some(piece) = reply.answer.bytes(patience.cancel)? {
                text.extend_from_slice(&piece);
                if text.len() > MAX_PAGE_BYTES {
                    return Err(reply.announced().broken("a page of its listing is too long"));
                }
            }
            let document = serde_json::from_slice(&text);
            let document = document.map_err(|error| reply.announced().broken(&format!("no listing: {error}")))?;
            return Ok((document, next.map(|next| self.same_origin(&url, &next)).transpose()?));
        }
        Err(too_many_redirects(&url))
    }

    /// The address of a next page, which must be the same server's.
    fn same_origin(&self, from: &Uri, next: &str) -> Result<Uri, FetchError> {
        let text = match next.starts_with('/') {
            true => format!("{}{next}", origin(from)),
            false => next.to_owned(),
        };
        let url = parsed(&text)?;
        if origin(&url) == origin(from) {
            return Ok(url);
        }
        let what = "its listing goes on at another server".to_owned();
        Err(FetchError::Protocol { host: host_of(from), what })
    }
}

/// Whether a look that failed may succeed later.
pub(in crate::fetch) fn may_pass(error: &FetchError) -> bool {
    is_passing(error, false)
}

fn parsed(text: &str) -> Result<Uri, FetchError> {
    let no_address = || FetchError::Protocol { host: text.chars().take(80).collect(), what: "no address".to_owned() };
    text.parse().map_err(|_| no_address())
}

/// The target of `Link: <target>; rel="next"`.
fn next_link(header: &str) -> Option<&str> {
    let link = header.split(',').find(|link| link.contains("rel=\"next\""))?;
    link.trim().strip_prefix('<')?.split('>').next()
}

/// A file of the listing; names that no store could hold are left out.
fn listed(node: RawNode) -> Option<CatalogFile> {
    let name: FileName = (node.kind == "file").then(|| node.path.parse().ok()).flatten()?;
    Some(CatalogFile { name, size_bytes: Some(node.size), sha256: node.lfs.map(|large| large.oid) })
}
