//! `llorch-worker`: parse, run, report, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use worker::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        let stamp = protocol::stamp!("llorch-worker", worker::built_for(), worker::features());
        arguments.print_version(&stamp);
        return ExitCode::SUCCESS;
    }
    match arguments.settings().and_then(worker::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
