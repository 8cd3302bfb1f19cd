//! Where models may come from: the hub's address and token, the Python of the mirrors, a local path, and the clocks.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::limiter::Limiter;
use crate::environment::{self, Lookup};
use crate::{disk, files};

/// The public model hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// The interpreter that runs pip, found on the search path.
const DEFAULT_PYTHON: &str = "python3";
/// A token is a few dozen characters; a larger file is not a token file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where models may come from.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The hub.
    pub endpoint: Endpoint,
    /// Access token, sent to the endpoint's own origin only.
    pub token: Option<Token>,
    /// The variable that switches the hub off, if one does.
    pub switched_off_by: Option<&'static str>,
    /// The interpreter that runs pip for mirrors.
    pub python: PathBuf,
    /// Import from this path and nowhere else: the file, or the folder that holds the entry's files.
    pub local: Option<PathBuf>,
    /// Temporary files of mirrors go below this folder.
    pub cache: PathBuf,
    /// Limits of waiting.
    pub clocks: Clocks,
    /// How large files travel.
    pub shape: TransferShape,
    /// What servers asked for; shared by everybody who got a clone of these settings.
    pub limiter: Limiter,
    /// The hub's own cache: files that lie there are not fetched.
    pub hub_cache: Option<PathBuf>,
    /// How free space is measured; a test gives another answer.
    pub free_bytes: fn(&Path) -> io::Result<u64>,
}

/// How large files travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferShape {
    /// Connections that fetch parts of one file at the same time.
    pub connections: usize,
    /// Bytes one request asks for, and bytes of a chunk that can be repaired alone: a multiple of 64. Larger files than
    /// this go over several connections, if the server proves that it can serve ranges.
    pub range_bytes: u64,
}

impl Default for TransferShape {
    fn default() -> Self {
        // Four connections fill lines that one does not, and are few enough for any server. 16 MiB take a second at
        // 130 Mbit/s, so that a request more costs nothing.
        Self { connections: 4, range_bytes: 16 << 20 }
    }
}

/// Limits of waiting. Each covers the network only, never hashing or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Name resolution.
    pub resolve: Duration,
    /// Connection and TLS.
    pub connect: Duration,
    /// Resolution, when another source is left to try: with `connect_briefly` below two seconds.
    pub resolve_briefly: Duration,
    /// Connection, when another source is left to try.
    pub connect_briefly: Duration,
    /// From the request to the answer's headers.
    pub first_byte: Duration,
    /// Silence within a body.
    pub idle: Duration,
    /// First wait before a retry; it doubles.
    pub retry_base: Duration,
    /// Longest wait before a retry that we choose ourselves.
    pub retry_cap: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            resolve_briefly: Duration::from_millis(700),
            connect_briefly: Duration::from_millis(1100),
            // What the hub's own client allows for metadata, and a margin for slow redirects.
            first_byte: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            retry_base: Duration::from_millis(500),
            retry_cap: Duration::from_secs(8),
        }
    }
}

/// Address of a hub: scheme, host and optional path, no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Endpoint {
    type Err = SettingsError;
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let trimmed = text.trim_end_matches('/');
        let refused = |reason| SettingsError::Endpoint { text: text.chars().take(80).collect(), reason };
        let uri: ureq::http::Uri = trimmed.parse().map_err(|_| refused("it is not a URL"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {}
            (Some("http" | "https"), Some(_)) => {
                return Err(refused("it must not hold credentials, set `HF_TOKEN` instead"));
            }
            _ => return Err(refused("it must begin with `https://` or `http://`")),
        }
        if uri.query().is_some() || trimmed.contains('#') {
            return Err(refused("it must have neither query nor fragment"));
        }
        Ok(Self(trimmed.to_owned()))
    }
}

/// An access token: printable ASCII without blanks; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in `text`, blanks around it dropped; `None` if nothing is left.
    ///
    /// # Errors
    /// The text cannot stand in a header.
    pub fn parse(text: &str, origin: &str) -> Result<Option<Self>, SettingsError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SettingsError::Token { origin: origin.to_owned() });
        }
        Ok(Some(Self(text.to_owned())))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address of the hub.
    #[error("`HF_ENDPOINT` is `{}`: {reason}", .text.escape_debug())]
    Endpoint {
        /// What it holds.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The token has blanks or control characters inside. It is not shown.
    #[error("the hub's access token from {origin} is not a token")]
    Token {
        /// Variable or file.
        origin: String,
    },
}

impl SourceSettings {
    /// The settings of the process environment; `cache` is where mirrors put temporary files.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn from_environment(cache: &Path) -> Result<Self, SettingsError> {
        Self::resolve(&environment::process, cache)
    }

    /// The settings according to `lookup`.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn resolve(lookup: Lookup<'_>, cache: &Path) -> Result<Self, SettingsError> {
        let endpoint = lookup(environment::HUB_ENDPOINT).unwrap_or_default();
        let endpoint = if endpoint.is_empty() { DEFAULT_ENDPOINT.into() } else { endpoint.to_string_lossy() };
        let switches = [environment::HUB_OFFLINE, environment::HUB_OFFLINE_OLD];
        Ok(Self {
            endpoint: endpoint.parse()?,
            token: token(lookup)?,
            switched_off_by: switches.into_iter().find(|name| environment::is_on(lookup, name)),
            python: PathBuf::from(DEFAULT_PYTHON),
            local: None,
            cache: cache.to_owned(),
            clocks: Clocks::default(),
            shape: TransferShape::default(),
            limiter: Limiter::default(),
            hub_cache: hub_cache(lookup),
            free_bytes: disk::free_bytes,
        })
    }
}

/// The variable, else the token file; neither when implicit tokens are switched off.
fn token(lookup: Lookup<'_>) -> Result<Option<Token>, SettingsError> {
    if environment::is_on(lookup, environment::HUB_DISABLE_IMPLICIT_TOKEN) {
        return Ok(None);
    }
    if let Some(value) = lookup(environment::HUB_TOKEN) {
        let token = Token::parse(&value.to_string_lossy(), "`HF_TOKEN`")?;
        if token.is_some() {
            return Ok(token);
        }
    }
    let path =
        expanded_path(lookup, environment::HUB_TOKEN_PATH).or_else(|| hub_home(lookup).map(|home| home.join("token")));
    // A file that is not there or cannot be read is no token, as for the hub's own client.
    match path.and_then(|path| files::read_text(&path, MAX_TOKEN_BYTES).ok().map(|text| (path, text))) {
        Some((path, text)) => Token::parse(&text, &format!("`{}`", path.display())),
        None => Ok(None),
    }
}

/// The hub's home directory, by its own rules.
fn hub_home(lookup: Lookup<'_>) -> Option<PathBuf> {
    let base = environment::absolute_path(lookup, environment::XDG_CACHE_HOME);
    let below_home = || environment::absolute_path(lookup, environment::HOME).map(|home| home.join(".cache"));
    let default = || base.or_else(below_home).map(|base| base.join("huggingface"));
    expanded_path(lookup, environment::HUB_HOME).or_else(default)
}

/// The hub's cache: the variable, its older name, else `hub` in the home directory.
fn hub_cache(lookup: Lookup<'_>) -> Option<PathBuf> {
    let named = [environment::HUB_CACHE, environment::HUB_CACHE_OLD];
    let named = named.into_iter().find_map(|name| expanded_path(lookup, name));
    named.or_else(|| hub_home(lookup).map(|home| home.join("hub")))
}

/// A path variable of the hub's: a leading `~` is the home directory; empty counts as not set.
fn expanded_path(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    let path = lookup(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())?;
    match path.strip_prefix("~") {
        Ok(rest) => environment::absolute_path(lookup, environment::HOME).map(|home| home.join(rest)),
        Err(_) => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{SettingsError, SourceSettings, Token};

    fn resolve(variables: &[(&str, &str)]) -> Result<SourceSettings, SettingsError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        SourceSettings::resolve(&find, Path::new("/cache"))
    }

    #[test]
    fn endpoints_lose_their_slash_and_must_be_plain_addresses() {
        let settings = resolve(&[("HF_ENDPOINT", "http://127.0.0.1:1/hub/")]).expect("an address");
        assert_eq!(settings.endpoint.as_str(), "http://127.0.0.1:1/hub");
        assert!(resolve(&[("HF_ENDPOINT", "")]).is_ok());
        for bad in ["file:///etc", "hub", "http://u:p@h", "http://h?x", "http://", "https://h/#x", "http://h\n"] {
            assert!(resolve(&[("HF_ENDPOINT", bad)]).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn tokens_follow_the_hubs_rules_and_are_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "hf_file\n").expect("a token file");
        let home = folder.path().to_str().expect("a path");
        let token = |variables: &[(&str, &str)]| resolve(variables).expect("settings").token;
        let parsed = |text| Token::parse(text, "test").expect("a token");
        assert_eq!(token(&[("HF_TOKEN", " hf_env "), ("HF_HOME", home)]), parsed("hf_env"));
        assert_eq!(token(&[("HF_TOKEN", ""), ("HF_HOME", home)]), parsed("hf_file"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "Yes")]), None);
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN_PATH", "/nowhere")]), None);
        assert_eq!(token(&[("HOME", home), ("HF_HOME", "~")]), parsed("hf_file"));
        let split = resolve(&[("HF_TOKEN", "a\nAuthorization: b")]).expect_err("a header trick");
        assert!(!split.to_string().contains("Authorization"));
        assert!(!format!("{:?}", parsed("hf_secret")).contains("hf_secret"));
    }

    #[test]
    fn the_hubs_cache_is_where_the_hubs_client_puts_it() {
        let cache = |variables: &[(&str, &str)]| resolve(variables).expect("settings").hub_cache;
        let at = |path: &str| Some(Path::new(path).to_owned());
        assert_eq!(cache(&[("HOME", "/h")]), at("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), at("/x/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/hf")]), at("/h/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), at("/old"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), at("/new"));
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn the_hub_is_switched_off_by_either_variable() {
        assert_eq!(resolve(&[("HF_HUB_OFFLINE", "1")]).expect("settings").switched_off_by, Some("HF_HUB_OFFLINE"));
        assert_eq!(
            resolve(&[("TRANSFORMERS_OFFLINE", "on")]).expect("settings").switched_off_by,
            Some("TRANSFORMERS_OFFLINE")
        );
        assert_eq!(resolve(&[("HF_HUB_OFFLINE", "0")]).expect("settings").switched_off_by, None);
    }
}
