//! `worker`: worker processes of this machine, through `llorch-pool`.

use clap::Subcommand;
use protocol::identifiers::{Backend, WorkerId};

use crate::binaries::Profile;
use crate::cli::{self, Globals};
use crate::download::Shelf;
use crate::failure::Failure;
use crate::interrupt;
use crate::pool::{self, Needs};
use crate::process::{Call, Group, print_plan};

/// Start, list and stop workers on this machine
///
/// Builds what is not built and calls `llorch-pool`, which owns every worker of a machine.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask worker start cpu --model smollm2
  cargo xtask worker list
  cargo xtask worker stop --all")]
pub enum Verb {
    Start(StartArgs),
    Stop(StopArgs),
    List(ListArgs),
    Logs(LogsArgs),
}

/// Start a worker and wait until it is ready
///
/// It lives on when the command ends. Fetches the model if it is not here. With `--json` the last line has `url`,
/// `worker_id` and `pid`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask worker start cpu --model smollm2
  cargo xtask worker start cpu --model smollm2 --json")]
pub struct StartArgs {
    /// What it runs on
    #[arg(value_parser = cli::backend())]
    backend: Backend,
    /// The model
    #[arg(long, value_name = "ID")]
    model: String,
    /// Device index
    #[arg(long, alias = "gpu", value_name = "N", default_value_t = 0)]
    device: u32,
    /// Build with checks and without optimisation
    #[arg(long)]
    debug: bool,
}

/// Stop workers; stopping one twice is no error
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask worker stop w-0123456789ab
  cargo xtask worker stop --all")]
pub struct StopArgs {
    /// Which
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<WorkerId>,
    /// Every one
    #[arg(long)]
    all: bool,
}

/// List workers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask worker list
  cargo xtask worker list --json")]
pub struct ListArgs {
    /// Stopped ones too
    #[arg(long)]
    all: bool,
}

/// Print the end of a worker's output
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask worker logs w-0123456789ab
  cargo xtask worker logs w-0123456789ab --follow")]
pub struct LogsArgs {
    /// Whose
    #[arg(value_name = "ID")]
    id: WorkerId,
    /// Go on until the worker ends
    #[arg(long, short)]
    follow: bool,
}

impl Verb {
    /// Passes the verb on to the pool, whose output and exit code stand.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let mut needs = Needs { worker: None, profile: Profile::Release };
        let mut model = None;
        let mut arguments = vec![String::from("worker")];
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
        match &self {
            Verb::Start(args) => {
                needs.worker = Some(args.backend);
                needs.profile = if args.debug { Profile::Debug } else { Profile::Release };
                let shelf = Shelf::open(globals)?;
                let id = shelf.require_runnable(&args.model)?;
                add(&["spawn", args.backend.name(), "--model", id.as_str(), "--device", &args.device.to_string()]);
                model = Some((shelf, id));
            }
            Verb::Stop(args) => {
                add(&["stop"]);
                args.ids.iter().for_each(|id| add(&[id.as_str()]));
                add(if args.all { &["--all"] } else { &[] });
            }
            Verb::List(args) => add(if args.all { &["list", "--all"] } else { &["list"] }),
            Verb::Logs(args) => {
                add(&["logs", args.id.as_str()]);
                add(if args.follow { &["--follow"] } else { &[] });
            }
        }
        add(if globals.output.json { &["--json"] } else { &[] });
        let plan = pool::plan(needs)?;
        if globals.dry_run {
            let builds = plan.iter().map(|plan| plan.call.to_string());
            let ensure = model.iter().map(|(_, id)| format!("ensure model {id}"));
            let call = Call::new("llorch-pool").args(&arguments).to_string();
            return print_plan(globals.output, &builds.chain(ensure).chain([call]).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let program = pool::find(globals.output, &plan)?;
        if let Some((shelf, id)) = model {
            shelf.ensure(globals.output, &id)?;
        }
        Call::new(program).args(&arguments).run(Group::Shared)
    }
}
