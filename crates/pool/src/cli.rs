//! The command line: what can be typed, turned into typed requests. Functions below this file never see clap.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use models::places::Places;
use protocol::error::ErrorCode;
use protocol::identifiers::{Backend, ModelId, WorkerId};

use crate::error::PoolError;
use crate::launch::LogLimits;
use crate::model::Wanted;
use crate::output::Output;
use crate::{devices, list, logs, spawn, stop, supervise};

/// One machine's workers and devices
///
/// Every verb works by itself; no daemon has to run. Workers live on when the command ends.
#[derive(Debug, Parser)]
#[command(name = "llorch-pool", disable_version_flag = true, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// Print JSON only to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Print what this program is, built for and from
    #[arg(long, short = 'V')]
    pub version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  llorch-pool worker spawn cpu --model smollm2
  llorch-pool worker list
  llorch-pool worker stop --all
  llorch-pool devices --json";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start, list and stop worker processes
    #[command(subcommand)]
    Worker(WorkerVerb),
    /// List what models can run on here
    Devices,
    /// Own one worker (started by `worker spawn`)
    #[command(hide = true)]
    Supervise {
        /// Its id
        worker_id: WorkerId,
    },
}

#[derive(Debug, Subcommand)]
enum WorkerVerb {
    /// Start a worker and wait until it is ready
    Spawn(SpawnArgs),
    /// List workers
    List {
        /// Stopped ones too
        #[arg(long)]
        all: bool,
    },
    /// Stop workers; stopping one twice is no error
    Stop(StopArgs),
    /// Stop every worker
    StopAll {
        #[command(flatten)]
        grace: Grace,
    },
    /// Print the end of a worker's output
    Logs(LogsArgs),
}

/// Start a worker and wait until it is ready
///
/// The worker lives on when the command ends. With `--attached` it does not: it is stopped when standard input ends,
/// whatever ended it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llorch-pool worker spawn cpu --model smollm2
  llorch-pool worker spawn cpu --model-path ./model.gguf --context 2048 --json")]
struct SpawnArgs {
    /// What the worker's program is built for: cpu, cuda or metal
    backend: Backend,
    /// A model of the store; its bytes are checked before anything starts
    #[arg(long, value_name = "ID", required_unless_present = "model_path", conflicts_with = "model_path")]
    model: Option<ModelId>,
    /// A model file anywhere; it is taken as it is, its bytes are checked against nothing
    #[arg(long, value_name = "PATH")]
    model_path: Option<PathBuf>,
    /// Device index
    #[arg(long, alias = "gpu", value_name = "N", default_value_t = 0)]
    device: u32,
    /// Positions a sequence may use (default: the model's own limit)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Sequences at once (default: the worker's choice)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: Option<u32>,
    /// The worker's program (default: `llorch-worker-<backend>` or `llorch-worker` beside this one)
    #[arg(long, env = "LLORCH_WORKER_BINARY", value_name = "PATH")]
    worker_binary: Option<PathBuf>,
    /// Give up when loading has not moved for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Hold the worker, and stop it when standard input ends
    #[arg(long)]
    attached: bool,
    #[command(flatten)]
    grace: Grace,
    /// Largest size of one log file
    #[arg(long, env = "LLORCH_LOG_BYTES", value_name = "BYTES", default_value_t = 10 * 1024 * 1024,
        value_parser = clap::value_parser!(u64).range(1024..))]
    log_bytes: u64,
    /// Log files kept for a worker, the current one included
    #[arg(long, env = "LLORCH_LOG_FILES", value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    log_files: u32,
}

/// A worker's own deadline, and what it takes to say goodbye to every client.
const DEFAULT_GRACE_SECONDS: u64 = protocol::worker::DRAIN_DEADLINE_SECONDS + 5;

#[derive(Debug, Args)]
struct Grace {
    /// Seconds a worker has to end by itself before it is killed; a busy one lets its jobs go on for 10
    #[arg(long = "grace", value_name = "SECONDS", default_value_t = DEFAULT_GRACE_SECONDS, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    seconds: u64,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// Which
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<WorkerId>,
    /// Every one
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    grace: Grace,
}

#[derive(Debug, Args)]
struct LogsArgs {
    /// Whose
    #[arg(value_name = "ID")]
    worker_id: WorkerId,
    /// Go on until the worker ends
    #[arg(long, short)]
    follow: bool,
    /// Lines from the end
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200)]
    lines: usize,
}

impl Cli {
    /// Carries out what was typed. Returns the exit code.
    ///
    /// # Errors
    /// See the verbs.
    pub fn run(self) -> Result<u8, PoolError> {
        let output = Output { json: self.json, verbose: self.verbose };
        if self.version {
            return version(output).map(|()| 0);
        }
        match self.verb {
            None => Err(PoolError::new(ErrorCode::InvalidParams, "no verb given").hint("see `llorch-pool --help`")),
            Some(Verb::Worker(verb)) => verb.run(output),
            Some(Verb::Devices) => devices::run(output).map(|()| 0),
            Some(Verb::Supervise { worker_id }) => {
                supervise::run(&worker_id);
                Ok(0)
            }
        }
    }
}

impl WorkerVerb {
    fn run(self, output: Output) -> Result<u8, PoolError> {
        let places = Places::from_environment()
            .map_err(|error| PoolError::new(ErrorCode::InvalidParams, error.to_string()).hint(error.hint()))?;
        let state_dir = places.state.path.as_path();
        match self {
            WorkerVerb::Spawn(args) => spawn::run(output, &args.request(&places)?),
            WorkerVerb::List { all } => list::run(output, state_dir, all).map(|()| 0),
            WorkerVerb::Stop(args) => {
                let which = if args.all { stop::Which::All } else { stop::Which::Ids(args.ids) };
                stop::run(output, state_dir, &which, args.grace.duration()).map(|()| 0)
            }
            WorkerVerb::StopAll { grace } => {
                stop::run(output, state_dir, &stop::Which::All, grace.duration()).map(|()| 0)
            }
            WorkerVerb::Logs(args) => {
                let options = logs::Options { worker_id: args.worker_id, lines: args.lines, follow: args.follow };
                logs::run(output, state_dir, &options).map(|()| 0)
            }
        }
    }
}

impl SpawnArgs {
    fn request(self, places: &Places) -> Result<spawn::Request, PoolError> {
        let model = match (self.model, self.model_path) {
            (Some(id), None) => Wanted::Id(id),
            (None, Some(path)) => Wanted::Path(path),
            // clap sees to it that exactly one is there.
            (None, None) | (Some(_), Some(_)) => {
                return Err(PoolError::new(ErrorCode::InvalidParams, "give `--model` or `--model-path`"));
            }
        };
        Ok(spawn::Request {
            state_dir: places.state.path.clone(),
            models_dir: places.models(),
            backend: self.backend,
            model,
            device: self.device,
            context: self.context,
            slots: self.slots,
            worker_binary: self.worker_binary,
            timeout: Duration::from_secs(self.timeout),
            grace: self.grace.duration(),
            attached: self.attached,
            log: LogLimits { size_bytes: self.log_bytes, count: self.log_files },
        })
    }
}

impl Grace {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn version(output: Output) -> Result<(), PoolError> {
    let stamp = protocol::stamp!("llorch-pool", None, Vec::new());
    let printed = if output.json {
        output.value(&stamp)
    } else {
        output.line(&format!("{} {} ({}, {})", stamp.program, stamp.version, stamp.commit, stamp.profile))
    };
    printed.map_err(|cause| PoolError::internal("failed to print", cause))
}
