//! Where a machine is: what may stand behind `--` on ssh's command line, and nothing else.
//!
//! Which names are known is decided in `select.rs`.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// A host name of the domain name system has at most 253 characters; a user name rarely more than 32 (`useradd`).
const LENGTH_MAX: usize = 253 + 1 + 64;

/// `host` or `user@host`, in characters that neither ssh nor a shell reads as anything but themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    user: Option<String>,
    host: String,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing before or after the `@`, or nothing at all.
    #[error("the name is empty")]
    Empty,
    /// Longer than any host is called.
    #[error("the name has {length} characters, the most is {LENGTH_MAX}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// ssh would take it for an option.
    #[error("a name cannot begin with `-`")]
    Dash,
    /// An address in the style of a browser.
    #[error("a name is no URL")]
    Url,
    /// A port behind the name.
    #[error("a port is not part of a name")]
    Port,
    /// A character that is none of a name's.
    #[error("a name cannot contain {0:?}")]
    Character(char),
}

impl DestinationError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            DestinationError::Port | DestinationError::Url => {
                "give it a name in ~/.ssh/config (`Host`, `HostName`, `Port`, `User`) and use that"
            }
            _ => "a host is `name`, `user@name` or an address; see `cargo xtask remote hosts list`",
        }
    }
}

impl Destination {
    /// The host alone, for people.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it stands for itself: a user, a domain or an address was written out.
    pub fn is_explicit(&self) -> bool {
        self.user.is_some() || self.host.contains('.') || self.host.parse::<IpAddr>().is_ok()
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LENGTH_MAX {
            return Err(DestinationError::TooLong { length: text.len() });
        }
        if text.contains("://") {
            return Err(DestinationError::Url);
        }
        let (user, host) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        if let Some(user) = user {
            check(user, "._-+")?;
        }
        match host.contains(':') {
            true if host.parse::<Ipv6Addr>().is_ok() => {}
            true => return Err(DestinationError::Port),
            false => check(host, "._-")?,
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned() })
    }
}

fn check(part: &str, besides: &str) -> Result<(), DestinationError> {
    if part.is_empty() {
        return Err(DestinationError::Empty);
    }
    if part.starts_with('-') {
        return Err(DestinationError::Dash);
    }
    match part.chars().find(|character| !character.is_ascii_alphanumeric() && !besides.contains(*character)) {
        Some(character) => Err(DestinationError::Character(character)),
        None => Ok(()),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(formatter, "{user}@{}", self.host),
            None => formatter.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Destination;

    #[test]
    fn names_users_and_addresses_are_taken() {
        for text in ["box", "me@box", "gpu-1.lan", "m_e+x@a.b", "192.0.2.7", "::1", "me@fe80::1", "a@b.c"] {
            let destination: Destination = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(destination.to_string(), text);
        }
        let explicit = |text: &str| text.parse::<Destination>().is_ok_and(|destination| destination.is_explicit());
        assert!(explicit("me@box") && explicit("a.b") && explicit("::1") && !explicit("box"));
    }

    #[test]
    fn what_ssh_or_a_shell_could_read_otherwise_is_refused() {
        let long = "a".repeat(400);
        let hostile = [
            "",
            "@",
            "a@",
            "@b",
            "-oProxyCommand=touch x",
            "-F/x",
            "me@-oProxyCommand=x",
            "-l@box",
            "a;b",
            "a b",
            "%h",
            "a\nb",
            "a$b",
            "`a`",
            "$(a)",
            "a|b",
            "a&b",
            "a>b",
            "a'b",
            "a\"b",
            "a\\b",
            "a*",
            "~",
            "a!b",
            "#a",
            "a/b",
            "ssh://a",
            "ssh://me@a:22",
            "a:22",
            "[::1]",
            "[::1]:22",
            "me@[::1]:22",
            "::1::1",
            "bücher",
            "a\u{202e}b",
            "a\0b",
            "me@a@b c",
            "{a,b}",
            "a=b",
            "a,b",
            long.as_str(),
        ];
        assert!(hostile.len() >= 40);
        for text in hostile {
            assert!(text.parse::<Destination>().is_err(), "{text:?} was taken");
        }
    }
}
