//! `git`: the checkout and its submodules together. What is asked of git, and how, is in `crate::git`.

use clap::Subcommand;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::parallel::Board;
use crate::git::repository::Tree;
use crate::output::Output;
use crate::question::ask;

mod branches;
mod clean;
mod log;
mod pull;
mod status;
mod submodules;
mod sync;

/// Lines of a list that people are shown before a question; with `--json` all of it is there.
const SHOWN_MAX: usize = 30;

/// Look after the checkout and its submodules
///
/// What could lose work shows what that is, asks, and keeps it under a name that it prints.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask git status
  cargo xtask git pull
  cargo xtask git submodules update candle")]
pub enum Verb {
    Status(status::Args),
    Pull(pull::Args),
    Sync(sync::Args),
    Clean(clean::Args),
    Branches(branches::Args),
    Log(log::Args),
    #[command(subcommand)]
    Submodules(submodules::Verb),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::Status(args) => args.run(globals),
            Verb::Pull(args) => args.run(globals),
            Verb::Sync(args) => args.run(globals),
            Verb::Clean(args) => args.run(globals),
            Verb::Branches(args) => args.run(globals),
            Verb::Log(args) => args.run(globals),
            Verb::Submodules(verb) => verb.run(globals),
        }
    }
}

impl Verb {
    /// Whether it asks before it takes something away.
    pub fn asks(&self) -> bool {
        match self {
            Verb::Sync(args) => args.asks(),
            Verb::Clean(args) => args.asks(),
            Verb::Submodules(verb) => verb.asks(),
            Verb::Status(_) | Verb::Pull(_) | Verb::Branches(_) | Verb::Log(_) => false,
        }
    }
}

/// A list, for people who are about to be asked.
fn show_list(output: Output, lines: &[String]) {
    for line in lines.iter().take(SHOWN_MAX) {
        output.note(format_args!("  {}", crate::output::neutralise(line)));
    }
    if lines.len() > SHOWN_MAX {
        output.note(format_args!("  … and {} more", lines.len() - SHOWN_MAX));
    }
}

/// The remote and the reference that a branch follows; `None` if it follows nothing.
fn upstream_of(tree: &Tree, branch: &str) -> Result<Option<(String, String)>, Failure> {
    let format = "--format=%(upstream:remotename)%09%(upstream)";
    let text = tree.ask(&["for-each-ref", format, "--", &format!("refs/heads/{branch}")])?;
    let parts = text.lines().next().and_then(|line| line.split_once('\t'));
    let found = parts.filter(|(_, reference)| reference.starts_with("refs/"));
    Ok(found.map(|(remote, reference)| (remote.to_owned(), reference.to_owned())))
}

/// Fetches from a remote of the checkout; `.` and an empty name are the checkout itself.
fn fetch(tree: &Tree, board: &Board, remote: &str) -> Result<(), Failure> {
    if remote.is_empty() || remote == "." {
        return Ok(());
    }
    board.step(remote, "fetching");
    let fetched = tree.ask(&["fetch", "--quiet", "--no-recurse-submodules", "--end-of-options", remote]);
    board.finish(remote);
    fetched.map(drop).map_err(|failure| failure.hint("check the network and `git remote -v`, then again"))
}

/// The failure of a verb that does not start in the middle of something else.
fn refuse_operation(tree: &Tree) -> Result<(), Failure> {
    match tree.operation() {
        Some("bisect") | None => Ok(()),
        Some(operation) => Err(Failure::new(format!("a {operation} is under way in the checkout"))
            .hint(format!("finish it, or `git {operation} --abort`"))),
    }
}
