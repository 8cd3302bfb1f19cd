//! `.gitmodules`, the one file of a clone that names addresses and places: read into types that cannot be wrong, or refused
//! as a whole. What of it is on this machine is in `submodules`.

use std::path::Path;

use super::address::{Address, Locality};
use super::names::{BranchName, FolderPath, SubmoduleName};
use super::{answer, call};
use crate::failure::Failure;

/// Its name, at the root of a checkout.
pub const FILE: &str = ".gitmodules";
/// The file of a project with hundreds of submodules is shorter.
const BYTES_MAX: u64 = 64 * 1024;
/// Each is a few processes and a folder.
const SUBMODULES_MAX: usize = 64;

/// A submodule as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: SubmoduleName,
    /// Its folder.
    pub path: FolderPath,
    /// Where it comes from.
    pub address: Address,
    /// Whether its history may be left out.
    pub is_shallow: bool,
}

/// What one section says, before it is complete.
#[derive(Default)]
struct Section {
    name: String,
    path: Option<FolderPath>,
    address: Option<Address>,
    is_shallow: bool,
    seen: Vec<String>,
}

/// What the checkout at `root` declares; nothing without the file.
pub fn read(root: &Path, locality: Locality) -> Result<Vec<Declared>, Failure> {
    let path = root.join(FILE);
    let Ok(data) = std::fs::symlink_metadata(&path) else { return Ok(Vec::new()) };
    if !data.is_file() {
        return Err(refused("is no regular file"));
    }
    if data.len() > BYTES_MAX {
        return Err(refused("is longer than 64 KiB"));
    }
    // Git's own reading of the file is the one that is judged: two readers could disagree.
    let list = call(root).args(["config", "--file", FILE, "--no-includes", "-z", "--list"]);
    let text = String::from_utf8(answer(&list)?.stdout).map_err(|_| refused("is no UTF-8"))?;
    parse(&text, locality)
}

/// Reads what `git config -z --list` prints: `key`, a line's end, the value, a zero byte.
fn parse(text: &str, locality: Locality) -> Result<Vec<Declared>, Failure> {
    let mut sections: Vec<Section> = Vec::new();
    for entry in text.split_terminator('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
        let inner = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.'));
        let Some((name, key)) = inner else { return Err(refused(&format!("has `{key}`, which is no submodule's"))) };
        let index = match sections.iter().position(|section| section.name == name) {
            Some(index) => index,
            None => {
                sections.push(Section { name: name.to_owned(), ..Section::default() });
                sections.len() - 1
            }
        };
        if sections.len() > SUBMODULES_MAX {
            return Err(refused("declares more than 64 submodules"));
        }
        let set = sections[index].set(key, value, locality);
        set.map_err(|reason| refused(&format!("submodule `{name}`: `{key}` is `{value}`: it {reason}")))?;
    }
    let declared = sections.into_iter().map(Section::finish).collect::<Result<Vec<_>, Failure>>()?;
    apart(&declared)?;
    Ok(declared)
}

impl Section {
    fn set(&mut self, key: &str, value: &str, locality: Locality) -> Result<(), &'static str> {
        if self.seen.iter().any(|seen| seen == key) {
            return Err("is said twice");
        }
        self.seen.push(key.to_owned());
        match key {
            "path" => self.path = Some(FolderPath::parse(value)?),
            "url" => self.address = Some(Address::parse(value, locality)?),
            "shallow" => self.is_shallow = boolean(value)?,
            // Not followed: a submodule is at the commit that the checkout names.
            "branch" => drop(BranchName::parse(value)?),
            "ignore" | "fetchrecursesubmodules" => {}
            "update" if value == "checkout" => {}
            "update" => return Err("is another way than `checkout`"),
            _ => return Err("is a setting that has no meaning here"),
        }
        Ok(())
    }

    fn finish(self) -> Result<Declared, Failure> {
        let name = SubmoduleName::parse(&self.name)
            .map_err(|reason| refused(&format!("submodule `{}`: its name {reason}", self.name)))?;
        let (Some(path), Some(address)) = (self.path, self.address) else {
            return Err(refused(&format!("submodule `{name}` has no `path` or no `url`")));
        };
        Ok(Declared { name, path, address, is_shallow: self.is_shallow })
    }
}

/// No two share a folder or a repository, and none lies within another's, on any file system.
fn apart(declared: &[Declared]) -> Result<(), Failure> {
    let within = |one: &str, other: &str| {
        let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
        one == other || one.starts_with(&format!("{other}/"))
    };
    for (index, one) in declared.iter().enumerate() {
        for (_, other) in declared.iter().enumerate().filter(|(place, _)| *place != index) {
            if within(one.name.as_str(), other.name.as_str()) || within(one.path.as_str(), other.path.as_str()) {
                return Err(refused(&format!("submodules `{}` and `{}` lie within each other", one.name, other.name)));
            }
        }
    }
    Ok(())
}

fn boolean(value: &str) -> Result<bool, &'static str> {
    match value {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("is neither true nor false"),
    }
}

fn refused(reason: &str) -> Failure {
    Failure::new(format!("`{FILE}` is refused: {reason}"))
        .hint("nothing was fetched; `git log -p .gitmodules` shows who wrote it")
}

#[cfg(test)]
mod tests {
    use super::{Locality, parse};

    fn file(entries: &[(&str, &str)]) -> String {
        entries.iter().map(|(key, value)| format!("submodule.{key}\n{value}\0")).collect()
    }

    #[test]
    fn what_is_declared_is_read() {
        let text = file(&[
            ("a.path", "reference/a"),
            ("a.url", "https://example.org/a"),
            ("a.shallow", "true"),
            ("b.c.url", "https://example.org/b"),
            ("b.c.path", "reference/b"),
        ]);
        let declared = parse(&text, Locality::Remote).expect("it is in order");
        let shown: Vec<_> = declared.iter().map(|one| (one.name.as_str(), one.path.as_str(), one.is_shallow)).collect();
        assert_eq!(shown, [("a", "reference/a", true), ("b.c", "reference/b", false)]);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let good = [("a.path", "a"), ("a.url", "https://example.org/a")];
        for (entry, word) in [
            (("a.update", "!touch x"), "update"),
            (("a.path", "b"), "twice"),
            (("a.shallow", "maybe"), "shallow"),
            (("a.branch", "-x"), "branch"),
            (("a.frobnicate", "1"), "frobnicate"),
            (("A.path", "z"), "no `url`"),
        ] {
            let text = file(&[&good[..], &[entry]].concat());
            let failure = parse(&text, Locality::Remote).expect_err(word);
            assert!(failure.message.contains(word), "{failure:?}");
        }
        assert!(parse("core.fsmonitor\ntouch x\0", Locality::Remote).is_err());
        assert!(parse("submodule.x\n1\0", Locality::Remote).is_err());
    }

    #[test]
    fn submodules_lie_apart() {
        for (path, name) in [("a", "b"), ("A/x", "b"), ("c", "A"), ("c", "a/modules"), ("a/b", "c")] {
            let key = |key: &str| format!("{name}.{key}");
            let (path_key, url_key) = (key("path"), key("url"));
            let url = "https://example.org/x";
            let text = file(&[("a.path", "a"), ("a.url", url), (&path_key, path), (&url_key, url)]);
            assert!(parse(&text, Locality::Remote).is_err(), "{path} {name}");
        }
    }
}
