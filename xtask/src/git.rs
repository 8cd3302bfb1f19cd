//! Calls of git: one environment for all of them, in which git asks nobody and runs nothing it was not asked to.
//!
//! What the verbs do with it is in `verbs/git` and `git/`; sending a tree to another machine is in `remote`.

use std::path::Path;

use crate::failure::Failure;
use crate::interrupt;
use crate::process::{Call, Ended, Group, exit_code};

pub mod address;
pub mod backup;
pub mod changes;
pub mod losses;
pub mod modules_file;
pub mod names;
pub mod parallel;
pub mod place;
pub mod repository;
pub mod submodules;
pub mod update;

/// Variables with which a surrounding git (a hook, an alias) would make ours work on its own repository.
const REPOSITORY_VARIABLES: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];
/// Lines of what git said that an error repeats.
const COMPLAINTS_MAX: usize = 12;

/// A call of git in `folder`. It never asks for a password, and a submodule's address cannot name a program or a file.
/// What it says is in English, because some of it is read here.
pub fn call(folder: &Path) -> Call {
    let call = Call::new("git").dir(folder).args(["-c", "protocol.file.allow=user", "-c", "protocol.ext.allow=never"]);
    let call = call.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    // What ssh would ask, it asks a program that answers nothing: a missing key fails at once, on a terminal too.
    let call = call.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
    REPOSITORY_VARIABLES.into_iter().fold(call, Call::env_remove)
}

/// Runs a call out of sight; any exit code but 0 is a failure that repeats what git said.
pub fn answer(call: &Call) -> Result<Ended, Failure> {
    let ended = call.ask(Group::Own)?;
    if ended.code == 0 { Ok(ended) } else { Err(refusal(call, &ended)) }
}

/// Runs a call that clears up after something that was interrupted; a Ctrl-C does not stop it.
pub fn clear_up(call: &Call) -> Result<(), Failure> {
    let expression = call.expression().stdin_null().stdout_null().stderr_null();
    let ended = call.start(&expression)?;
    let ended = ended.wait().map_err(|error| Failure::new(format!("cannot wait for `{call}`: {error}")))?;
    match exit_code(ended.status) {
        0 => Ok(()),
        code => Err(call.failed(code)),
    }
}

/// The failure of a call that ended with another exit code than 0, in git's own words.
pub fn refusal(call: &Call, ended: &Ended) -> Failure {
    if let Err(interrupted) = interrupt::check() {
        return interrupted;
    }
    let mut said = ended.complaints();
    let first = said.len().saturating_sub(COMPLAINTS_MAX);
    let mut said = said.split_off(first).into_iter();
    match said.next() {
        Some(first) => {
            let plain = ["fatal: ", "error: "].iter().find_map(|word| first.strip_prefix(word)).unwrap_or(&first);
            Failure::new(format!("git: {plain}")).known(said.collect())
        }
        None => call.failed(ended.code),
    }
}

/// Whether git said one of these words.
pub fn said(failure: &Failure, words: &[&str]) -> bool {
    let mut lines = failure.known.iter().chain([&failure.message]);
    lines.any(|line| words.iter().any(|word| line.contains(word)))
}

/// The commit of the checkout, `-dirty` appended if files differ from it; `unknown` outside git. What lies in a
/// submodule reaches no build and does not count.
pub fn commit(root: &Path) -> Result<String, Failure> {
    // One call for both: it is made before every build.
    let call = call(root).args(["status", "--porcelain=v2", "--branch", "--ignore-submodules=all"]);
    let text = match call.ask(Group::Shared) {
        Ok(status) if status.code == 0 => status.text(),
        Err(failure) if failure.is_interrupt() => return Err(failure),
        // No git, or no repository.
        Ok(_) | Err(_) => String::new(),
    };
    let (facts, changes): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("# "));
    let head = facts.iter().find_map(|line| line.strip_prefix("# branch.oid ")).filter(|head| !head.starts_with('('));
    Ok(match (head, changes.is_empty()) {
        (None, _) => String::from("unknown"),
        (Some(head), true) => head.to_owned(),
        (Some(head), false) => format!("{head}-dirty"),
    })
}
