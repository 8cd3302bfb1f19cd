//! `git submodules`: the repositories of `reference/`, fetched when somebody wants them. Nothing that is built or tested
//! needs one.

use clap::Subcommand;
use serde::Serialize;

use super::{ask, show_list};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::backup::Kept;
use crate::git::parallel::{Board, each};
use crate::git::repository::Repository;
use crate::git::submodules::{self, State, Submodule};
use crate::git::update::{Edits, Outcome, Updater};

mod branch;
mod list;
mod reset;
mod status;
mod update;

/// Look after the submodules
///
/// Each is fetched on demand, without its history, and left alone where somebody works in it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask git submodules status
  cargo xtask git submodules update candle
  cargo xtask git submodules branch candle metal-fixes")]
pub enum Verb {
    List(list::Args),
    Status(status::Args),
    Update(update::Args),
    Reset(reset::Args),
    Branch(branch::Args),
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::List(args) => args.run(globals),
            Verb::Status(args) => args.run(globals),
            Verb::Update(args) => args.run(globals),
            Verb::Reset(args) => args.run(globals),
            Verb::Branch(args) => args.run(globals),
        }
    }
}

impl Verb {
    /// Whether it asks before it takes something away.
    pub fn asks(&self) -> bool {
        matches!(self, Verb::Reset(_))
    }
}

/// A submodule as it is printed.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    path: String,
    state: &'static str,
    /// The commit that the checkout names.
    commit: Option<String>,
    /// The commit that is checked out.
    head: Option<String>,
    branch: Option<String>,
    dirty: bool,
    changes: String,
    /// Why it is not looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Row {
    /// What is known of it.
    pub fn of(submodule: &Submodule) -> Self {
        let reason = match &submodule.state {
            State::Strange(reason) => Some(reason.clone()),
            _ => None,
        };
        Self {
            name: submodule.name().to_owned(),
            path: submodule.declared.path.as_str().to_owned(),
            state: submodule.state.word(),
            commit: submodule.pinned.as_ref().map(|commit| commit.as_str().to_owned()),
            head: submodule.head().map(|commit| commit.as_str().to_owned()),
            branch: submodule.branch().map(str::to_owned),
            dirty: submodule.changes.as_ref().is_some_and(|changes| !changes.is_clean()),
            changes: submodule.changes_words(),
            reason,
        }
    }

    /// For people.
    pub fn cells(&self) -> Vec<String> {
        let short = |commit: &Option<String>| commit.as_ref().map_or("-", |commit| &commit[..10]).to_owned();
        let place = match (self.state, &self.branch, &self.reason) {
            (_, _, Some(reason)) => reason.clone(),
            ("other", Some(branch), None) => format!("at {} on {branch}, {}", short(&self.head), self.changes),
            ("other", None, None) => format!("at {}, {}", short(&self.head), self.changes),
            (_, Some(branch), None) => format!("on {branch}, {}", self.changes),
            _ => self.changes.clone(),
        };
        vec![self.name.clone(), self.state.to_owned(), short(&self.commit), place]
    }
}

/// What became of a submodule, as an event and in the last one.
#[derive(Clone, Serialize)]
pub(super) struct Brought {
    event: &'static str,
    submodule: String,
    outcome: &'static str,
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_branch: Option<String>,
    #[serde(skip_serializing_if = "Kept::is_empty")]
    kept: Kept,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Those that there are files of.
pub(super) fn here(submodules: Vec<Submodule>) -> Vec<Submodule> {
    submodules.into_iter().filter(Submodule::is_here).collect()
}

/// Brings submodules to their commits, side by side; one that fails does not stop the others.
pub(super) fn bring(
    globals: &Globals,
    repository: &Repository,
    submodules: &[Submodule],
    edits: Edits,
) -> Result<Vec<Brought>, Failure> {
    let is_right = |one: &Submodule| one.state == State::Right && edits == Edits::Refuse && !Updater::was_killed(one);
    if submodules.iter().all(is_right) && !Updater::has_left_something(repository) {
        return Ok(submodules.iter().map(|one| Brought::new(one, "unchanged")).collect());
    }
    let board = Board::new(globals.output);
    let updater = Updater::start(repository, &board, edits)?;
    // Whoever was waited for may have done it.
    let fresh = if updater.has_waited { submodules::again(repository, submodules)? } else { submodules.to_vec() };
    let outcomes = each(&fresh, |submodule| {
        let outcome = updater.bring(submodule);
        tell(globals, &board, submodule, &outcome).map(|brought| (brought, outcome.err()))
    });
    drop(updater);
    drop(board);
    let (mut brought, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let (one, failure) = outcome?;
        brought.push(one);
        failures.extend(failure);
    }
    match (failures.iter().position(Failure::is_interrupt), failures.len()) {
        (_, 0) => Ok(brought),
        (Some(index), _) => Err(failures.swap_remove(index)),
        (None, 1) => Err(failures.swap_remove(0)),
        (None, count) => {
            let message = format!("{count} submodules could not be brought to their commits");
            let hint = failures[0].hint.clone();
            Err(Failure::new(message).known(failures.into_iter().map(|one| one.message).collect()).maybe_hint(hint))
        }
    }
}

/// Says what became of one, as soon as it did.
fn tell(
    globals: &Globals,
    board: &Board,
    submodule: &Submodule,
    outcome: &Result<Outcome, Failure>,
) -> Result<Brought, Failure> {
    let mut brought = Brought::new(submodule, "unchanged");
    let name = submodule.name();
    match outcome {
        Ok(Outcome::Unchanged) => {}
        Ok(Outcome::Updated { from, left_branch, kept }) => {
            brought.outcome = "updated";
            brought.from = from.as_ref().map(|commit| commit.as_str().to_owned());
            brought.left_branch.clone_from(left_branch);
            brought.kept.clone_from(kept);
            let to = submodule.pinned.as_ref().map_or("", |commit| commit.short());
            let from = from.as_ref().map_or_else(String::new, |commit| format!("{} → ", commit.short()));
            let branch = left_branch.as_ref().map(|branch| {
                format!("; it was on {branch}: `cargo xtask git submodules branch {name} {branch}` goes back")
            });
            if !globals.output.json {
                board.note(format_args!("{name}: {from}{to}{}", branch.unwrap_or_default()));
                kept.words(Some(submodule.declared.path.as_str())).iter().for_each(|line| board.note(line));
            }
        }
        Err(failure) => {
            brought.outcome = "failed";
            brought.message = Some(failure.message.clone());
        }
    }
    globals.output.event(&brought)?;
    Ok(brought)
}

impl Brought {
    fn new(submodule: &Submodule, outcome: &'static str) -> Self {
        Self {
            event: "submodule",
            submodule: submodule.name().to_owned(),
            outcome,
            commit: submodule.pinned.as_ref().map(|commit| commit.as_str().to_owned()),
            from: None,
            left_branch: None,
            kept: Kept::default(),
            message: None,
        }
    }
}
