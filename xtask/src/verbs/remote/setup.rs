//! `remote setup`: from a machine that has git and Rust to one that every verb runs on.

use std::collections::BTreeMap;

use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::cli::Globals;
use crate::configuration::{self, Profile};
use crate::failure::Failure;
use crate::process::{Group, print_plan};
use crate::remote::connection::Connection;
use crate::remote::far::{Place, Verb, environment};
use crate::remote::select::Host;
use crate::remote::session::{End, Task};
use crate::remote::snapshot::Snapshot;
use crate::remote::{Remote, ask, connect_shown, own_streams, sync_shown};
use crate::{git, interrupt, terminal, workspace};

/// The checkout over there, unless told otherwise: below the home folder.
const REPO: &str = "llorch";
/// What building needs, and how a person gets it.
const TOOLS: [(&str, &str); 3] = [
    ("git", "`apt-get install git`, `dnf install git`, `xcode-select --install`"),
    ("cargo", "install Rust with rustup, as the README says"),
    ("cc", "`apt-get install build-essential`, `dnf install gcc`, `xcode-select --install`"),
];

/// Make a host ready for every verb
///
/// Checks what building needs, sends this working tree, makes a checkout from it, builds, and gives the host a profile.
/// Each step that was done before is done again without harm.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask remote setup me@workstation.lan --name workstation
  cargo xtask remote setup workstation --repo src/llorch --no-build")]
pub struct Args {
    /// A profile, an alias of ssh, or user@host
    #[arg(value_name = "HOST")]
    host: String,
    /// What the profile is called; the host's own name if not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the checkout goes, absolute or below the home folder
    #[arg(long, value_name = "PATH")]
    repo: Option<String>,
    /// Leave out the first build
    #[arg(long)]
    no_build: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    host: &'a str,
    repo: &'a str,
    backends: &'a [Backend],
}

impl Args {
    /// Step by step; the first that does not succeed ends it.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let remote = Remote::load(globals.output)?;
        let host = remote.one(&self.host)?;
        let root = workspace::require()?;
        let name = self.name.clone().unwrap_or_else(|| default_name(&host));
        configuration::check_name(&name).map_err(|why| Failure::usage(why).hint("name it with `--name NAME`"))?;
        let of_profile = host.profile.as_ref().and_then(|profile| profile.repo.clone());
        let repo = self.repo.clone().or(of_profile).unwrap_or_else(|| String::from(REPO));
        configuration::check_path(&repo).map_err(Failure::usage)?;
        let build = ["build".into(), "all".into()];
        if globals.dry_run {
            return print_plan(globals.output, &self.plan(&name, &repo)?);
        }
        interrupt::watch()?;
        let output = globals.output;
        let connection = connect_shown(globals.output, &remote.ssh, &host)?;
        output.note("check git, cargo and a C compiler");
        let backends = check_tools(&connection)?;
        let synced = sync_shown(output, &connection, &Snapshot::take(&root)?)?;
        output.note(format_args!("checkout in `{repo}`"));
        clone(&connection, &synced.path, &repo, origin(&root)?.as_deref())?;
        let profile = profile(&host, repo.clone(), backends.clone())?;
        if !self.no_build {
            output.note("build; the first takes minutes");
            let verb = Verb { arguments: &build, place: Place::Checkout(repo.clone()), columns: terminal::columns() };
            let mut task = Task::new(verb.script(Some(&profile)));
            // What it prints to the other stream is no result of this verb.
            (_, task.stderr) = own_streams();
            match task.run(&connection)? {
                End::Code(0) => {}
                End::Code(code) => return Err(Failure { exit_code: code, ..step_failed(&host, "build", code) }),
                End::Step(step) => return Err(verb.step_failed(&host, &step)),
            }
        }
        let file = configuration::user_file()?;
        configuration::add_host(&file, &name, &profile)?;
        output.event(&Done { event: "done", host: &name, repo: &repo, backends: &backends })?;
        if !output.json {
            output.note(format_args!("`{name}` is ready: `cargo xtask dev doctor --remote {name}`"));
        }
        Ok(0)
    }

    fn plan(&self, name: &str, repo: &str) -> Result<Vec<String>, Failure> {
        let mut steps = vec![
            format!("connect to {}", self.host),
            String::from("check git, cargo, cc"),
            String::from("send the working tree"),
            format!("make a checkout in `{repo}` from it"),
        ];
        if !self.no_build {
            steps.push(String::from("cargo xtask build all"));
        }
        steps.push(format!("write `[hosts.{name}]` into {}", configuration::user_file()?.display()));
        Ok(steps)
    }
}

fn default_name(host: &Host) -> String {
    if host.profile.is_some() { host.name.clone() } else { host.ssh.host().to_owned() }
}

fn step_failed(host: &Host, step: &str, code: u8) -> Failure {
    Failure::new(format!("step `{step}` failed on `{}` with exit code {code}", host.name))
        .hint("mend that and run the same command again: it goes on")
}

/// Everything that is missing at once, and what the machine can run models on.
fn check_tools(connection: &Connection) -> Result<Vec<Backend>, Failure> {
    let script = environment(connection.host().profile.as_ref());
    let script = TOOLS.iter().fold(script, |script, (tool, _)| {
        script.then(&format!("command -v {tool} >/dev/null 2>&1 || echo missing {tool}\n"))
    });
    let script = script
        .then("nvidia-smi -L >/dev/null 2>&1 && echo has cuda\n[ \"$(uname -s)\" = Darwin ] && echo has metal\n:");
    let text = ask(connection, script)?;
    let missing = |tool: &str| text.lines().any(|line| line.strip_prefix("missing ") == Some(tool));
    let known: Vec<String> =
        TOOLS.iter().filter(|(tool, _)| missing(tool)).map(|(tool, how)| format!("{tool} is missing: {how}")).collect();
    if !known.is_empty() {
        let name = &connection.host().name;
        return Err(Failure::coded(ErrorCode::HostNotReady, format!("`{name}` lacks what building needs"))
            .known(known)
            .hint(
                "install that there; a folder that a plain shell does not know goes into the profile: `path = […]`",
            ));
    }
    let found = text.lines().filter_map(|line| line.strip_prefix("has ")?.parse().ok());
    Ok([Backend::Cpu].into_iter().chain(found).collect())
}

/// A checkout of its own for people over there; one that is there is left as it is.
fn clone(connection: &Connection, tree: &str, repo: &str, origin: Option<&str>) -> Result<(), Failure> {
    let script = environment(connection.host().profile.as_ref());
    let script = script.then("repo=").path(repo).then("\n[ -f \"$repo\"/xtask/Cargo.toml ] && step there\n");
    let script = script.then("[ ! -e \"$repo\" ] || [ -z \"$(ls -A \"$repo\")\" ] || step occupied\n");
    let script = script.then("git clone --quiet -- ").word(tree).then(" \"$repo\" >&2 || step clone\n");
    let script = match origin {
        Some(url) => script.then("git -C \"$repo\" remote set-url origin ").word(url).then(" || step origin\n"),
        None => script,
    };
    let (_, stderr) = own_streams();
    let mut task = Task::new(script.then(":"));
    task.stderr = stderr;
    match task.run(connection)? {
        End::Code(0) => Ok(()),
        End::Step(step) if step == "there" => Ok(()),
        End::Step(step) if step == "occupied" => {
            let message = format!("`{repo}` on `{}` is there and is no checkout of llorch", connection.host().name);
            Err(Failure::coded(ErrorCode::HostNotReady, message).hint("choose another place with `--repo PATH`"))
        }
        End::Step(step) => Err(step_failed(connection.host(), &step, 1)),
        End::Code(code) => Err(step_failed(connection.host(), "checkout", code)),
    }
}

/// Where this checkout came from, if another machine can reach that.
fn origin(root: &std::path::Path) -> Result<Option<String>, Failure> {
    let asked = git::call(root).args(["remote", "get-url", "origin"]).ask(Group::Own)?;
    let url = asked.text();
    let is_remote = url.starts_with("https://") || url.starts_with("ssh://") || url.starts_with("git@");
    Ok((asked.code == 0 && is_remote && !url.chars().any(char::is_control)).then(|| without_user(&url)))
}

/// An address without the name and password that may stand in it: they are this machine's.
fn without_user(url: &str) -> String {
    let Some(rest) = url.strip_prefix("https://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("https://{host}/{path}")
}

fn profile(host: &Host, repo: String, backends: Vec<Backend>) -> Result<Profile, Failure> {
    let file = configuration::user_file()?;
    let new = Profile {
        ssh: host.ssh.clone(),
        repo: None,
        backends: Vec::new(),
        tags: Vec::new(),
        path: Vec::new(),
        env: BTreeMap::new(),
        file,
    };
    let profile = host.profile.clone().unwrap_or(new);
    Ok(Profile { repo: Some(repo), backends, ..profile })
}

#[cfg(test)]
mod tests {
    use super::{TOOLS, without_user};

    #[test]
    fn a_password_in_an_address_stays_here() {
        for (url, sent) in [
            ("https://me:secret@git.lan/a@b.git", "https://git.lan/a@b.git"),
            ("https://git.lan/x", "https://git.lan/x"),
            ("git@git.lan:x", "git@git.lan:x"),
        ] {
            assert_eq!(without_user(url), sent);
        }
    }

    #[test]
    fn tools_are_plain_words() {
        assert!(TOOLS.iter().all(|(tool, _)| tool.chars().all(|letter| letter.is_ascii_lowercase())));
    }
}
