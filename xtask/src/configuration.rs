//! The configuration file: what it may say, and where it is. Editing it is in `configuration/edit.rs`.
//!
//! The user's file decides; what it does not say, the system's does. A host is one table, taken from one file whole. Where
//! each value came from is in `configuration/explained.rs`.

mod edit;
mod explained;
mod lines;
mod mistake;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use models::places::Places;
use protocol::identifiers::Backend;
use serde::Deserialize;

use crate::failure::Failure;
use crate::remote::destination::Destination;

pub use edit::{add_host, remove_host, write_default};
pub use explained::{Explained, Origin, Setting, explain};
pub use mistake::Mistake;

use lines::Lines;
use mistake::{broken, broken_toml, text_of};

/// The system's file.
const SYSTEM_FILE: &str = "/etc/llorch/config.toml";
/// How long a host may take to answer, unless the file says otherwise: what the old scripts gave it.
const CONNECT_TIMEOUT_SECONDS: u16 = 10;
/// Between two questions of ssh whether the other side is there; after three without an answer the line is dead.
const KEEPALIVE_SECONDS: u16 = 5;

/// All that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Profiles by name.
    pub hosts: BTreeMap<String, Profile>,
    /// How hosts are reached.
    pub remote: RemoteSettings,
}

/// How hosts are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Time for a connection to be made.
    pub connect_timeout_seconds: u16,
    /// Between two signs of life.
    pub keepalive_seconds: u16,
}

/// A host that has a name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// How ssh is told to go there.
    pub ssh: Destination,
    /// The checkout on that host, absolute or below its home folder.
    pub repo: Option<String>,
    /// What it can run models on.
    pub backends: Vec<Backend>,
    /// Groups it belongs to.
    pub tags: Vec<String>,
    /// Folders put before its `PATH`.
    pub path: Vec<String>,
    /// Variables of every task there.
    pub env: BTreeMap<String, String>,
    /// The file that says so.
    pub file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    hosts: BTreeMap<String, RawProfile>,
    #[serde(default)]
    remote: RawRemote,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRemote {
    connect_timeout_seconds: Option<NonZeroU16>,
    keepalive_seconds: Option<NonZeroU16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    ssh: Option<String>,
    repo: Option<String>,
    #[serde(default)]
    backends: Vec<Backend>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    path: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Configuration {
    /// Reads both files; one that is not there says nothing.
    ///
    /// # Errors
    /// A file that cannot be read or understood, with its line or key.
    pub fn load() -> Result<Self, Failure> {
        Self::read(&[user_file()?, PathBuf::from(SYSTEM_FILE)])
    }

    /// Files that hold variables, which may be secrets, and that others may read.
    pub fn exposed_files(&self) -> BTreeSet<&Path> {
        let with_variables = self.hosts.values().filter(|profile| !profile.env.is_empty());
        let files: BTreeSet<&Path> = with_variables.map(|profile| profile.file.as_path()).collect();
        let is_open = |file: &&Path| file.metadata().is_ok_and(|data| data.mode() & 0o077 != 0);
        files.into_iter().filter(is_open).collect()
    }

    /// Reads `files`, the first of them first in rank.
    fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let parts: Result<Vec<Option<Part>>, Box<Mistake>> = files.iter().map(|file| Part::read(file)).collect();
        let parts: Vec<Part> = parts.map_err(|mistake| mistake.failure)?.into_iter().flatten().collect();
        Ok(Self::merge(&parts))
    }

    fn merge(parts: &[Part]) -> Self {
        let mut hosts = BTreeMap::new();
        let mut remote = RawRemote::default();
        for part in parts {
            for (name, profile) in &part.hosts {
                hosts.entry(name.clone()).or_insert_with(|| profile.clone());
            }
            remote.connect_timeout_seconds = remote.connect_timeout_seconds.or(part.remote.connect_timeout_seconds);
            remote.keepalive_seconds = remote.keepalive_seconds.or(part.remote.keepalive_seconds);
        }
        let or = |value: Option<NonZeroU16>, default| value.map_or(default, NonZeroU16::get);
        let remote = RemoteSettings {
            connect_timeout_seconds: or(remote.connect_timeout_seconds, CONNECT_TIMEOUT_SECONDS),
            keepalive_seconds: or(remote.keepalive_seconds, KEEPALIVE_SECONDS),
        };
        Self { hosts, remote }
    }
}

/// What one file says.
struct Part {
    file: PathBuf,
    hosts: BTreeMap<String, Profile>,
    remote: RawRemote,
    lines: Lines,
}

impl Part {
    /// `None`: the file is not there.
    fn read(file: &Path) -> Result<Option<Self>, Box<Mistake>> {
        let Some(text) = text_of(file)? else { return Ok(None) };
        let lines = Lines::of(&text);
        let raw: Raw = toml::from_str(&text).map_err(|error| Mistake::of_toml(file, (&text, &lines), &error))?;
        let mut hosts = BTreeMap::new();
        for (name, profile) in raw.hosts {
            let profile = parse(&name, profile, file).map_err(|(key, reason)| {
                let position = lines.position(&key).or_else(|| lines.position(&format!("hosts.{name}")));
                Mistake::of_key(file, (key, position), reason)
            })?;
            hosts.insert(name, profile);
        }
        Ok(Some(Self { file: file.to_owned(), hosts, remote: raw.remote, lines }))
    }
}

/// The user's file; it may not exist yet.
///
/// # Errors
/// No home.
pub fn user_file() -> Result<PathBuf, Failure> {
    Ok(Places::from_environment()?.config.path.join("config.toml"))
}

/// The profile, or the key that is wrong and why.
fn parse(name: &str, raw: RawProfile, file: &Path) -> Result<Profile, (String, String)> {
    let wrong = |key: &str, why: &str| (format!("hosts.{name}{key}"), format!("`hosts.{name}{key}`: {why}"));
    check_name(name).map_err(|why| wrong("", &why))?;
    let ssh = raw.ssh.as_deref().unwrap_or(name);
    let ssh = ssh.parse().map_err(|error| wrong(".ssh", &format!("{error}")))?;
    let RawProfile { repo, backends, tags, path, env, .. } = raw;
    let profile = Profile { ssh, repo, backends, tags, path, env, file: file.to_owned() };
    profile.check().map_err(|why| {
        // It begins with the key.
        let key = why.split('`').nth(1).unwrap_or_default();
        (format!("hosts.{name}.{key}"), format!("`hosts.{name}`: {why}"))
    })?;
    Ok(profile)
}

impl Profile {
    /// The same, its variables' values left out: for people to see.
    #[must_use]
    pub fn masked(&self) -> Self {
        let env = self.env.keys().map(|name| (name.clone(), String::from("…"))).collect();
        Self { env, ..self.clone() }
    }

    /// Says which key holds what it cannot.
    pub fn check(&self) -> Result<(), String> {
        let paths = self.repo.iter().map(|path| ("repo", path)).chain(self.path.iter().map(|path| ("path", path)));
        for (key, path) in paths {
            check_path(path).map_err(|why| format!("`{key}`: {why}"))?;
        }
        if let Some(folder) = self.path.iter().find(|folder| folder.contains(':')) {
            return Err(format!("`path`: `{folder}` contains a colon, which separates folders"));
        }
        self.tags.iter().try_for_each(|tag| check_name(tag)).map_err(|why| format!("`tags`: {why}"))?;
        let mut variables = self.env.iter();
        variables.try_for_each(|(name, value)| check_variable(name, value)).map_err(|why| format!("`env`: {why}"))
    }
}

/// A name of a host or a tag: what is typed behind `--remote`, and stands before lines of output.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) || name.starts_with('-') {
        return Err(format!("{name:?} is no name: letters, digits, `-`, `_`, `.`, at most 64"));
    }
    if name == "all" {
        return Err(String::from("`all` means every host"));
    }
    Ok(())
}

/// A path on another host.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    match path {
        "" => Err("the path is empty"),
        _ if path.chars().any(char::is_control) => Err("a path cannot contain control characters"),
        _ if path.starts_with('~') && path != "~" && !path.starts_with("~/") => {
            Err("`~` stands for the home folder of the user who logs in, nobody else's")
        }
        _ => Ok(()),
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), String> {
    let fits = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    if name.is_empty() || !name.chars().all(fits) || name.starts_with(|character: char| character.is_ascii_digit()) {
        return Err(format!("{name:?} is no variable: capitals, digits and `_`"));
    }
    if value.contains('\0') {
        return Err(format!("the value of `{name}` contains a NUL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Configuration;

    fn read(texts: &[&str]) -> Result<Configuration, crate::failure::Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<PathBuf> = (0..texts.len()).map(|index| folder.path().join(format!("{index}.toml"))).collect();
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).expect("a file");
        }
        Configuration::read(&files)
    }

    #[test]
    fn the_users_file_wins_and_the_systems_fills_in() {
        let user = "[hosts.a]\nssh = 'me@a.lan'\nrepo = 'src/llorch'\nbackends = ['cuda']\ntags = ['gpu']\n";
        let system = "[hosts.a]\nssh = 'other'\n[hosts.b]\n[remote]\nkeepalive_seconds = 2\n";
        let configuration = read(&[user, system]).expect("two files");
        assert_eq!(configuration.hosts["a"].ssh.to_string(), "me@a.lan");
        assert_eq!(configuration.hosts["b"].ssh.to_string(), "b");
        let remote = configuration.remote;
        assert_eq!((remote.connect_timeout_seconds, remote.keepalive_seconds), (10, 2));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, wanted) in [
            ("[hosts.a]\nssh = '-oProxyCommand=x'\n", "at line 2: `hosts.a.ssh"),
            ("[hosts.a]\nssh = 'x'\nrepo = \"a\\nb\"\n", "at line 3: `hosts.a`: `repo`"),
            ("[hosts.a]\nrepo = '~root/x'\n", "hosts.a`: `repo`"),
            ("[hosts.a]\npath = ['a:b']\n", "hosts.a`: `path`"),
            ("[hosts.a]\n[hosts.a.env]\nld_preload = 'x'\n", "hosts.a`: `env`"),
            ("[hosts.'a b']\n", "hosts.a b"),
            ("[hosts.all]\n", "every host"),
            ("[hosts.a]\nbackends = ['rocm']\n", "line 2"),
            ("[hosts.a]\ntypo = 1\n", "line 2"),
            ("x = [\n", "line 1"),
            ("[hub]\nx = 1\n", "at line 1, column 2: unknown field `hub`"),
            ("[remote]\nconnect_timeout_seconds = 0\n", "at line 2, column 27: invalid value: integer `0`"),
        ] {
            let failure = read(&[text]).expect_err(text);
            assert!(failure.message.contains(wanted), "{text}: {}", failure.message);
            assert_eq!(failure.exit_code, 2, "{text}");
        }
    }
}
