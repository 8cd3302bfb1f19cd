//! `man`: the manual, made of what the command line says about itself.

use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde::Serialize;

use crate::cli::{self, Globals};
use crate::failure::Failure;
use crate::process;

/// Print a page of the manual
///
/// In the format of `man`: `cargo xtask man | man -l -`. `install` puts all pages where `man llorch` and
/// `man llorch-models-download` find them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask man models download
  cargo xtask man --into target/man")]
pub struct Args {
    /// The page of this verb, in as many words as it has
    #[arg(value_name = "VERB")]
    verb: Vec<String>,
    /// Write every page into this folder instead
    #[arg(long, value_name = "PATH", conflicts_with = "verb")]
    into: Option<PathBuf>,
}

/// Below a prefix, where `man` looks.
pub const FOLDER: &str = "share/man/man1";

/// One page.
struct Page {
    /// Its verbs, joined by dashes.
    name: String,
    text: String,
}

#[derive(Serialize)]
struct Document {
    name: String,
    page: String,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    pages: Vec<PathBuf>,
}

impl Args {
    /// Prints one page or writes all.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let pages = pages()?;
        if let Some(folder) = &self.into {
            return write(globals, folder, &pages);
        }
        let wanted = ["llorch"].into_iter().chain(self.verb.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let page = pages.into_iter().find(|page| page.name == wanted).ok_or_else(|| {
            let message = format!("there is no verb `{}`", self.verb.join(" "));
            Failure::usage(message).hint("cargo xtask --help")
        })?;
        if globals.output.json {
            globals.output.value(&Document { name: page.name, page: page.text })?;
        } else {
            globals.output.raw(&page.text)?;
        }
        Ok(0)
    }
}

fn write(globals: &Globals, folder: &Path, pages: &[Page]) -> Result<u8, Failure> {
    let files: Vec<PathBuf> = pages.iter().map(|page| folder.join(format!("{}.1", page.name))).collect();
    if globals.dry_run {
        let steps: Vec<String> = files.iter().map(|file| format!("write {}", file.display())).collect();
        return process::print_plan(globals.output, &steps);
    }
    fs_err::create_dir_all(folder)?;
    for (page, file) in pages.iter().zip(&files) {
        fs_err::write(file, &page.text)?;
    }
    globals.output.note(format_args!("wrote {} pages into {}", files.len(), folder.display()));
    globals.output.event(&Done { event: "done", pages: files })?;
    Ok(0)
}

/// Where the pages lie below a prefix.
pub fn places() -> Result<Vec<PathBuf>, Failure> {
    Ok(pages()?.iter().map(|page| Path::new(FOLDER).join(format!("{}.1", page.name))).collect())
}

/// Every page: of the command itself, and of each verb that is shown.
fn pages() -> Result<Vec<Page>, Failure> {
    let mut command = cli::command("llorch").name("llorch").disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    describe(&command, &mut pages)?;
    Ok(pages)
}

fn describe(command: &clap::Command, pages: &mut Vec<Page>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let examples = command.get_after_help().map(ToString::to_string);
    let version = format!("llorch {}", env!("CARGO_PKG_VERSION"));
    // The examples are a section of their own: what follows the help is else run together into a paragraph.
    let plain = command.clone().after_help(Resettable::Reset);
    let mut text = Vec::new();
    Man::new(plain).title(&name).source(version).manual("llorch").render(&mut text)?;
    if let Some(examples) = examples {
        let lines = examples.lines().filter(|line| *line != "Examples:").map(|line| roman(format!("{line}\n")));
        let mut section = Roff::new();
        section.control("SH", ["EXAMPLES"]).control("nf", []).text(lines.collect::<Vec<_>>()).control("fi", []);
        text.extend(section.render().into_bytes());
    }
    pages.push(Page { name, text: String::from_utf8_lossy(&text).into_owned() });
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.into_iter().try_for_each(|verb| describe(verb, pages))
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn each_verb_has_a_page_with_its_examples_as_lines() {
        let pages = pages().expect("pages");
        let page = |name: &str| pages.iter().find(|page| page.name == name).map(|page| page.text.as_str());
        let download = page("llorch-models-download").expect("a page");
        for wanted in [".TH llorch-models-download 1", ".SH EXAMPLES", ".nf", "llorch models download"] {
            assert!(download.contains(wanted), "{wanted}: {download}");
        }
        assert!(!download.contains("cargo xtask"), "{download}");
        assert!(page("llorch").is_some_and(|page| page.contains("llorch\\-infer")));
        assert!(pages.len() > 40, "{}", pages.len());
    }
}
