//! `docs`: pages and parts of pages that are generated.

use std::fmt::Write;
use std::path::Path;

use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::{self, Globals};
use crate::failure::Failure;
use crate::output::table;
use crate::workspace;

/// The page of the command line.
const CLI_PAGE: &str = "docs/cli.md";
/// The page of the wire, with a table of error codes in it.
const PROTOCOL_PAGE: &str = "docs/protocol.md";
/// What stands before and after that table.
const REGION: (&str, &str) = ("<!-- generated: error codes -->", "<!-- end of generated -->");

/// Write the generated pages
///
/// docs/cli.md, and the table of error codes in docs/protocol.md.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask docs
  cargo xtask docs --check")]
pub struct Args {
    /// Write nothing; exit code 1 if a page is not what it would be
    #[arg(long)]
    pub check: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    pages: Vec<&'static str>,
    changed: Vec<&'static str>,
}

impl Args {
    /// Writes or compares.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let mut changed = Vec::new();
        for page in [CLI_PAGE, PROTOCOL_PAGE] {
            let text = if page == CLI_PAGE { cli_page() } else { protocol_page(&root)? };
            let path = root.join(page);
            if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            changed.push(page);
            if !self.check && !globals.dry_run {
                fs_err::write(&path, text)?;
                output.note(format_args!("wrote {page}"));
            }
        }
        if self.check && !changed.is_empty() {
            let message = format!("generated pages are out of date: {}", changed.join(", "));
            return Err(Failure::new(message).hint("cargo xtask docs"));
        }
        output.event(&Done { event: "done", pages: vec![CLI_PAGE, PROTOCOL_PAGE], changed })?;
        Ok(0)
    }
}

fn cli_page() -> String {
    let mut page = String::from(
        "# The command line\n\n<!-- Written by `cargo xtask docs`; edit the doc comments in xtask/src instead. -->\n\n\
         `cargo xtask` in a checkout and `llorch` where it is installed are the same program.\n",
    );
    let mut command = cli::command("cargo xtask").color(clap::ColorChoice::Never).disable_help_subcommand(true);
    command.build();
    describe(&mut page, &mut command, 2);
    page
}

/// The help of a command and of those below it.
fn describe(page: &mut String, command: &mut clap::Command, depth: usize) {
    let title = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let mut help = command.clone();
    if depth > 2 {
        // Said once, at the top.
        let global: Vec<String> = help
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|argument| argument.get_id().to_string())
            .collect();
        help = global.into_iter().fold(help, |help, id| help.mut_arg(id, |argument| argument.hide(true)));
    }
    let help = help.term_width(100).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _never =
        write!(page, "\n{} {title}\n\n```text\n{}\n```\n", "#".repeat(depth.min(4)), help.join("\n").trim_end());
    for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set()) {
        describe(page, verb, depth + 1);
    }
}

/// The page as it is, its table as it should be.
fn protocol_page(root: &Path) -> Result<String, Failure> {
    let text = fs_err::read_to_string(root.join(PROTOCOL_PAGE))?;
    let missing = |marker: &str| Failure::new(format!("`{PROTOCOL_PAGE}` has no line `{marker}`"));
    let (before, rest) = text.split_once(REGION.0).ok_or_else(|| missing(REGION.0))?;
    let (_, after) = rest.split_once(REGION.1).ok_or_else(|| missing(REGION.1))?;
    Ok(format!("{before}{}\n\n{}\n\n{}{after}", REGION.0, error_table(), REGION.1))
}

fn error_table() -> String {
    let cells = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![
        cells(["| code", "| HTTP status", "| retriable", "| exit code |"]),
        cells(["|---", "|---", "|---", "|---|"]),
    ];
    for code in ErrorCode::ALL {
        let retriable = if code.retriable() { "| yes" } else { "| no" };
        rows.push(vec![
            format!("| {code}"),
            format!("| {}", code.http_status()),
            retriable.to_owned(),
            format!("| {} |", code.exit_code()),
        ]);
    }
    table(&rows).join("\n")
}

#[cfg(test)]
mod tests {
    use super::{cli_page, error_table};

    #[test]
    fn the_page_has_every_verb_with_its_examples() {
        let page = cli_page();
        for title in [
            "## cargo xtask",
            "### cargo xtask infer",
            "#### cargo xtask models download",
            "#### cargo xtask dev doctor",
        ] {
            assert!(page.contains(&format!("\n{title}\n")), "{title}");
        }
        assert!(page.matches("Examples:").count() >= 20);
        assert_eq!(page.matches("--catalog <PATH>").count(), 1);
    }

    #[test]
    fn the_table_has_every_code() {
        let table = error_table();
        assert_eq!(table.lines().count(), 2 + protocol::error::ErrorCode::ALL.len());
        assert!(table.contains("| CANCELLED"), "{table}");
    }
}
