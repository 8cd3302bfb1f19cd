//! Which hosts are meant: profiles, tags, aliases of ssh, addresses. Nothing is contacted here.

use std::collections::BTreeSet;

use models::catalog::suggest;
use protocol::error::ErrorCode;

use super::destination::Destination;
use crate::configuration::{Configuration, Profile};
use crate::failure::Failure;

/// More at a time is not one person's homelab, and each is a few processes.
const HOSTS_MAX: usize = 64;
/// Names listed when none is near.
const KNOWN_SHOWN: usize = 12;

/// A machine that a task is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it was called on the command line; stands before its lines.
    pub name: String,
    /// How ssh is told to go there.
    pub ssh: Destination,
    /// What the configuration says about it.
    pub profile: Option<Profile>,
}

/// The hosts that `selection` names, each once, in the order they were named in; `all` and tags in that of the names.
///
/// # Errors
/// Exit code 2: an unknown host or tag, with suggestions. Nothing has run anywhere then.
pub fn select(selection: &[String], configuration: &Configuration, aliases: &[String]) -> Result<Vec<Host>, Failure> {
    let (mut hosts, mut seen) = (Vec::new(), BTreeSet::new());
    for word in selection {
        for host in meant(word, configuration, aliases)? {
            if seen.insert(host.name.clone()) {
                hosts.push(host);
            }
        }
    }
    match hosts.len() {
        0 => Err(Failure::usage("no host is named").hint("cargo xtask remote hosts list")),
        count if count > HOSTS_MAX => Err(Failure::usage(format!("{count} hosts at a time, the most is {HOSTS_MAX}"))),
        _ => Ok(hosts),
    }
}

fn meant(word: &str, configuration: &Configuration, aliases: &[String]) -> Result<Vec<Host>, Failure> {
    let profiles = |wanted: &dyn Fn(&Profile) -> bool| {
        let fitting = configuration.hosts.iter().filter(|(_, profile)| wanted(profile));
        fitting.map(|(name, profile)| of_profile(name, profile)).collect::<Vec<_>>()
    };
    if word == "all" {
        let hosts = profiles(&|_| true);
        if hosts.is_empty() {
            let failure =
                Failure::coded(ErrorCode::HostUnknown, "`all` means every host with a profile, and none has one");
            return Err(failure.hint("cargo xtask remote hosts add NAME USER@HOST"));
        }
        return Ok(hosts);
    }
    if let Some(tag) = word.strip_prefix("tag:") {
        let hosts = profiles(&|profile| profile.tags.iter().any(|own| own == tag));
        if hosts.is_empty() {
            let tags = configuration.hosts.values().flat_map(|profile| profile.tags.iter().map(String::as_str));
            let message = format!("no host has the tag `{tag}`");
            return Err(Failure::coded(ErrorCode::HostUnknown, message)
                .known(suggestions(tag, tags))
                .hint("cargo xtask remote hosts list"));
        }
        return Ok(hosts);
    }
    one(word, configuration, aliases).map(|host| vec![host])
}

fn one(word: &str, configuration: &Configuration, aliases: &[String]) -> Result<Host, Failure> {
    if let Some(profile) = configuration.hosts.get(word) {
        return Ok(of_profile(word, profile));
    }
    let ssh: Destination = word.parse().map_err(|error: super::destination::DestinationError| {
        Failure::usage(format!("{word:?} is no host: {error}")).hint(error.hint())
    })?;
    if ssh.is_explicit() || aliases.iter().any(|alias| alias == word) {
        return Ok(Host { name: word.to_owned(), ssh, profile: None });
    }
    let names = configuration.hosts.keys().map(String::as_str).chain(aliases.iter().map(String::as_str));
    Err(Failure::coded(ErrorCode::HostUnknown, format!("host `{word}` is not known; nothing was run anywhere"))
        .known(suggestions(word, names))
        .hint(format!("`cargo xtask remote hosts add {word} USER@HOST`, or name it as `user@host`")))
}

fn of_profile(name: &str, profile: &Profile) -> Host {
    Host { name: name.to_owned(), ssh: profile.ssh.clone(), profile: Some(profile.clone()) }
}

/// The names that are near, else what there is.
fn suggestions<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.collect();
    let near = suggest::nearest(word, names.iter().copied());
    if !near.is_empty() {
        return vec![suggest::sentence(&near).trim_start_matches("; ").to_owned()];
    }
    let known: Vec<String> = names.iter().take(KNOWN_SHOWN).map(|name| format!("`{name}`")).collect();
    if known.is_empty() { Vec::new() } else { vec![format!("known are {}", known.join(", "))] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::select;
    use crate::configuration::{Configuration, Profile, RemoteSettings};

    fn configuration() -> Configuration {
        let profile = |ssh: &str, tags: &[&str]| Profile {
            ssh: ssh.parse().expect("a destination"),
            repo: None,
            backends: Vec::new(),
            tags: tags.iter().map(ToString::to_string).collect(),
            path: Vec::new(),
            env: BTreeMap::new(),
            file: "x".into(),
        };
        let hosts = [
            ("desk", profile("me@desk.lan", &["gpu"])),
            ("mac", profile("mac", &[])),
            ("rack", profile("rack", &["gpu"])),
        ];
        let remote = RemoteSettings { connect_timeout_seconds: 1, keepalive_seconds: 1 };
        Configuration { hosts: hosts.map(|(name, profile)| (name.to_owned(), profile)).into(), remote }
    }

    fn names(words: &[&str]) -> Result<Vec<String>, crate::failure::Failure> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let hosts = select(&words, &configuration(), &["alias".to_owned()])?;
        Ok(hosts.into_iter().map(|host| format!("{}={}", host.name, host.ssh)).collect())
    }

    #[test]
    fn profiles_tags_aliases_and_addresses_are_known() {
        assert_eq!(names(&["desk"]).expect("known"), ["desk=me@desk.lan"]);
        assert_eq!(names(&["tag:gpu", "desk"]).expect("known"), ["desk=me@desk.lan", "rack=rack"]);
        assert_eq!(names(&["all"]).expect("known").len(), 3);
        assert_eq!(names(&["alias", "me@x", "192.0.2.1", "a.b"]).expect("known").len(), 4);
    }

    #[test]
    fn anything_else_is_refused_with_a_suggestion() {
        for (word, wanted) in [
            ("dsk", "did you mean `desk`?"),
            ("zzzzz", "known are `alias`, `desk`"),
            ("tag:gpus", "did you mean `gpu`?"),
        ] {
            let failure = names(&["desk", word]).expect_err(word);
            assert_eq!(failure.exit_code, 2, "{word}");
            assert!(failure.known[0].contains(wanted), "{word}: {:?}", failure.known);
        }
        assert_eq!(names(&["-oProxyCommand=x"]).expect_err("no host").exit_code, 2);
        assert_eq!(names(&["ssh://x"]).expect_err("no host").exit_code, 2);
    }
}
