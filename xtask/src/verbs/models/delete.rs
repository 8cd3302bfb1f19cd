//! `models delete`: remove one model and its partial downloads.

use std::io::BufRead;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{Output, size_words};
use crate::{interrupt, process};

/// Remove a model from this machine
///
/// Asks first; `--yes` answers. Without a terminal and without `--yes` it is an error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models delete tinyllama
  cargo xtask models delete tinyllama --yes")]
pub struct Args {
    /// Which
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    model: &'a str,
    freed_bytes: u64,
}

impl Args {
    /// Shows what would go, asks, deletes.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let id = shelf.id_of(&self.id)?;
        let folder = shelf.store.directory(&id);
        let usage = shelf.store.disk_usage()?;
        let Some(usage) = usage.models.into_iter().find(|model| model.name == id.as_str()) else {
            return Err(models::store::StoreError::NotInstalled { id }.into());
        };
        let words = format!("{id} ({}, {})", size_words(usage.size_bytes), folder.display());
        if globals.dry_run {
            return process::print_plan(globals.output, &[format!("delete {words}")]);
        }
        if !globals.yes && !ask(globals.output, &format!("delete {words}?"))? {
            globals.output.note("nothing was deleted");
            return Ok(1);
        }
        let freed_bytes = shelf.store.delete(&id)?;
        globals.output.event(&Done { event: "done", model: id.as_str(), freed_bytes })?;
        if !globals.output.json {
            globals.output.note(format_args!("deleted {id}, {} freed", size_words(freed_bytes)));
        }
        Ok(0)
    }
}

/// A question to the person at the terminal; anything but yes is no.
fn ask(output: Output, question: &str) -> Result<bool, Failure> {
    if !output.can_ask() {
        return Err(Failure::usage("a question needs a terminal, and here is none").hint("`--yes` answers it"));
    }
    interrupt::watch()?;
    output.question(question);
    let (sender, receiver) = channel();
    // On a thread of its own, because a read does not end at Ctrl-C.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        let _the_command_ends = sender.send(read.map(|_| answer).unwrap_or_default());
    });
    loop {
        interrupt::check()?;
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => return Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}
