//! The command line: options that every verb has, the version, and usage errors. The verbs are in `verbs`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};
use protocol::error::ErrorCode;
use protocol::identifiers::Backend;

use crate::failure::Failure;
use crate::output::Output;
use crate::remote::Forwarding;
use crate::verbs::Verb;

/// From a fresh clone to tokens, with one command
///
/// Results go to standard output, everything for people to standard error. Exit codes: 0 done, 1 failed, 2 usage,
/// 69 host unreachable or connection lost, 76 host key changed, 130 interrupted (143 by SIGTERM, 129 by SIGHUP); a remote
/// task's own code comes back as it is.
#[derive(Debug, Parser)]
#[command(name = "xtask", disable_version_flag = true, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Examples:
  cargo xtask infer --prompt \"Once upon a time\"
  cargo xtask models catalog
  cargo xtask build worker cpu
  cargo xtask test all")]
pub struct Cli {
    /// Run it there instead: hosts, `tag:NAME`, `all`; side by side if several
    #[arg(long, global = true, value_name = "HOST[,HOST…]", value_delimiter = ',', help_heading = GLOBAL)]
    remote: Vec<String>,
    /// With --remote: bring this working tree there first, as it is
    #[arg(long, global = true, help_heading = GLOBAL)]
    sync: bool,
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

/// Clap's own, without the examples.
const TEMPLATE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}";
const GLOBAL: &str = "Options of every verb";

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
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

/// A verb, and where it runs.
pub enum Task {
    /// In this process.
    Here(Box<Verb>),
    /// On other hosts.
    Elsewhere(Forwarding),
}

impl Globals {
    /// The options with which another of our commands would do it in the same way.
    pub fn as_arguments(&self) -> Vec<OsString> {
        let options = [(self.output.json, "--json"), (self.yes, "--yes"), (self.output.is_quiet(), "--quiet")];
        options.into_iter().filter(|(is_on, _)| *is_on).map(|(_, option)| option.into()).collect()
    }
}

/// What the command line asks for.
pub enum Parsed {
    /// A verb.
    Run(Globals, Task),
    /// Help, version or a usage error: already printed.
    Exit(u8),
}

/// Parses the process's arguments.
pub fn parse() -> Parsed {
    let arguments: Vec<_> = std::env::args_os().collect();
    let says = |text: &str| arguments.iter().any(|argument| argument == text);
    let is_asked = |when: &str| {
        says(&format!("--color={when}")) || arguments.windows(2).any(|pair| pair[0] == "--color" && pair[1] == when)
    };
    let (choice, color) = match (is_asked("never"), is_asked("always")) {
        (true, _) => (ColorChoice::Never, When::Never),
        (false, true) => (ColorChoice::Always, When::Always),
        (false, false) => (ColorChoice::Auto, When::Auto),
    };
    let matches = command(program_name()).color(choice).try_get_matches_from(&arguments);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(usage) => return Parsed::Exit(report_usage(&usage, says("--json"), color)),
    };
    let output = Output::new(cli.json, cli.verbose, cli.quiet, cli.color);
    let globals = Globals { output, dry_run: cli.dry_run, yes: cli.yes, catalog: cli.catalog };
    let task = match (cli.version, cli.verb) {
        (true, _) => return Parsed::Exit(print_version(output)),
        (false, Some(verb)) if cli.remote.is_empty() => match (cli.sync, verb.fetches()) {
            (true, _) => Err(needs_remote("--sync")),
            (_, true) => Err(needs_remote("--fetch")),
            (false, false) => Ok(Task::Here(Box::new(verb))),
        },
        (false, Some(verb)) => Ok(Task::Elsewhere(forwarding(&verb, cli.remote, cli.sync, &arguments))),
        (false, None) => Err(Failure::usage("no verb given").hint("see `cargo xtask --help`")),
    };
    match task {
        Ok(task) => Parsed::Run(globals, task),
        Err(failure) => {
            output.failure(&failure);
            Parsed::Exit(failure.exit_code)
        }
    }
}

/// clap looks at what an option requires before it has handed global options down.
fn needs_remote(option: &str) -> Failure {
    Failure::usage(format!("`{option}` says nothing without `--remote`")).hint(format!("`{option} --remote HOST`"))
}

fn forwarding(verb: &Verb, selection: Vec<String>, sync: bool, arguments: &[OsString]) -> Forwarding {
    let arguments = without_ours(arguments.iter().skip(1).cloned());
    Forwarding {
        selection,
        sync,
        arguments,
        needs_checkout: verb.needs_checkout(),
        asks: verb.asks(),
        reads_input: verb.reads_input(),
        fetches: verb.fetches(),
    }
}

/// The arguments without those that are for this side. What begins with a dash is an option here: no option of any verb
/// takes a value that does (a test holds that), and what stands behind `--` is nobody's.
fn without_ours(mut rest: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut theirs = Vec::new();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--") => {
                theirs.push(argument);
                theirs.extend(&mut rest);
            }
            Some("--remote") => drop(rest.next()),
            // A plan is printed here; what is fetched is fetched by this side.
            Some("--sync" | "--fetch" | "--dry-run") => {}
            Some(text) if text.starts_with("--remote=") => {}
            _ => theirs.push(argument),
        }
    }
    theirs
}

/// Reads one of a closed list, so that help, errors and completion name all of it.
pub fn one_of<T>(values: impl IntoIterator<Item = (&'static str, T)>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let values: Vec<(&'static str, T)> = values.into_iter().collect();
    let names: Vec<&'static str> = values.iter().map(|(name, _)| *name).collect();
    let find = move |typed: String| values.iter().find(|(name, _)| *name == typed).map(|(_, value)| value.clone());
    PossibleValuesParser::new(names).try_map(move |typed| find(typed).ok_or("is none of them"))
}

/// Reads a backend.
pub fn backend() -> impl TypedValueParser<Value = Backend> {
    one_of(Backend::ALL.map(|backend| (backend.name(), backend)))
}

/// What a person types to get here.
pub fn program_name() -> &'static str {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if program.file_stem().is_some_and(|stem| stem == "llorch") { "llorch" } else { "cargo xtask" }
}

/// The command line as clap knows it, its examples in terms of `program`.
pub fn command(program: &'static str) -> clap::Command {
    with_examples(Cli::command().bin_name(program), program)
}

/// Examples are commands of `program`, and stay on one line each on a narrow terminal, where they can be copied: clap folds
/// everything but the text of the template.
fn with_examples(command: clap::Command, program: &'static str) -> clap::Command {
    let examples = command.get_after_help().map(|text| text.to_string().replace("cargo xtask", program));
    let command = command.mut_subcommands(|verb| with_examples(verb, program));
    match examples {
        Some(examples) => command.help_template(format!("{TEMPLATE}\n\n{examples}\n")).after_help(examples),
        None => command,
    }
}

/// Help is no error; the rest is told by clap, and once more as an event where JSON was asked for.
fn report_usage(usage: &clap::Error, json: bool, color: When) -> u8 {
    if !usage.use_stderr() {
        let _nobody_reads = usage.print();
        return 0;
    }
    Output::new(json, false, false, color).usage_error(usage);
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
    use std::ffi::OsString;

    use super::command;

    #[test]
    fn the_command_line_is_consistent() {
        command("cargo xtask").debug_assert();
    }

    #[test]
    fn what_is_for_this_side_is_taken_off_and_the_rest_stays_as_typed() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (typed, sent) in [
            ("--remote a,b build worker cpu --json", "build worker cpu --json"),
            ("-yv build --remote=a worker cpu --sync", "-yv build worker cpu"),
            ("test unit --remote a -- --remote b --sync", "test unit -- --remote b --sync"),
            ("infer --prompt=--remote --remote a", "infer --prompt=--remote"),
        ] {
            assert_eq!(super::without_ours(words(typed).into_iter()), words(sent), "{typed}");
        }
    }

    #[test]
    fn no_option_takes_a_value_that_looks_like_one() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_last_set()) {
                assert!(!argument.is_allow_hyphen_values_set(), "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command("cargo xtask"));
    }

    #[test]
    fn help_fits_a_narrow_terminal_and_examples_can_be_copied_from_it() {
        fn check(command: &clap::Command) {
            let help = command.clone().term_width(60).render_long_help().to_string();
            let is_whole = |line: &str| line.starts_with("  llorch ") || line.starts_with("Usage:");
            let long = help.lines().find(|line| line.chars().count() > 60 && !is_whole(line));
            assert_eq!(long, None, "{}", command.get_name());
            for example in command.get_after_help().map(ToString::to_string).unwrap_or_default().lines() {
                assert!(help.lines().any(|line| line == example), "{example}");
            }
            command.get_subcommands().filter(|verb| verb.get_name() != "help").for_each(check);
        }
        let mut command = command("llorch");
        command.build();
        check(&command);
    }

    #[test]
    fn an_installed_program_speaks_of_itself_under_its_own_name() {
        let help = command("llorch").render_long_help().to_string();
        assert!(help.contains("llorch infer") && !help.contains("cargo xtask"), "{help}");
    }
}
