//! `git clean`: files that git does not know, moved out of the tree, or removed for good.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ask, show_list};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::{Repository, Tree};
use crate::interrupt;
use crate::process::print_plan;

/// Take away the files that git does not know
///
/// Never ignored files, never repositories within this one, never submodules. Shows what would go and asks; what goes is
/// moved to `.git/llorch/cleaned/`, from where it can be taken back. With `--force` it is removed for good, unasked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git clean --dry-run
  cargo xtask git clean --yes")]
pub struct Args {
    /// Remove for good, without a question
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<String>,
    /// Repositories within this one.
    left_alone: Vec<String>,
    /// Where the files are now; absent if they are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_to: Option<PathBuf>,
}

impl Args {
    /// Whether it may ask.
    pub fn asks(&self) -> bool {
        !self.force
    }

    /// Lists, asks, moves.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (tree, output) = (Repository::open()?.tree, globals.output);
        let [files, nested] = untracked(&tree)?;
        let left_alone: Vec<String> = nested.iter().map(|path| words(path)).collect();
        let lines: Vec<String> = files.iter().map(|path| words(path)).collect();
        if globals.dry_run {
            let verb = if self.force { "remove" } else { "move away" };
            return print_plan(output, &lines.iter().map(|line| format!("{verb} {line}")).collect::<Vec<_>>());
        }
        for path in &left_alone {
            output.note(format_args!("{path} is a repository of its own and left alone"));
        }
        if !files.is_empty() && !self.force && !globals.yes {
            show_list(output, &lines);
            if !ask(output, &format!("move these {} files out of the tree?", files.len()))? {
                output.note("nothing was changed");
                return Ok(1);
            }
        }
        interrupt::watch()?;
        let moved_to = if self.force || files.is_empty() { None } else { Some(shelf(&tree)?) };
        for path in &files {
            interrupt::check()?;
            take(&tree, path, moved_to.as_deref())?;
        }
        if !output.json {
            let and_back = moved_to.as_ref().map(|shelf| format!("; back: `cp -a '{}/.' .`", shelf.display()));
            let verb = if moved_to.is_some() { "moved away" } else { "removed" };
            output.note(format_args!("{verb} {} files{}", files.len(), and_back.unwrap_or_default()));
        }
        output.event(&Done { event: "done", files: lines, left_alone, moved_to })?;
        Ok(0)
    }
}

/// Files that git neither knows nor ignores, and repositories, which end with `/`; paths from the root.
fn untracked(tree: &Tree) -> Result<[Vec<Vec<u8>>; 2], Failure> {
    let paths = tree.ask_list(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    let (repositories, files) = paths.into_iter().partition(|path| path.ends_with(b"/"));
    Ok([files, repositories])
}

/// A new folder of this run.
fn shelf(tree: &Tree) -> Result<PathBuf, Failure> {
    let shelves = tree.git_dir.join("llorch/cleaned");
    fs_err::create_dir_all(&shelves)?;
    for number in 1_u32.. {
        let shelf = shelves.join(number.to_string());
        match std::fs::create_dir(&shelf) {
            Ok(()) => return Ok(shelf),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::new(format!("cannot make `{}`: {error}", shelf.display()))),
        }
    }
    Err(Failure::new(format!("`{}` is full", shelves.display())))
}

/// Moves or removes one file, and the folders that are empty after it.
fn take(tree: &Tree, path: &[u8], shelf: Option<&Path>) -> Result<(), Failure> {
    let relative = Path::new(OsStr::from_bytes(path));
    let file = tree.folder.join(relative);
    match shelf {
        None => fs_err::remove_file(&file)?,
        Some(shelf) => {
            let place = shelf.join(relative);
            fs_err::create_dir_all(place.parent().unwrap_or(shelf))?;
            std::fs::rename(&file, &place).map_err(|error| {
                let message = format!("cannot move `{}` to `{}`: {error}", file.display(), place.display());
                Failure::new(message).hint("`cargo xtask git clean --force` removes for good")
            })?;
        }
    }
    let mut folder = file.parent();
    // Fails at the first that holds something; the root always does.
    while let Some(empty) = folder.filter(|folder| **folder != tree.folder) {
        if std::fs::remove_dir(empty).is_err() {
            break;
        }
        folder = empty.parent();
    }
    Ok(())
}

fn words(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
