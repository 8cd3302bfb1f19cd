//! `llorch-convert`: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use convert::Code;
use convert::cli::Cli;
use convert::print::Output;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ExitCode::from(cli.run()),
        Err(usage) => usage_error(&usage),
    }
}

/// Help is no error; the rest is told by clap, and once more as an event where JSON was asked for.
fn usage_error(usage: &clap::Error) -> ExitCode {
    if !usage.use_stderr() {
        let _nobody_reads = usage.print();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json {
        let text = usage.to_string();
        // clap's text up to the blank line says what is wrong.
        let wrong: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = wrong.join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        Output { json }.failure(Code::InvalidParams, message, Some("see `llorch-convert --help`"));
    } else {
        let _nobody_reads = usage.print();
    }
    ExitCode::from(Code::InvalidParams.exit_code())
}
