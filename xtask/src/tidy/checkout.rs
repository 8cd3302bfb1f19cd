//! What the rules look at: the texts of the checkout, and what cargo says about its packages. Read once.

use std::path::Path;

use anyhow::Context;

use crate::cargo;
use crate::failure::Failure;
use crate::process::Group;

/// Folders that are not ours to check: built, foreign, or data.
const SKIPPED: [&str; 6] = ["target", ".git", "reference", "corpus", "data", "artifacts"];
/// Endings of texts that are read.
const ENDINGS: [&str; 5] = ["rs", "toml", "md", "nix", "sh"];

/// A checkout, as the rules see it.
#[derive(Debug, Default)]
pub struct Checkout {
    /// Every text, by path.
    pub sources: Vec<Source>,
    /// The packages of the workspace.
    pub packages: Vec<Package>,
    /// Packages of the workspace that reach candle.
    pub reaches_candle: Vec<String>,
    /// Names of all crates that xtask links, its own included.
    pub xtask_links: Vec<String>,
}

/// A text.
#[derive(Debug)]
pub struct Source {
    /// Path within the checkout, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Path of its manifest within the checkout.
    pub manifest: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// One dependency.
#[derive(Debug)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// Whether only tests see it.
    pub is_dev: bool,
    /// Folder of a path dependency: within the checkout, or absolute where it is not.
    pub path: Option<String>,
}

impl Checkout {
    /// Reads files and asks cargo.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let mut checkout = Self::read_texts(root)?;
        checkout.packages = packages(root)?;
        let links = tree(root, &["--package", "xtask", "--edges", "normal"])?;
        checkout.xtask_links = links;
        let users = tree(root, &["--workspace", "--invert", "candle-core", "--edges", "normal,build"])?;
        let is_ours = |name: &String| checkout.packages.iter().any(|package| package.name == *name);
        checkout.reaches_candle = users.into_iter().filter(is_ours).collect();
        Ok(checkout)
    }

    /// The texts alone.
    pub fn read_texts(root: &Path) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        collect(root, root, &mut sources)?;
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { sources, ..Self::default() })
    }

    /// Rust files below `prefix`.
    pub fn rust<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Source> {
        self.sources.iter().filter(move |source| source.path.starts_with(prefix) && source.path.ends_with(".rs"))
    }

    /// The text at `path`.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }
}

impl Source {
    /// Numbered lines that are neither comments nor tests.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        // Tests close a file here.
        let before_tests = lines.take_while(move |(_, line)| !is_test && *line != "#[cfg(test)]");
        before_tests.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Numbered lines, all of them.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), Failure> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, sources)?;
            }
            continue;
        }
        let is_text = ENDINGS.iter().any(|ending| name.ends_with(&format!(".{ending}"))) || path.ends_with(".ci/run");
        if kind.is_file() && is_text {
            let relative = path.strip_prefix(root).context("a file of the checkout lies in it")?;
            let text = String::from_utf8_lossy(&fs_err::read(&path)?).into_owned();
            sources.push(Source { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
    Ok(())
}

/// The packages of this workspace.
///
/// # Errors
/// Cargo cannot say.
pub fn packages(root: &Path) -> Result<Vec<Package>, Failure> {
    let metadata = cargo::metadata(root, &["--no-deps"])?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let relative =
        |path: String| Path::new(&path).strip_prefix(root).map(|path| path.display().to_string()).unwrap_or(path);
    let dependency = |value: &serde_json::Value| Dependency {
        name: text(&value["name"]),
        is_dev: value["kind"] == "dev",
        path: value["path"].as_str().map(|path| relative(path.to_owned())),
    };
    let package = |value: &serde_json::Value| Package {
        name: text(&value["name"]),
        manifest: relative(text(&value["manifest_path"])),
        dependencies: value["dependencies"].as_array().into_iter().flatten().map(dependency).collect(),
    };
    Ok(metadata["packages"].as_array().into_iter().flatten().map(package).collect())
}

/// Names of the crates of a dependency tree, each once.
fn tree(root: &Path, arguments: &[&str]) -> Result<Vec<String>, Failure> {
    let call = cargo::call(root).args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]).args(arguments);
    let ended = call.capture(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code));
    }
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    // `name vVERSION …`: two versions of a crate are two crates.
    let mut lines: Vec<&str> =
        text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.into_iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}
