//! `remote deploy`: build this working tree on hosts and install it there.

use crate::cli::Globals;
use crate::failure::Failure;
use crate::remote::{self, Forwarding};

/// Install llorch on hosts
///
/// Sends this working tree, builds it over there and puts the programs where that machine's shell finds them: the same as
/// `install --remote HOST --sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote deploy workstation
  cargo xtask remote deploy workstation mac --prefix /opt/llorch")]
pub struct Args {
    /// Profiles, `tag:NAME`, `all`, aliases of ssh or user@host
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// Into PATH/bin over there, instead of ~/.local/bin
    #[arg(long, value_name = "PATH", conflicts_with = "system")]
    prefix: Option<String>,
    /// Into /usr/local/bin over there
    #[arg(long)]
    system: bool,
}

impl Args {
    /// Forwards `install`.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let mut arguments = globals.as_arguments();
        arguments.push("install".into());
        arguments.extend(self.prefix.into_iter().flat_map(|prefix| ["--prefix".into(), prefix.into()]));
        arguments.extend(self.system.then(|| "--system".into()));
        let forwarding = Forwarding {
            selection: self.hosts,
            sync: true,
            arguments,
            needs_checkout: true,
            asks: false,
            reads_input: false,
            fetches: false,
        };
        remote::forward(globals, &forwarding)
    }
}
