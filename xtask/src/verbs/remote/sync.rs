//! `remote sync`: the working tree on other hosts, and nothing else.

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::process::print_plan;
use crate::remote::snapshot::Pending;
use crate::remote::{Remote, connect_shown, group, sync_shown};
use crate::{interrupt, workspace};

/// Bring hosts to exactly this working tree
///
/// What `--sync` does before a verb: changes, untracked files, deletions, modes and submodule pins, as git sees them. The
/// copy lies in the far user's cache folder; no checkout over there is touched, and what was built there stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote sync workstation
  cargo xtask remote sync workstation mac --json")]
pub struct Args {
    /// Profiles, `tag:NAME`, `all`, aliases of ssh or user@host
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    host: &'a str,
    path: &'a str,
    commit: &'a str,
    tree: &'a str,
    sent_bytes: u64,
}

impl Args {
    /// Sends to all at once.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let remote = Remote::load(globals.output)?;
        let hosts = remote.select(&self.hosts)?;
        let root = workspace::require()?;
        if globals.dry_run {
            let step = |name: &str| format!("send the working tree `{}` to {name}", root.display());
            return print_plan(globals.output, &hosts.iter().map(|host| step(&host.name)).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let output = if hosts.len() > 1 { globals.output.without_progress() } else { globals.output };
        let pending = Pending::start(&root);
        let outcomes = group::side_by_side(
            &hosts,
            |host| host,
            |host| {
                let connection = connect_shown(output, &remote.ssh, host)?;
                let snapshot = pending.wait()?;
                let synced = sync_shown(output, &connection, snapshot)?;
                if !globals.output.json {
                    globals.output.line(&synced.path)?;
                }
                let (commit, tree) = (&snapshot.commit, &snapshot.tree);
                let (host, path, sent_bytes) = (host.name.as_str(), synced.path.as_str(), synced.sent_bytes);
                globals.output.event(&Line { event: "synced", host, path, commit, tree, sent_bytes })?;
                Ok(0)
            },
        );
        group::finish(globals.output, outcomes)
    }
}
