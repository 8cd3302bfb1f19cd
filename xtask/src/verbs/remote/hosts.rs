//! `remote hosts`: the profiles in the configuration, and whether they can be reached.

mod check;

use std::collections::BTreeMap;

use clap::Subcommand;
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::cli::{self, Globals};
use crate::configuration::{self, Configuration, Profile};
use crate::failure::Failure;
use crate::process::print_plan;
use crate::remote::destination::Destination;

/// The hosts that have a name here
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask remote hosts list
  cargo xtask remote hosts add workstation me@workstation.lan --repo src/llorch --backend cuda --tag gpu
  cargo xtask remote hosts check")]
pub enum Verb {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Check(check::Args),
}

/// Show the profiles
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote hosts list
  cargo xtask remote hosts list --json")]
pub struct ListArgs {}

/// Give a host a name
///
/// Writes `[hosts.NAME]` into the configuration file; whatever else stands there stays as it is. Of a name that is there
/// already, only what is given changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote hosts add mac me@mac.lan --backend metal
  cargo xtask remote hosts add workstation workstation --repo src/llorch --tag gpu")]
pub struct AddArgs {
    /// What it is to be called
    name: String,
    /// How ssh goes there: an alias, or user@host
    #[arg(value_name = "SSH")]
    ssh: String,
    /// The checkout over there, absolute or below its home folder
    #[arg(long, value_name = "PATH")]
    repo: Option<String>,
    /// What it can run models on
    #[arg(long = "backend", value_name = "BACKEND", value_parser = cli::backend())]
    backends: Vec<Backend>,
    /// A group it belongs to: `--remote tag:TAG`
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A folder to put before its PATH
    #[arg(long = "path", value_name = "FOLDER")]
    path: Vec<String>,
    /// A variable of every task there
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
}

/// Forget a host
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote hosts remove mac
  cargo xtask remote hosts remove mac --json")]
pub struct RemoveArgs {
    /// Which
    #[arg(value_name = "HOST")]
    name: String,
}

#[derive(Serialize)]
struct Document {
    hosts: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    ssh: String,
    repo: Option<String>,
    backends: Vec<Backend>,
    tags: Vec<String>,
    file: String,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    host: &'a str,
    file: String,
}

impl Verb {
    /// Carries it out; returns the exit code.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        match self {
            Verb::List(args) => args.run(globals),
            Verb::Add(args) => args.run(globals),
            Verb::Remove(args) => args.run(globals),
            Verb::Check(args) => args.run(globals),
        }
    }
}

impl ListArgs {
    fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let configuration = Configuration::load()?;
        let row = |(name, profile): (String, Profile)| Row {
            name,
            ssh: profile.ssh.to_string(),
            repo: profile.repo,
            backends: profile.backends,
            tags: profile.tags,
            file: profile.file.display().to_string(),
        };
        let hosts: Vec<Row> = configuration.hosts.into_iter().map(row).collect();
        let output = globals.output;
        if output.json {
            output.value(&Document { hosts })?;
            return Ok(0);
        }
        if hosts.is_empty() {
            output.note("no host has a profile; `cargo xtask remote hosts add NAME USER@HOST` makes one");
            return Ok(0);
        }
        let words = |row: &Row| {
            let backends: Vec<String> = row.backends.iter().map(ToString::to_string).collect();
            let tags: Vec<String> = row.tags.iter().map(|tag| format!("tag:{tag}")).collect();
            vec![
                row.name.clone(),
                row.ssh.clone(),
                row.repo.clone().unwrap_or_default(),
                backends.join(","),
                tags.join(","),
            ]
        };
        output.table(&hosts.iter().map(words).collect::<Vec<_>>())?;
        Ok(0)
    }
}

impl AddArgs {
    fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let file = configuration::user_file()?;
        let (name, profile) = self.parse(file.clone())?;
        if globals.dry_run {
            return print_plan(globals.output, &[format!("write `[hosts.{name}]` into {}", file.display())]);
        }
        let is_new = configuration::add_host(&file, &name, &profile)?;
        globals.output.event(&Done { event: "done", host: &name, file: file.display().to_string() })?;
        if !globals.output.json {
            let verb = if is_new { "added" } else { "changed" };
            globals.output.note(format_args!(
                "{verb} `{name}` in `{}`; `cargo xtask remote hosts check {name}` tries it",
                file.display()
            ));
        }
        Ok(0)
    }

    fn parse(self, file: std::path::PathBuf) -> Result<(String, Profile), Failure> {
        configuration::check_name(&self.name).map_err(Failure::usage)?;
        let ssh: Destination = self.ssh.parse().map_err(|error: crate::remote::destination::DestinationError| {
            Failure::usage(format!("{:?} is no host: {error}", self.ssh)).hint(error.hint())
        })?;
        let mut env = BTreeMap::new();
        for text in &self.env {
            let (name, value) =
                text.split_once('=').ok_or_else(|| Failure::usage(format!("`{text}` is no NAME=VALUE")))?;
            env.insert(name.to_owned(), value.to_owned());
        }
        let Self { name, repo, backends, tags, path, .. } = self;
        let profile = Profile { ssh, repo, backends, tags, path, env, file };
        profile.check().map_err(Failure::usage)?;
        Ok((name, profile))
    }
}

impl RemoveArgs {
    fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let file = configuration::user_file()?;
        let is_there = Configuration::load()?.hosts.get(&self.name).is_some_and(|profile| profile.file == file);
        if globals.dry_run && is_there {
            return print_plan(globals.output, &[format!("remove `[hosts.{}]` from {}", self.name, file.display())]);
        }
        if !is_there || !configuration::remove_host(&file, &self.name)? {
            let message = format!("`{}` has no profile in `{}`", self.name, file.display());
            return Err(Failure::usage(message).hint("cargo xtask remote hosts list"));
        }
        globals.output.event(&Done { event: "done", host: &self.name, file: file.display().to_string() })?;
        if !globals.output.json {
            globals.output.note(format_args!("removed `{}` from `{}`", self.name, file.display()));
        }
        Ok(0)
    }
}
