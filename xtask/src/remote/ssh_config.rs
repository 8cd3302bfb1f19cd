//! The literal `Host` names of the user's ssh configuration, so that an alias is known without a profile.
//!
//! ssh itself reads the file for all that it says; here only names are looked for.

use std::path::{Path, PathBuf};

/// ssh's own limit on nested `Include`s (readconf.c, READCONF_MAX_DEPTH).
const DEPTH_MAX: usize = 16;
/// More than any hand-written configuration; a device file would have no end.
const SIZE_BYTES_MAX: u64 = 4 << 20;

/// Every name that stands as such in the configuration at `file`, and in what it includes.
pub fn hosts(file: &Path) -> Vec<String> {
    let mut hosts = Vec::new();
    collect(file, DEPTH_MAX, &mut hosts);
    hosts.sort();
    hosts.dedup();
    hosts
}

fn collect(file: &Path, depth: usize, hosts: &mut Vec<String>) {
    let is_readable = std::fs::metadata(file).is_ok_and(|data| data.is_file() && data.len() <= SIZE_BYTES_MAX);
    let (true, Some(depth)) = (is_readable, depth.checked_sub(1)) else { return };
    // One that cannot be read is ssh's to complain about.
    let Ok(bytes) = std::fs::read(file) else { return };
    for line in String::from_utf8_lossy(&bytes).lines() {
        match parse(line) {
            Line::Hosts(names) => hosts.extend(names),
            Line::Include(patterns) => {
                for path in patterns.iter().flat_map(|pattern| included(pattern, file)) {
                    collect(&path, depth, hosts);
                }
            }
            Line::Other => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Hosts(Vec<String>),
    Include(Vec<String>),
    Other,
}

/// One line: a keyword, blanks or one `=`, words that may be quoted (ssh_config(5)).
fn parse(line: &str) -> Line {
    let line = line.trim();
    let end = line.find(|character: char| character.is_whitespace() || character == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let words = words(rest.strip_prefix('=').unwrap_or(rest));
    match keyword.to_ascii_lowercase().as_str() {
        "host" => Line::Hosts(words.into_iter().filter(|name| !name.contains(['*', '?', '!'])).collect()),
        "include" => Line::Include(words),
        _ => Line::Other,
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(split) => split,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// The files a pattern stands for; a `*` may stand in its last component.
fn included(pattern: &str, file: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = match pattern.strip_prefix("~/") {
        Some(below) => home.join(below),
        None => file.parent().unwrap_or(Path::new("/")).join(pattern),
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return vec![path] };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let fits = name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
            fits && !name.starts_with('.')
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::{Line, hosts, parse};

    #[test]
    fn only_literal_names_count() {
        assert_eq!(parse("Host box  \"quoted\" *.lan !no a?"), Line::Hosts(vec!["box".into(), "quoted".into()]));
        assert_eq!(parse("  host=one # two"), Line::Hosts(vec!["one".into()]));
        assert_eq!(parse("HostName x"), Line::Other);
        assert_eq!(parse("# Host x"), Line::Other);
    }

    #[test]
    fn includes_are_followed_and_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("config", "Include parts-*.conf missing\nHost a\nInclude config\n");
        write("parts-1.conf", "Host b\n");
        write("parts-2.conf", "Host c d*\n");
        assert_eq!(hosts(&folder.path().join("config")), ["a", "b", "c"]);
        assert!(hosts(&folder.path().join("nothing")).is_empty());
    }
}
