//! `dev setup`: installs what is missing, writes a configuration, fetches the default model, ends with the doctor.

mod packages;

use std::path::PathBuf;

use protocol::identifiers::ModelId;
use serde::Serialize;

use super::doctor::{exit_code, print, typed};
use crate::cli::Globals;
use crate::configuration;
use crate::doctor::{Check, Scene, Status, examine, is_on_path};
use crate::download::{DEFAULT_MODEL, Shelf};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, print_plan};
use crate::{interrupt, question};
use packages::{Manager, System, Tool};

/// Which check tells that a tool is missing.
const TOOLS: [(&str, Tool); 6] = [
    ("c compiler", Tool::Compiler),
    ("linker", Tool::Compiler),
    ("git", Tool::Git),
    ("ssh", Tool::Ssh),
    ("python3", Tool::Python),
    ("pip", Tool::Pip),
];

/// Install what is missing, write a configuration, fetch the default model
///
/// Uses the system's package manager: apt-get, dnf, pacman or brew. Shows what it would do and asks first. What is there is
/// left as it is, so that it can be run again at any time. Ends with `dev doctor`, whose exit code it has.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dev setup
  cargo xtask dev setup --dry-run
  cargo xtask dev setup --yes --no-model")]
pub struct Args {
    /// Leave out the default model (94 MB)
    #[arg(long)]
    no_model: bool,
}

/// What is to be done; nothing in it is nothing to do.
struct Plan {
    tools: Vec<&'static str>,
    calls: Vec<Call>,
    configuration: Option<PathBuf>,
    model: Option<ModelId>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    /// Names of checks that failed before.
    installed: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_written: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_fetched: Option<ModelId>,
    checks: Vec<Check>,
}

/// Instead of `done` where something failed, which follows.
#[derive(Serialize)]
struct Checked {
    event: &'static str,
    checks: Vec<Check>,
}

impl Args {
    /// Looks, asks, does, looks again.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let output = globals.output;
        let shelf = Shelf::open(globals)?;
        let plan = self.plan(&shelf)?;
        let steps = plan.steps();
        if globals.dry_run {
            return print_plan(output, &steps);
        }
        let has_work = !steps.is_empty();
        if has_work && !globals.yes {
            question::require(output)?;
            steps.iter().for_each(|step| output.note(format_args!("  {step}")));
            if !question::ask(output, "Do this?")? {
                output.note("nothing was changed");
                return Ok(1);
            }
        }
        interrupt::watch()?;
        for call in &plan.calls {
            output.command(call);
            let code = call.run_to_stderr(Group::Shared)?;
            if code != 0 {
                return Err(call.failed(code).hint("mend that and run the same command again: it goes on"));
            }
        }
        let failure = plan.write_and_fetch(output, &shelf);
        if failure.as_ref().is_some_and(Failure::is_interrupt) {
            return failure.map_or(Ok(0), Err);
        }
        let checks = typed(examine(Scene::read(&[]))?);
        let code = exit_code(&checks);
        if !output.json {
            print(output, &checks)?;
        }
        match failure {
            Some(failure) => {
                output.event(&Checked { event: "checked", checks })?;
                Err(failure)
            }
            None => {
                let Plan { tools: installed, configuration: config_written, model: model_fetched, .. } = plan;
                output.event(&Done { event: "done", installed, config_written, model_fetched, checks })?;
                Ok(code)
            }
        }
    }

    fn plan(&self, shelf: &Shelf) -> Result<Plan, Failure> {
        let scene = Scene::read(&[]);
        let builds = scene.root.is_some();
        let checks = examine(scene)?;
        let is_missing = |name: &str| checks.iter().any(|check| check.name == name && check.status != Status::Ok);
        // Nothing is compiled outside a checkout.
        let is_needed = |tool: Tool| tool != Tool::Compiler || builds;
        let missing = TOOLS.into_iter().filter(|(name, tool)| is_missing(name) && is_needed(*tool));
        let (names, mut tools): (Vec<&'static str>, Vec<Tool>) = missing.unzip();
        tools.dedup();
        let file = configuration::user_file()?;
        let is_there = std::fs::symlink_metadata(&file).is_ok();
        let model = if self.no_model { None } else { wanted_model(shelf)? };
        Ok(Plan {
            calls: if tools.is_empty() { Vec::new() } else { installing(&names, &tools)? },
            tools: names,
            configuration: (!is_there).then_some(file),
            model,
        })
    }
}

/// The calls that install the tools, or why there are none.
fn installing(names: &[&str], tools: &[Tool]) -> Result<Vec<Call>, Failure> {
    let system = System { is_mac: cfg!(target_os = "macos"), is_root: rustix::process::geteuid().is_root() };
    let known = || vec![format!("missing: {}", names.join(", "))];
    let Some(manager) = Manager::detect(system.is_mac, &is_on_path) else {
        let message = "there is no package manager that is known here: apt-get, dnf, pacman, brew";
        return Err(Failure::new(message).known(known()).hint("install what is missing by hand, then run this again"));
    };
    let calls = manager.plan(tools, system);
    if calls.iter().any(|call| call.to_string().starts_with("sudo ")) && !is_on_path("sudo") {
        let message = "installing needs root, and there is no `sudo`";
        return Err(Failure::new(message).known(known()).hint("run it as root: `su -c 'cargo xtask dev setup'`"));
    }
    Ok(calls)
}

/// The default model, if it is not here whole.
fn wanted_model(shelf: &Shelf) -> Result<Option<ModelId>, Failure> {
    let entry = shelf.catalog.find(DEFAULT_MODEL)?;
    let is_here = match shelf.store.get(&entry.id) {
        Ok(Some(installed)) => installed.satisfies(entry) && installed.is_complete(),
        Ok(None) | Err(_) => false,
    };
    Ok((!is_here).then(|| entry.id.clone()))
}

impl Plan {
    /// What is not a program. Each is tried, and the doctor looks at what came of it; the last failure is the command's.
    fn write_and_fetch(&self, output: Output, shelf: &Shelf) -> Option<Failure> {
        let write = |file: &PathBuf| {
            configuration::write_default(file)?;
            output.note(format_args!("wrote `{}`", file.display()));
            Ok(())
        };
        let fetch = |model: &ModelId| {
            let installed = shelf.ensure(output, model)?;
            output.note(format_args!("fetched `{}`", installed.model_file().display()));
            Ok(())
        };
        let unwritten = self.configuration.as_ref().map(write).and_then(Result::err);
        let unfetched = self.model.as_ref().map(fetch).and_then(Result::err);
        let mut failures = [unwritten, unfetched].into_iter().flatten();
        let (first, second) = (failures.next(), failures.next());
        if let (Some(first), Some(_)) = (&first, &second) {
            output.without_events().failure(first);
        }
        second.or(first)
    }

    fn steps(&self) -> Vec<String> {
        let calls = self.calls.iter().map(ToString::to_string);
        let file = self.configuration.iter().map(|file| format!("write {}", file.display()));
        let model = self.model.iter().map(|model| format!("cargo xtask models download {model}"));
        calls.chain(file).chain(model).collect()
    }
}
