//! Addresses of the hub: built from checked parts, followed with care.

use protocol::catalog::{Commit, FileName, RepoId};
use ureq::http::{HeaderMap, Uri};

use crate::fetch::FetchError;
use crate::fetch::settings::Endpoint;
use crate::fetch::transport::{host_of, one_line};

/// Where the hub answers for a file. No part needs escaping: each is a checked type.
pub(super) fn resolve_url(
    endpoint: &Endpoint,
    repo: &RepoId,
    revision: &Commit,
    file: &FileName,
) -> Result<Uri, FetchError> {
    let text = format!("{}/{repo}/resolve/{revision}/{file}", endpoint.as_str());
    text.parse().map_err(|_| FetchError::Protocol { host: endpoint.as_str().to_owned(), what: "no address".to_owned() })
}

/// Scheme, host and port: what decides where a token may go.
pub(super) fn origin(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("").to_ascii_lowercase();
    let host = url.host().unwrap_or("").to_ascii_lowercase();
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!("{scheme}://{host}:{port}")
}

/// The target of a redirect: an absolute address, or a path on the same host. Never from https to http.
pub(super) fn follow(from: &Uri, headers: &HeaderMap) -> Result<Uri, FetchError> {
    let broken = |what: &str| FetchError::Protocol { host: host_of(from), what: what.to_owned() };
    let location = headers.get("location").ok_or_else(|| broken("a redirect without an address"))?;
    let location = location.to_str().map_err(|_| broken("a redirect to something that is no address"))?;
    let no_address = || broken(&format!("a redirect to `{}`, which is no address", one_line(location)));
    let is_path = location.starts_with('/') && !location.starts_with("//");
    let text = match is_path {
        true => format!("{}://{}{location}", from.scheme_str().unwrap_or("http"), host_of(from)),
        false => location.to_owned(),
    };
    // A fragment is for browsers.
    let text = text.split('#').next().unwrap_or(&text);
    let target: Uri = text.parse().map_err(|_| no_address())?;
    let has_credentials = target.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match (from.scheme_str(), target.scheme_str(), target.host()) {
        _ if has_credentials => Err(broken("a redirect to an address with credentials")),
        (Some("https"), Some("http"), _) => Err(broken("a redirect from https to http")),
        (_, Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(target),
        _ => Err(no_address()),
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::{HeaderMap, Uri};

    use super::{follow, origin};

    fn target(from: &str, location: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("location", location.parse().ok()?);
        let from: Uri = from.parse().expect("an address");
        follow(&from, &headers).ok().map(|target| target.to_string())
    }

    #[test]
    fn redirects_stay_addresses_and_never_lose_encryption() {
        assert_eq!(target("http://h:1/a", "/b?c").as_deref(), Some("http://h:1/b?c"));
        assert_eq!(target("https://h/a", "https://cdn/b#x").as_deref(), Some("https://cdn/b"));
        for bad in
            ["http://cdn/b", "//evil/x", "file:///etc/passwd", "../x", "", "https://user:pw@cdn/x", "https://", "x"]
        {
            assert_eq!(target("https://h/a", bad), None, "{bad}");
        }
    }

    #[test]
    fn the_port_is_part_of_the_origin() {
        let of = |text: &str| origin(&text.parse().expect("an address"));
        assert_eq!(of("https://H/x"), of("https://h:443/y"));
        assert_ne!(of("http://h:1/x"), of("http://h:2/x"));
        assert_ne!(of("http://h/x"), of("https://h/x"));
    }
}
