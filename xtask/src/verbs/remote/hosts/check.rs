//! `remote hosts check`: one line a host: whether it can be reached, and what is there.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{neutralise, table};
use crate::process::print_plan;
use crate::remote::connection::Connection;
use crate::remote::script::Script;
use crate::remote::select::Host;
use crate::remote::{Remote, ask, far, group};

/// Try to reach hosts, and say what is there
///
/// Without names: every host with a profile. Exit code 69 if one cannot be reached.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote hosts check
  cargo xtask remote hosts check workstation mac --json")]
pub struct Args {
    /// Which; all with a profile if none is named
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
}

#[derive(Serialize)]
struct Document {
    hosts: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// From the start of ssh to the first word of the far shell.
    connect_ms: u128,
    system: Option<String>,
    git: Option<String>,
    cargo: Option<String>,
    llorch: Option<String>,
    repo: Option<String>,
}

impl Args {
    /// Connects to all at once.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let remote = Remote::load(globals.output)?;
        let selection = if self.hosts.is_empty() { vec![String::from("all")] } else { self.hosts };
        let hosts = remote.select(&selection)?;
        if globals.dry_run {
            let call = |host: &Host| remote.ssh.session(host, "CONNECTION", "/bin/sh").to_string();
            return print_plan(globals.output, &hosts.iter().map(call).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let rows: Mutex<Vec<Row>> = Mutex::default();
        let outcomes = group::side_by_side(
            &hosts,
            |host| host,
            |host| {
                let row = check(&remote, host);
                let code = row.as_ref().err().map_or(0, |failure| failure.exit_code);
                let row = row.unwrap_or_else(|failure| Row::failed(host, failure));
                rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                Ok(code)
            },
        );
        interrupt::check()?;
        let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by_key(|row| hosts.iter().position(|host| host.name == row.name));
        let worst = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()).max();
        if globals.output.json {
            globals.output.value(&Document { hosts: rows })?;
        } else {
            // What other machines say must not drive this one's terminal.
            table(&rows.iter().map(Row::words).collect::<Vec<_>>())
                .iter()
                .try_for_each(|line| globals.output.line(&neutralise(line)))?;
        }
        Ok(worst.copied().unwrap_or(1))
    }
}

fn check(remote: &Remote, host: &Host) -> Result<Row, Failure> {
    let started = Instant::now();
    let connection = Connection::open(&remote.ssh, host)?;
    let connect_ms = started.elapsed().as_millis();
    let text = ask(&connection, script(host))?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| value.trim().to_owned())
    };
    Ok(Row {
        name: host.name.clone(),
        reachable: true,
        code: None,
        message: None,
        hint: None,
        connect_ms,
        system: value("system"),
        git: value("git"),
        cargo: value("cargo"),
        llorch: value("llorch"),
        repo: value("repo"),
    })
}

fn script(host: &Host) -> Script {
    let script = far::environment(host.profile.as_ref());
    let script = script.then("echo \"system=$(uname -sm)\"\necho \"git=$(git --version 2>/dev/null)\"\n");
    let script = script.then("echo \"cargo=$(cargo --version 2>/dev/null)\"\n");
    let script = script
        .then("PATH=\"$PATH:$HOME/.local/bin:/usr/local/bin\"\necho \"llorch=$(llorch --version 2>/dev/null)\"\n");
    match host.profile.as_ref().and_then(|profile| profile.repo.as_deref()) {
        Some(repo) => {
            let script = script.then("cd ").path(repo).then(" 2>/dev/null && [ -f xtask/Cargo.toml ]");
            script.then(" && echo \"repo=$(git rev-parse --short HEAD 2>/dev/null || echo there)\"\n:")
        }
        None => script.then(":"),
    }
}

impl Row {
    fn failed(host: &Host, failure: Failure) -> Self {
        Self {
            name: host.name.clone(),
            reachable: false,
            code: Some(failure.code),
            message: Some(failure.message),
            hint: failure.hint,
            connect_ms: 0,
            system: None,
            git: None,
            cargo: None,
            llorch: None,
            repo: None,
        }
    }

    fn words(&self) -> Vec<String> {
        if !self.reachable {
            let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            return vec![
                self.name.clone(),
                "FAILED".into(),
                format!("{}{hint}", self.message.clone().unwrap_or_default()),
            ];
        }
        let or_none = |value: &Option<String>, name: &str| value.clone().unwrap_or_else(|| format!("no {name}"));
        let facts = [
            or_none(&self.system, "uname"),
            or_none(&self.git, "git"),
            or_none(&self.cargo, "cargo"),
            or_none(&self.llorch, "llorch"),
        ];
        let repo =
            self.repo.as_ref().map_or_else(|| String::from("no checkout"), |commit| format!("checkout {commit}"));
        vec![self.name.clone(), format!("ok {} ms", self.connect_ms), format!("{}, {repo}", facts.join(", "))]
    }
}
