//! `git status`: branch, changes, submodules, and what they would be built with.

use std::path::Path;

use serde::Serialize;

use super::submodules::Row;
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::changes::Changes;
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look};
use crate::output::{Output, neutralise, table};
use crate::process::{Call, Group};

/// Paths of one kind that people are shown; with `--json` all of them are there.
const PATHS_SHOWN: usize = 20;

/// Show branch, changes, every submodule, toolchain and system
///
/// Asks no network: ahead and behind are as of the last fetch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git status
  cargo xtask git status --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    branch: Option<String>,
    commit: Option<String>,
    upstream: Option<String>,
    ahead: Option<u64>,
    behind: Option<u64>,
    /// A rebase or a merge that is under way.
    operation: Option<&'static str>,
    clean: bool,
    staged: Vec<String>,
    unstaged: Vec<String>,
    untracked: Vec<String>,
    conflicts: Vec<String>,
    submodules: Vec<Row>,
    toolchain: Toolchain,
    system: String,
}

#[derive(Serialize)]
struct Toolchain {
    rustc: Option<String>,
    cargo: Option<String>,
    git: Option<String>,
}

impl Args {
    /// Asks everything at once, prints it.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let repository = Repository::open()?;
        let root = &repository.tree.folder;
        let (changes, submodules, toolchain) = std::thread::scope(|scope| {
            // A toolchain's front end takes longer than the rest together.
            let toolchain = scope.spawn(|| toolchain(root));
            let changes = scope.spawn(|| repository.tree.changes_noted());
            let submodules = submodules::all(&repository, Look::Edits);
            let panicked = |_| Failure::new("a thread that asked git panicked");
            let changes = changes.join().map_err(panicked).and_then(|changes| changes);
            (changes, submodules, toolchain.join().map_err(panicked))
        });
        let (changes, toolchain) = (changes?, toolchain?);
        // Whoever gets a bad `.gitmodules` by a pull needs this verb to see it.
        let submodules = submodules.unwrap_or_else(|failure| {
            globals.output.warning(neutralise(&failure.message));
            Vec::new()
        });
        let document = Document {
            branch: changes.branch.clone(),
            commit: changes.head.as_ref().map(|head| head.as_str().to_owned()),
            upstream: changes.upstream.clone(),
            ahead: changes.distance.map(|(ahead, _)| ahead),
            behind: changes.distance.map(|(_, behind)| behind),
            operation: repository.tree.operation(),
            clean: changes.is_clean(),
            submodules: submodules.iter().map(Row::of).collect(),
            toolchain,
            system: system(),
            staged: changes.staged.clone(),
            unstaged: changes.unstaged.clone(),
            untracked: changes.untracked.clone(),
            conflicts: changes.conflicts.clone(),
        };
        if globals.output.json {
            globals.output.value(&document)?;
        } else {
            print(globals.output, &document, &changes)?;
        }
        Ok(0)
    }
}

fn print(output: Output, document: &Document, changes: &Changes) -> Result<(), Failure> {
    let line = |name: &str, text: &str| output.line(&neutralise(&format!("{name:<11} {text}")));
    line("branch", &branch_words(document))?;
    line("commit", document.commit.as_deref().unwrap_or("none yet"))?;
    if let Some(operation) = document.operation {
        line("under way", &format!("a {operation}"))?;
    }
    line("changes", &changes.words())?;
    for (kind, paths) in [
        ("conflict", &document.conflicts),
        ("staged", &document.staged),
        ("changed", &document.unstaged),
        ("untracked", &document.untracked),
    ] {
        for path in paths.iter().take(PATHS_SHOWN) {
            line("", &format!("{kind:<9} {path}"))?;
        }
        if paths.len() > PATHS_SHOWN {
            line("", &format!("{kind:<9} … and {} more", paths.len() - PATHS_SHOWN))?;
        }
    }
    for (index, row) in table(&document.submodules.iter().map(Row::cells).collect::<Vec<_>>()).iter().enumerate() {
        line(if index == 0 { "submodules" } else { "" }, row)?;
    }
    let tools = &document.toolchain;
    let tools = [("rustc", &tools.rustc), ("cargo", &tools.cargo), ("git", &tools.git)];
    let word = |(name, version): (&str, &Option<String>)| version.clone().unwrap_or_else(|| format!("no {name}"));
    line("toolchain", &tools.map(word).join(", "))?;
    line("system", &document.system)
}

fn branch_words(document: &Document) -> String {
    let branch = document.branch.as_deref().unwrap_or("none: a commit is checked out by itself");
    match (&document.upstream, document.ahead, document.behind) {
        (Some(upstream), Some(0), Some(0)) => format!("{branch}, level with {upstream}"),
        (Some(upstream), Some(ahead), Some(behind)) => {
            format!("{branch}, {ahead} ahead of {upstream}, {behind} behind")
        }
        (Some(upstream), _, _) => format!("{branch}, follows {upstream}, which is gone"),
        (None, _, _) if document.branch.is_some() => format!("{branch}, follows nothing"),
        (None, _, _) => branch.to_owned(),
    }
}

fn toolchain(root: &Path) -> Toolchain {
    // Asked, rustup answers; it does not fetch a toolchain for that.
    let version = |program: &str| {
        let call = Call::new(program).args(["--version"]).dir(root).env("RUSTUP_AUTO_INSTALL", "0");
        call.ask(Group::Own).ok().filter(|ended| ended.code == 0).map(|ended| ended.text())
    };
    Toolchain { rustc: version("rustc"), cargo: version("cargo"), git: version("git") }
}

/// The name that the system gives itself, and the processor's.
fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    let name = name.unwrap_or(std::env::consts::OS);
    format!("{name}, {}", std::env::consts::ARCH)
}
