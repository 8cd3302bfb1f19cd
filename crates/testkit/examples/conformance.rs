//! Runs the stream conformance kit against a worker: `cargo run -p testkit --example conformance -- http://127.0.0.1:PORT`.

use std::process::ExitCode;

use testkit::conformance::{Options, check};

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("error: no worker given\nhint: give its address, `http://127.0.0.1:PORT`");
        return ExitCode::from(2);
    };
    match check(&url, &Options::default()) {
        Ok(violations) if violations.is_empty() => {
            println!("{url} keeps the rules");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            violations.iter().for_each(|violation| println!("{violation}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
