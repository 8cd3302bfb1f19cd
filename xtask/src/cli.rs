//! The command line: options that every verb has, the version, and usage errors. The verbs are in `verbs`.

use std::path::PathBuf;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};
use protocol::error::ErrorCode;

use crate::failure::Failure;
use crate::output::Output;
use crate::verbs::Verb;

/// From a fresh clone to tokens, with one command
///
/// Results go to standard output, everything for people to standard error. Exit codes: 0 done, 1 failed, 2 usage,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "xtask", disable_version_flag = true, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Examples:
  cargo xtask infer --prompt \"Once upon a time\"
  cargo xtask models catalog
  cargo xtask build worker cpu
  cargo xtask test all")]
pub struct Cli {
    /// Print JSON only to standard output
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Print what would be done and do nothing
    #[arg(long, global = true, help_heading = GLOBAL)]
    dry_run: bool,
    /// Answer every question with yes
    #[arg(long, short = 'y', global = true, help_heading = GLOBAL)]
    yes: bool,
    /// Say more on standard error
    #[arg(long, short, global = true, conflicts_with = "quiet", help_heading = GLOBAL)]
    verbose: bool,
    /// Say only what went wrong on standard error
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = GLOBAL)]
    color: When,
    /// Another catalog of models
    #[arg(long, global = true, value_name = "PATH", env = models::environment::CATALOG, hide_env_values = true, help_heading = GLOBAL)]
    catalog: Option<PathBuf>,
    /// Print what this program is, built for and from
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const GLOBAL: &str = "Options of every verb";

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The options of every verb, resolved.
#[derive(Debug, Clone)]
pub struct Globals {
    /// Where results, errors and progress go.
    pub output: Output,
    /// Print the plan, do nothing.
    pub dry_run: bool,
    /// Ask nothing.
    pub yes: bool,
    /// Another catalog than the built-in one.
    pub catalog: Option<PathBuf>,
}

/// What the command line asks for.
pub enum Parsed {
    /// A verb.
    Run(Globals, Verb),
    /// Help, version or a usage error: already printed.
    Exit(u8),
}

/// Parses the process's arguments.
pub fn parse() -> Parsed {
    let arguments: Vec<_> = std::env::args_os().collect();
    let says = |text: &str| arguments.iter().any(|argument| argument == text);
    let never = says("--color=never") || arguments.windows(2).any(|pair| pair[0] == "--color" && pair[1] == "never");
    let color = if never { ColorChoice::Never } else { ColorChoice::Auto };
    let matches = command(program_name()).color(color).try_get_matches_from(&arguments);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(usage) => return Parsed::Exit(report_usage(&usage, says("--json"))),
    };
    let output = Output::new(cli.json, cli.verbose, cli.quiet, cli.color);
    match (cli.version, cli.verb) {
        (true, _) => Parsed::Exit(print_version(output)),
        (false, Some(verb)) => {
            Parsed::Run(Globals { output, dry_run: cli.dry_run, yes: cli.yes, catalog: cli.catalog }, verb)
        }
        (false, None) => {
            let failure = Failure::usage("no verb given").hint("see `cargo xtask --help`");
            output.failure(&failure);
            Parsed::Exit(failure.exit_code)
        }
    }
}

/// What a person types to get here.
pub fn program_name() -> &'static str {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if program.file_stem().is_some_and(|stem| stem == "llorch") { "llorch" } else { "cargo xtask" }
}

/// The command line as clap knows it, its examples in terms of `program`.
pub fn command(program: &'static str) -> clap::Command {
    let command = Cli::command().bin_name(program);
    if program == "cargo xtask" { command } else { rename_examples(command, program) }
}

fn rename_examples(command: clap::Command, program: &'static str) -> clap::Command {
    let examples = command.get_after_help().map(|text| text.to_string().replace("cargo xtask", program));
    let command = command.mut_subcommands(|verb| rename_examples(verb, program));
    match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    }
}

/// Help is no error; the rest is told by clap, and once more as an event where JSON was asked for.
fn report_usage(usage: &clap::Error, json: bool) -> u8 {
    let _nobody_reads = usage.print();
    if !usage.use_stderr() {
        return 0;
    }
    if json {
        let text = usage.to_string();
        let first = text.lines().next().unwrap_or_default();
        let failure = Failure::usage(first.strip_prefix("error: ").unwrap_or(first)).hint("see `--help`");
        Output::new(true, false, true, When::Never).failure_event(&failure);
    }
    ErrorCode::InvalidParams.exit_code()
}

fn print_version(output: Output) -> u8 {
    let stamp = protocol::stamp!("llorch", None, Vec::new());
    let text = format!("{} {} ({}, {})", stamp.program, stamp.version, stamp.commit, stamp.profile);
    let printed = if output.json { output.value(&stamp) } else { output.line(&text) };
    printed.err().map_or(0, |failure| failure.exit_code)
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_command_line_is_consistent() {
        command("cargo xtask").debug_assert();
    }

    #[test]
    fn an_installed_program_speaks_of_itself_under_its_own_name() {
        let help = command("llorch").render_long_help().to_string();
        assert!(help.contains("llorch infer") && !help.contains("cargo xtask"), "{help}");
    }
}
