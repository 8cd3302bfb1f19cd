//! `cargo xtask`, installed as `llorch`: parse, run, print the error, exit code. Everything else is in the modules.

mod cli;
mod completion;
mod verbs;

mod configuration;
mod failure;
mod git;
mod interrupt;
mod output;
mod process;
mod question;
mod remote;
mod scratch;
mod terminal;
mod workspace;

mod binaries;
mod cargo;
mod conversion;
mod cuda;
mod doctor;
mod download;
mod inference;
mod installation;
mod metal;
mod pool;
mod second_workspace;
mod side_by_side;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = completion::answer() {
        return ExitCode::from(code);
    }
    let (globals, task) = match cli::parse() {
        cli::Parsed::Run(globals, task) => (globals, task),
        cli::Parsed::Exit(code) => return ExitCode::from(code),
    };
    let ended = match task {
        cli::Task::Here(verb) => verb.run(&globals),
        cli::Task::Elsewhere(forwarding) => remote::forward(&globals, &forwarding),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            globals.output.failure(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}
