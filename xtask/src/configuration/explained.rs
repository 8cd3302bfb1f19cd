//! What the files set, value by value, and where each came from. What variables set is `verbs/dev/check.rs`'s.

use std::path::{Path, PathBuf};

use super::{Configuration, Mistake, Part, Profile, SYSTEM_FILE, user_file};
use crate::failure::Failure;

/// What decided a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An option of this command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A file, and the line of it.
    File(PathBuf, Option<usize>),
    /// Nobody: the program's own.
    Default,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name: as it stands in a file, where it can.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What decided that.
    pub origin: Origin,
    /// Where it can be decided: a variable, or the configuration file.
    pub set_by: &'static str,
}

/// Settings of this name's kind are set in the file.
pub const SET_BY_FILE: &str = "config.toml";

/// What the files set.
#[derive(Debug)]
pub struct Explained {
    /// Every file that could be there, first in rank first, and whether it is.
    pub files: Vec<(PathBuf, bool)>,
    /// Every value.
    pub settings: Vec<Setting>,
    /// What is wrong with files; one that has a mistake sets nothing.
    pub mistakes: Vec<Mistake>,
}

/// Reads the user's file and the system's.
///
/// # Errors
/// No home.
pub fn explain() -> Result<Explained, Failure> {
    Ok(explain_files(&[user_file()?, PathBuf::from(SYSTEM_FILE)]))
}

fn explain_files(files: &[PathBuf]) -> Explained {
    let mut explained = Explained { files: Vec::new(), settings: Vec::new(), mistakes: Vec::new() };
    let mut parts = Vec::new();
    for file in files {
        let part = Part::read(file);
        explained.files.push((file.clone(), !matches!(part, Ok(None))));
        match part {
            Ok(part) => parts.extend(part),
            Err(mistake) => explained.mistakes.push(*mistake),
        }
    }
    let Configuration { hosts, remote } = Configuration::merge(&parts);
    for (key, seconds) in [
        ("remote.connect_timeout_seconds", remote.connect_timeout_seconds),
        ("remote.keepalive_seconds", remote.keepalive_seconds),
    ] {
        let part = parts.iter().find(|part| part.lines.of_key(key).is_some());
        let origin = part.map_or(Origin::Default, |part| part.origin(key));
        let (name, value) = (key.to_owned(), seconds.to_string());
        explained.settings.push(Setting { name, value, origin, set_by: SET_BY_FILE });
    }
    for (name, profile) in &hosts {
        let part = parts.iter().find(|part| part.file == profile.file);
        explained.settings.extend(part.into_iter().flat_map(|part| of_host(name, profile, part)));
    }
    explained
}

impl Part {
    fn origin(&self, key: &str) -> Origin {
        Origin::File(self.file.clone(), self.lines.of_key(key))
    }
}

/// What a profile says; what it does not say is left out, but for where the host is.
fn of_host(name: &str, profile: &Profile, part: &Part) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |key: &str, value: String| {
        let name = format!("hosts.{name}.{key}");
        let is_set = part.lines.of_key(&name).is_some();
        let origin = if is_set { part.origin(&name) } else { Origin::Default };
        if is_set || key == "ssh" {
            settings.push(Setting { name, value, origin, set_by: SET_BY_FILE });
        }
    };
    let backends: Vec<String> = profile.backends.iter().map(ToString::to_string).collect();
    add("ssh", profile.ssh.to_string());
    add("repo", profile.repo.clone().unwrap_or_default());
    add("backends", backends.join(", "));
    add("tags", profile.tags.join(", "));
    add("path", profile.path.join(":"));
    for variable in profile.env.keys() {
        // It may be a secret.
        add(&format!("env.{variable}"), String::from("(set)"));
    }
    settings
}

impl Origin {
    /// For people.
    pub fn words(&self) -> String {
        match self {
            Origin::Flag(flag) => format!("option `{flag}`"),
            Origin::Variable(name) => format!("variable `{name}`"),
            Origin::File(file, line) => place_words(file, *line),
            Origin::Default => String::from("default"),
        }
    }
}

impl Setting {
    /// For people: what decided it, or what could.
    pub fn source_words(&self) -> String {
        match self.origin {
            Origin::Default => format!("default; `{}` sets it", self.set_by),
            Origin::Flag(_) | Origin::Variable(_) | Origin::File(..) => self.origin.words(),
        }
    }
}

fn place_words(file: &Path, line: Option<usize>) -> String {
    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
    format!("`{}`{line}", file.display())
}

#[cfg(test)]
mod tests {
    use super::{Origin, explain_files};

    #[test]
    fn each_value_says_which_line_of_which_file_set_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, system) = (folder.path().join("user.toml"), folder.path().join("system.toml"));
        let file = |text| std::fs::write(&user, text).expect("a file");
        file("[hosts.a]\nrepo = 'x'\n[hosts.a.env]\nTOKEN = 'secret'\n");
        std::fs::write(&system, "[remote]\nkeepalive_seconds = 2\n[hosts.a]\nssh = 'other'\n").expect("a file");
        let files = [user.clone(), system.clone(), folder.path().join("absent.toml")];
        let explained = explain_files(&files);
        assert!(explained.mistakes.is_empty());
        assert_eq!(explained.files.iter().map(|(_, is_there)| *is_there).collect::<Vec<_>>(), [true, true, false]);
        let lines: Vec<(&str, &str, &Origin)> =
            explained.settings.iter().map(|one| (one.name.as_str(), one.value.as_str(), &one.origin)).collect();
        let of_user = |line| Origin::File(user.clone(), Some(line));
        assert_eq!(
            lines,
            [
                ("remote.connect_timeout_seconds", "10", &Origin::Default),
                ("remote.keepalive_seconds", "2", &Origin::File(system.clone(), Some(2))),
                ("hosts.a.ssh", "a", &Origin::Default),
                ("hosts.a.repo", "x", &of_user(2)),
                ("hosts.a.env.TOKEN", "(set)", &of_user(4)),
            ]
        );
        file("[remote]\nkeepalive = 2\n");
        let explained = explain_files(&files);
        let mistake = &explained.mistakes[0];
        assert_eq!((&mistake.file, mistake.position.map(|position| position.line)), (&user, Some(2)));
        assert_eq!(mistake.key.as_deref(), Some("remote.keepalive"));
        assert!(mistake.reason.starts_with("unknown field `keepalive`, expected"), "{mistake:?}");
        std::fs::write(&user, b"# one\nx = '\xff'\n").expect("a file");
        let mistake = &explain_files(&files).mistakes[0];
        assert_eq!(mistake.position.map(|position| (position.line, position.column)), Some((2, 6)));
        assert!(mistake.failure.message.ends_with("at line 2, column 6: the text is not UTF-8"), "{mistake:?}");
        assert!(mistake.failure.hint.is_some());
        file("[remote]\nkeepalive = 2\n");
        let explained = explain_files(&files);
        assert_eq!(explained.settings[2].value, "other", "the other file still counts");
    }
}
