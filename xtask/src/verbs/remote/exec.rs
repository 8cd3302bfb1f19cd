//! `remote exec`: any command on one host.

use std::ffi::OsString;

use crate::cli::Globals;
use crate::configuration::Profile;
use crate::failure::Failure;
use crate::interrupt;
use crate::process::print_plan;
use crate::remote::script::Script;
use crate::remote::script::check_arguments;
use crate::remote::session::{End, Task};
use crate::remote::{Remote, connect_shown, far, own_input, own_streams};

/// Run a command on a host
///
/// Standard input, both outputs and the exit code come through as they are. The words arrive as they were typed here: no
/// shell over there reads them again. When the connection drops, the command is ended within five seconds; what it leaves
/// running with its output open is waited for five seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote exec workstation -- nvidia-smi
  cargo xtask remote exec me@box.lan -- sh -c 'uptime; df -h'
  cargo xtask remote exec workstation -- cat < local.txt")]
pub struct Args {
    /// A profile, an alias of ssh, or user@host
    #[arg(value_name = "HOST")]
    host: String,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    /// Connects, runs, comes back with its exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let remote = Remote::load(globals.output)?;
        let host = remote.one(&self.host)?;
        check_arguments(&self.command)?;
        let profile = host.profile.as_ref();
        let script = script_of(profile, &self.command);
        if globals.dry_run {
            let masked = profile.map(Profile::masked);
            let script = script_of(masked.as_ref(), &self.command);
            let call = remote.ssh.session(&host, "CONNECTION", "/bin/sh").to_string();
            let text = script.text();
            let lines = text.lines().map(|line| format!("  {line}"));
            return print_plan(globals.output, &[call].into_iter().chain(lines).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let connection = connect_shown(globals.output, &remote.ssh, &host)?;
        let (stdout, stderr) = own_streams();
        let mut task = Task::new(script);
        (task.input, task.stdout, task.stderr) = (own_input(true), stdout, stderr);
        match task.run(&connection)? {
            End::Code(code) => Ok(code),
            // What a shell says of a command that is not there.
            End::Step(_) => Ok(127),
        }
    }
}

fn script_of(profile: Option<&Profile>, command: &[OsString]) -> Script {
    let script = far::environment(profile).then("command -v ").word(&command[0]);
    let script = script.then(" >/dev/null 2>&1 || { printf '%s: no such command\\n' ").word(&command[0]);
    script.then(" >&2; step command; }\nenv").words(command)
}
