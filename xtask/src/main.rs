//! `cargo xtask`, installed as `llorch`: parse, run, print the error, exit code. Everything else is in the modules.

mod cli;
mod verbs;

mod failure;
mod git;
mod interrupt;
mod output;
mod process;
mod workspace;

mod binaries;
mod cargo;
mod conversion;
mod download;
mod inference;
mod pool;
mod side_by_side;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (globals, verb) = match cli::parse() {
        cli::Parsed::Run(globals, verb) => (globals, verb),
        cli::Parsed::Exit(code) => return ExitCode::from(code),
    };
    match verb.run(&globals) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            globals.output.failure(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}
