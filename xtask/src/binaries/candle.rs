//! Building a worker against a checkout of candle instead of the released crates, to try one of its branches.
//!
//! It runs in a workspace of its own (`second_workspace.rs`), in which the checkout's crates replace the released ones.

use std::path::Path;

use anyhow::Context;

use crate::failure::Failure;
use crate::process::Group;
use crate::second_workspace::SecondWorkspace;
use crate::{cargo, git};

/// What is patched: the crates of the lock that candle's repository holds.
const FAMILY: &str = "candle-";
/// Where this checkout has candle, if it was asked for.
const SUBMODULE: &str = "reference/candle";
/// The folder below cargo's target folder.
const FOLDER: &str = "with-candle";
/// A checkout of candle whose crates are of the versions that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Its commit, `-dirty` appended if files differ.
    pub mark: String,
    /// Where it is built with.
    pub workspace: SecondWorkspace,
}

impl Checkout {
    /// Looks at the checkout in `folder`.
    ///
    /// # Errors
    /// It is none of candle's, or its crates are of other versions than this workspace needs.
    pub fn read(root: &Path, folder: &Path) -> Result<Self, Failure> {
        let given = folder;
        let folder = std::path::absolute(folder).context("the checkout has no absolute path")?;
        if !folder.join("candle-core/Cargo.toml").is_file() {
            let lacks = "there is no `candle-core/Cargo.toml` in it";
            let failure = Failure::usage(format!("`{}` holds no checkout of candle: {lacks}", given.display()));
            let is_submodule = folder.ends_with(SUBMODULE);
            let clone = "name the folder of a clone of candle's repository";
            return Err(failure.hint(if is_submodule { "cargo xtask git submodules update candle" } else { clone }));
        }
        let lock = parse(&root.join("Cargo.lock"))?;
        let workspace = parse(&folder.join("Cargo.toml")).ok();
        let mut crates = Vec::new();
        for (name, needed) in family(&lock) {
            let manifest = folder.join(&name).join("Cargo.toml");
            if !manifest.is_file() {
                continue;
            }
            let found = version(&parse(&manifest)?, workspace.as_ref());
            if found.as_deref() != Some(needed.as_str()) {
                let found = found.unwrap_or_else(|| String::from("no version"));
                let message = format!("`{}` has {name} {found}, this workspace needs {needed}", given.display());
                let failure = Failure::new(message).hint("cargo xtask git submodules branch candle BRANCH");
                return Err(failure.known(vec![String::from("only a branch of that version can stand in for it")]));
            }
            crates.push((name.clone(), folder.join(name)));
        }
        let place = cargo::target_directory(root)?.join(FOLDER);
        let workspace = SecondWorkspace { root: root.to_owned(), place, replaced: crates };
        Ok(Self { mark: mark(&folder)?, workspace })
    }
}

fn parse(path: &Path) -> Result<toml::Table, Failure> {
    let text = fs_err::read_to_string(path)?;
    text.parse().map_err(|error| Failure::new(format!("`{}` cannot be read: {error}", path.display())))
}

/// Names and versions of candle's crates in a lock.
fn family(lock: &toml::Table) -> Vec<(String, String)> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let rows = packages.filter_map(|package| Some((text(package, "name")?, text(package, "version")?)));
    rows.filter(|(name, _)| name.starts_with(FAMILY)).collect()
}

/// The version in a manifest, or the one it takes from its workspace.
fn version(manifest: &toml::Table, workspace: Option<&toml::Table>) -> Option<String> {
    let version = manifest.get("package")?.get("version")?;
    let of_workspace = || workspace?.get("workspace")?.get("package")?.get("version")?.as_str();
    version.as_str().or_else(of_workspace).map(str::to_owned)
}

/// The commit of the checkout itself: a folder that is none would be answered for by the repository around it.
fn mark(folder: &Path) -> Result<String, Failure> {
    let asked = git::call(folder).args(["rev-parse", "--show-prefix"]).ask(Group::Own)?;
    if asked.code == 0 && asked.text().is_empty() { git::commit(folder) } else { Ok(String::from("unknown")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Checkout, family, version};
    use crate::scratch::Scratch;

    fn table(text: &str) -> toml::Table {
        text.parse().expect("TOML")
    }

    #[test]
    fn versions_are_found_in_locks_manifests_and_workspaces() {
        let lock = table(
            "[[package]]\nname = \"candle-nn\"\nversion = \"0.11.1\"\n[[package]]\nname = \"half\"\nversion = \"2.7.1\"\n",
        );
        assert_eq!(family(&lock), [(String::from("candle-nn"), String::from("0.11.1"))]);
        let inherited = table("[package]\nversion.workspace = true");
        let workspace = table("[workspace.package]\nversion = \"0.9.0\"");
        assert_eq!(version(&inherited, Some(&workspace)).as_deref(), Some("0.9.0"));
        assert_eq!(version(&table("[package]\nversion = \"1.0.0\""), Some(&workspace)).as_deref(), Some("1.0.0"));
        assert_eq!(version(&inherited, None), None);
    }

    #[test]
    fn another_version_and_another_folder_are_refused() {
        let scratch = Scratch::new("candle-test").expect("a folder");
        let (root, candle) = (scratch.path(), scratch.path().join("candle"));
        let write = |path: &Path, text: &str| {
            fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs_err::write(path, text).expect("a file");
        };
        let missing = Checkout::read(root, &candle).expect_err("nothing there");
        assert!(missing.message.contains("no checkout of candle") && missing.exit_code == 2);
        write(&root.join("Cargo.lock"), "[[package]]\nname = \"candle-core\"\nversion = \"0.11.1\"\n");
        write(&candle.join("candle-core/Cargo.toml"), "[package]\nname = \"candle-core\"\nversion = \"0.10.2\"\n");
        let other = Checkout::read(root, &candle).expect_err("another version");
        assert!(other.message.contains("has candle-core 0.10.2, this workspace needs 0.11.1"), "{}", other.message);
    }
}
