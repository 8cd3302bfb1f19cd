//! Where a submodule comes from: an address that names a host and a path there, and nothing that git would run or open
//! instead. No network here.

use std::fmt;

/// Longer than any address of a repository.
const ADDRESS_BYTES_MAX: usize = 1024;

/// An address that may be handed to git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// Whether a repository on this machine may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// Hosts only.
    Remote,
    /// Absolute paths and `file://` too: for a checkout that itself was cloned from this machine.
    Local,
}

impl Address {
    /// `https://host/path`, `ssh://[user@]host/path` or `user@host:path`; by [`Locality::Local`] also `/path` and
    /// `file:///path`. The error completes "… is refused: it …".
    pub fn parse(text: &str, locality: Locality) -> Result<Self, &'static str> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@%+=,".contains(&byte);
        if text.is_empty() || text.len() > ADDRESS_BYTES_MAX {
            return Err("is empty or longer than 1024 bytes");
        }
        if text.starts_with('-') {
            return Err("starts with `-`");
        }
        if !text.bytes().all(is_plain) {
            return Err("has another character than letters, digits and `-._~:/@%+=,`");
        }
        if text.contains("::") {
            return Err("names a program as its transport");
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let (host, path) = rest.split_once('/').ok_or("has no path")?;
            if host.contains('@') {
                return Err("carries a user or a password; a credential helper is the place for those");
            }
            host_and_port(host).and_then(|()| remote_path(path))?;
        } else if let Some(rest) = text.strip_prefix("ssh://") {
            let (place, path) = rest.split_once('/').ok_or("has no path")?;
            login(place, host_and_port).and_then(|()| remote_path(path))?;
        } else if let Some(path) = text.strip_prefix("file://").or_else(|| text.starts_with('/').then_some(text)) {
            if locality == Locality::Remote {
                return Err("is a path of this machine");
            }
            remote_path(path.strip_prefix('/').ok_or("names a host")?)?;
        } else if text.contains("://") {
            return Err("has another scheme than https and ssh");
        } else {
            let (place, path) = text.split_once(':').ok_or("is neither a URL nor `user@host:path`")?;
            if !place.contains('@') {
                return Err("is neither a URL nor `user@host:path`");
            }
            login(place, host).and_then(|()| remote_path(path.trim_start_matches('/')))?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether what a checkout was cloned from lies on this machine.
pub fn is_local(remote: &str) -> bool {
    remote.starts_with('/') || remote.starts_with("file:///")
}

/// `[user@]host`, the host by `of_host`.
fn login(place: &str, of_host: fn(&str) -> Result<(), &'static str>) -> Result<(), &'static str> {
    match place.split_once('@') {
        Some((user, host)) if is_word(user) => of_host(host),
        Some(_) => Err("has a user that is no plain word"),
        None => of_host(place),
    }
}

fn host_and_port(text: &str) -> Result<(), &'static str> {
    match text.split_once(':') {
        Some((name, port)) => {
            port.parse::<u16>().ok().filter(|port| *port != 0).ok_or("has a port that is none")?;
            host(name)
        }
        None => host(text),
    }
}

fn host(name: &str) -> Result<(), &'static str> {
    if is_word(name) && !name.contains("..") { Ok(()) } else { Err("names no host") }
}

/// Letters, digits and inner `.-_`: nothing that ssh or a shell reads as more.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 253 && !text.starts_with(['-', '.']) && text.bytes().all(is_part)
}

/// A path on the other side, without its leading `/`.
fn remote_path(path: &str) -> Result<(), &'static str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path.starts_with('-') {
        return Err("has no path, or one that starts with `-`");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("has an empty, `.` or `..` part in its path");
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Locality};

    #[test]
    fn addresses_of_hosts_pass() {
        for text in [
            "https://example.org/a/b",
            "https://example.org:8443/a/b.git",
            "ssh://git@example.org:22/a/b",
            "ssh://example.org/~me/b",
            "git@example.org:a/b.git",
        ] {
            assert_eq!(Address::parse(text, Locality::Remote).map(|address| address.0), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_git_would_run_or_open_is_refused() {
        let long = format!("https://h/{}", "x".repeat(2000));
        for text in [
            "",
            "-u./x",
            "--upload-pack=touch x",
            "ext::sh -c touch% x",
            "ext::sh",
            "fd::17",
            "http://example.org/x",
            "git://example.org/x",
            "ftp://example.org/x",
            "HTTPS://example.org/x",
            "https:///h/x",
            "https://",
            "https://h",
            "https://h/",
            "https://-h/x",
            "https://h:0/x",
            "https://h:99999/x",
            "https://user:secret@h/x",
            "https://h/../x",
            "https://h//x",
            "https://h/x\r",
            "https://h/x\n[core]",
            "https://h/x\"",
            "https://h/$(touch x)",
            "ssh://-oProxyCommand=x/y",
            "ssh://-o@h/y",
            "ssh://git@-h/y",
            "git@-h:x",
            "-git@h:x",
            "git@h:-x",
            "git@h:",
            "git@h::x",
            "h:x",
            "C:/x",
            "./x",
            "../x",
            "x",
            &long,
        ] {
            assert!(Address::parse(text, Locality::Remote).is_err(), "{text:?}");
            assert!(Address::parse(text, Locality::Local).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_of_this_machine_need_a_checkout_of_this_machine() {
        for text in ["/srv/x", "file:///srv/x.git"] {
            assert!(Address::parse(text, Locality::Remote).is_err(), "{text}");
            assert!(Address::parse(text, Locality::Local).is_ok(), "{text}");
        }
        for text in ["file://host/x", "file:///a/../b", "/", "/a/./b"] {
            assert!(Address::parse(text, Locality::Local).is_err(), "{text}");
        }
    }
}
