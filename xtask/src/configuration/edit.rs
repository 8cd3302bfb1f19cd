//! Changing the configuration file and nothing in it but what was asked for: comments and order stay.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::{Profile, broken, broken_toml};
use crate::failure::Failure;

/// Writes a profile into `file`; false if one of that name stood there and was replaced.
///
/// # Errors
/// A file that cannot be understood or written.
pub fn add_host(file: &Path, name: &str, profile: &Profile) -> Result<bool, Failure> {
    let _alone = lock(file)?;
    let mut document = read(file)?;
    let hosts = hosts(&mut document, file)?;
    let is_new = !hosts.contains_key(name);
    let entry = hosts.entry(name).or_insert_with(|| Item::Table(Table::new()));
    let table = entry.as_table_like_mut().ok_or_else(|| broken(file, &format!("`hosts.{name}` is no table")))?;
    let list = |texts: &[String]| value(texts.iter().map(String::as_str).collect::<Array>());
    let backends: Vec<String> = profile.backends.iter().map(ToString::to_string).collect();
    table.insert("ssh", value(profile.ssh.to_string()));
    // What was not given is left as it stands there.
    if let Some(repo) = &profile.repo {
        table.insert("repo", value(repo));
    }
    for (key, texts) in [("backends", &backends), ("tags", &profile.tags), ("path", &profile.path)] {
        if !texts.is_empty() {
            table.insert(key, list(texts));
        }
    }
    for (variable, text) in &profile.env {
        let variables = table.entry("env").or_insert_with(|| Item::Table(Table::new()));
        let variables = variables.as_table_like_mut();
        let variables = variables.ok_or_else(|| broken(file, &format!("`hosts.{name}.env` is no table")))?;
        variables.insert(variable, value(text));
    }
    write(file, &document.to_string())?;
    Ok(is_new)
}

/// Takes a profile out of `file`; false if there was none of that name.
///
/// # Errors
/// A file that cannot be understood or written.
pub fn remove_host(file: &Path, name: &str) -> Result<bool, Failure> {
    let _alone = lock(file)?;
    let mut document = read(file)?;
    let was_there = hosts(&mut document, file)?.remove(name).is_some();
    if was_there {
        write(file, &document.to_string())?;
    }
    Ok(was_there)
}

/// Reading, changing and writing are one step for everybody else; held until the file is dropped.
fn lock(file: &Path) -> Result<std::fs::File, Failure> {
    let folder = make_folder(file)?;
    let path = folder.join(".config.toml.lock");
    let failed = |error: std::io::Error| Failure::new(format!("cannot lock `{}`: {error}", path.display()));
    let locked = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    locked.lock().map_err(failed)?;
    Ok(locked)
}

/// What a new file says: nothing, and how to say something.
const DEFAULT_TEXT: &str = "\
# Settings of llorch. What is not set here is taken from the system's file, then from the program; `dev check` prints each
# value with where it came from.

# [remote]
# connect_timeout_seconds = 10
# keepalive_seconds = 5

# A host for `--remote`. `remote hosts add` writes these, `remote hosts check` tries them.
# [hosts.workstation]
# ssh = \"me@workstation.lan\"
# repo = \"llorch\"
# backends = [\"cpu\", \"cuda\"]
# tags = [\"gpu\"]
";

/// Writes a file that only explains itself; false if there is one already, which stays as it is.
///
/// # Errors
/// It cannot be written.
pub fn write_default(file: &Path) -> Result<bool, Failure> {
    if std::fs::symlink_metadata(file).is_ok() {
        return Ok(false);
    }
    write(file, DEFAULT_TEXT)?;
    Ok(true)
}

fn read(file: &Path) -> Result<DocumentMut, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::new(format!("cannot read `{}`: {error}", file.display()))),
    };
    text.parse().map_err(|error: toml_edit::TomlError| broken_toml(file, &error.to_string(), error.message()))
}

fn hosts<'a>(document: &'a mut DocumentMut, file: &Path) -> Result<&'a mut Table, Failure> {
    let hosts = document.entry("hosts").or_insert_with(|| {
        let mut table = Table::new();
        // Only `[hosts.NAME]` is worth a line.
        table.set_implicit(true);
        Item::Table(table)
    });
    hosts.as_table_mut().ok_or_else(|| broken(file, "`hosts` is no table"))
}

/// Whole or not at all; readable by its owner only, because a profile's variables may be secrets.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    // A linked file (of a collection of dotfiles) stays a link.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = make_folder(&file)?;
    let temporary = folder.join(format!(".config.toml.{}", std::process::id()));
    let mode = std::fs::metadata(&file).ok().map(|data| data.permissions());
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            mode.map_or(Ok(()), |mode| new.set_permissions(mode))?;
            new.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, &file));
    written.map_err(|error| {
        let _never_made = std::fs::remove_file(&temporary);
        unwritable(&file, &error)
    })
}

/// The folder of the file, which is there then.
fn make_folder(file: &Path) -> Result<&Path, Failure> {
    let folder = file.parent().ok_or_else(|| Failure::new("a configuration file lies in a folder"))?;
    std::fs::create_dir_all(folder).map_err(|error| unwritable(file, &error))?;
    Ok(folder)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot write `{}`: {error}", file.display()));
    failure.hint("set `HOME` or `XDG_CONFIG_HOME` to a folder that can be written to")
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_TEXT, add_host, remove_host, write_default};
    use crate::configuration::Configuration;

    #[test]
    fn a_host_comes_and_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/config.toml");
        let text = "# mine\n[remote]\nkeepalive_seconds = 3 # quick\n\n[hosts.a]\nssh = 'x' # old\ntags = ['t']\n";
        std::fs::create_dir(folder.path().join("deep")).expect("a folder");
        std::fs::write(&file, text).expect("a file");
        let read = || Configuration::read(std::slice::from_ref(&file)).expect("a configuration");
        let mut profile = read().hosts["a"].clone();
        profile.ssh = "me@it".parse().expect("a destination");
        profile.env.insert("CUDA_HOME".into(), "it's \"here\"".into());
        assert!(add_host(&file, "b", &profile).expect("written"));
        assert!(!add_host(&file, "a", &profile).expect("written"));
        assert_eq!(read().hosts["b"], profile);
        assert!(remove_host(&file, "b").expect("written") && !remove_host(&file, "b").expect("nothing to do"));
        let after = std::fs::read_to_string(&file).expect("a file");
        assert!(after.starts_with("# mine\n[remote]\nkeepalive_seconds = 3 # quick\n\n[hosts.a]\n"), "{after}");
        assert!(after.contains("tags = [\"t\"]") && !after.contains("hosts.b"), "{after}");
    }

    #[test]
    fn the_default_sets_nothing_and_what_it_shows_is_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llorch/config.toml");
        let read = || Configuration::read(std::slice::from_ref(&file)).expect("a configuration");
        let nothing = read();
        assert!(write_default(&file).expect("written"));
        assert_eq!(read(), nothing);
        let shown = DEFAULT_TEXT.lines().filter_map(|line| line.strip_prefix("# "));
        let shown: Vec<&str> = shown.filter(|line| line.starts_with('[') || line.contains(" = ")).collect();
        std::fs::write(&file, shown.join("\n")).expect("a file");
        assert_eq!(read().remote, nothing.remote);
        assert_eq!(read().hosts["workstation"].tags, ["gpu"]);
        assert!(!write_default(&file).expect("left alone") && !read().hosts.is_empty());
    }

    #[test]
    fn the_first_host_makes_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llorch/config.toml");
        let profile = crate::configuration::Profile {
            ssh: "box".parse().expect("a destination"),
            repo: Some("src/llorch".into()),
            backends: vec![protocol::identifiers::Backend::Cuda],
            tags: Vec::new(),
            path: Vec::new(),
            env: std::collections::BTreeMap::new(),
            file: file.clone(),
        };
        assert!(add_host(&file, "box", &profile).expect("written"));
        let text = std::fs::read_to_string(&file).expect("a file");
        assert_eq!(text, "[hosts.box]\nssh = \"box\"\nrepo = \"src/llorch\"\nbackends = [\"cuda\"]\n");
    }
}
