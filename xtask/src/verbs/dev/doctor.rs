//! `dev doctor`: one line a check, with the command that mends it.

use protocol::identifiers::Backend;
use serde::Serialize;

use crate::cli::{self, Globals, program_name};
use crate::doctor::{Check, Scene, Status, examine};
use crate::failure::Failure;
use crate::output::{Alarm, Output, neutralise};

const WARNING: &str = "warning";
const FAILED: &str = "FAILED";

/// Check what building and running needs, and say how to mend it
///
/// One line a check. Exit code 1 if something that is needed is missing; what is optional only warns. Hardware is needed
/// where `--backend` says so, or a profile of the configuration that leads to this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dev doctor
  cargo xtask dev doctor --backend cuda --json
  cargo xtask dev doctor --remote all")]
pub struct Args {
    /// This backend is to run here; may be given several times
    #[arg(long = "backend", value_name = "BACKEND", value_parser = cli::backend())]
    backends: Vec<Backend>,
}

#[derive(Serialize)]
struct Document {
    checks: Vec<Check>,
}

impl Args {
    /// Makes all checks at once and prints them in order.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let checks = typed(globals.output.during("looking at this machine", || examine(Scene::read(&self.backends)))?);
        let code = exit_code(&checks);
        if globals.output.json {
            globals.output.value(&Document { checks })?;
        } else {
            print(globals.output, &checks)?;
        }
        Ok(code)
    }
}

/// Hints as they are typed here: the installed command has a shorter name. What programs said cannot drive the terminal.
pub fn typed(mut checks: Vec<Check>) -> Vec<Check> {
    for check in &mut checks {
        check.message = neutralise(&check.message);
        check.hint = check.hint.take().map(|hint| hint.replace("cargo xtask", program_name()));
    }
    checks
}

/// 1 if something that is needed does not work.
pub fn exit_code(checks: &[Check]) -> u8 {
    u8::from(checks.iter().any(|check| check.status == Status::Failed))
}

/// One line a check.
pub fn print(output: Output, checks: &[Check]) -> Result<(), Failure> {
    let alarms = [(WARNING, Alarm::Warning), (FAILED, Alarm::Error)];
    output.table_with_alarms(&checks.iter().map(row).collect::<Vec<_>>(), &alarms)
}

fn row(check: &Check) -> Vec<String> {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warning => WARNING,
        Status::Failed => FAILED,
    };
    let hint = check.hint.as_ref().map(|hint| format!("; mend: {hint}")).unwrap_or_default();
    let message = check.message.replace('\n', " ");
    vec![status.to_owned(), check.name.to_owned(), format!("{message}{hint}")]
}
