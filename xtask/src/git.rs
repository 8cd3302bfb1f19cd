//! Calls of git: one environment for all of them, in which git asks nobody and runs nothing it was not asked to.
//!
//! What the verbs do with it is in `verbs/git` and `git/`; sending a tree to another machine is in `remote`.

use std::path::Path;

use crate::failure::Failure;
use crate::process::{Call, Group};

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

/// A call of git in `folder`. It never asks for a password, and a submodule's address cannot name a program or a file.
pub fn call(folder: &Path) -> Call {
    let call = Call::new("git").dir(folder).args(["-c", "protocol.file.allow=user", "-c", "protocol.ext.allow=never"]);
    let call = call.env("GIT_TERMINAL_PROMPT", "0");
    REPOSITORY_VARIABLES.into_iter().fold(call, Call::env_remove)
}

/// The commit of the checkout, `-dirty` appended if files differ from it; `unknown` outside git.
pub fn commit(root: &Path) -> Result<String, Failure> {
    let unknown = || String::from("unknown");
    let Ok(head) = call(root).args(["rev-parse", "HEAD"]).ask(Group::Shared) else { return Ok(unknown()) };
    if head.code != 0 {
        return Ok(unknown());
    }
    let changes = call(root).args(["status", "--porcelain"]).ask(Group::Shared)?;
    Ok(if changes.stdout.is_empty() { head.text() } else { format!("{}-dirty", head.text()) })
}
