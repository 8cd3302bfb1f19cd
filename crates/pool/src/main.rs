//! `llorch-pool`: parse, run, print the error, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use pool::cli::Cli;
use pool::error::PoolError;
use pool::output::Output;
use protocol::error::ErrorCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return usage_error(&usage),
    };
    let output = Output { json: cli.json, verbose: cli.verbose };
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code.exit_code())
        }
    }
}

/// Help and versions are no errors; the rest is told by clap, and once more as an event where JSON was asked for.
fn usage_error(usage: &clap::Error) -> ExitCode {
    let _nobody_reads = usage.print();
    if usage.use_stderr() {
        let json = std::env::args_os().any(|argument| argument == "--json");
        // clap's text up to the blank line says what is wrong, with the arguments in question on lines of their own.
        let text = usage.to_string();
        let wrong: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = wrong.join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        let error = PoolError::new(ErrorCode::InvalidParams, message).hint("see `llorch-pool --help`");
        Output { json, verbose: false }.error_event(&error);
        return ExitCode::from(ErrorCode::InvalidParams.exit_code());
    }
    ExitCode::SUCCESS
}
