//! `build`: one program, or all of them.

use clap::Subcommand;
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::binaries::{self, BACKENDS, Built, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::{interrupt, process, workspace};

/// Compile the programs
///
/// Each program carries a stamp (`--version --json`): backend, features, commit, target. A worker for a backend that
/// cannot be built here is an error, never a slower worker.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  cargo xtask build worker cpu
  cargo xtask build pool --debug
  cargo xtask build worker cpu --remote workstation --sync --fetch
  cargo xtask build all --json")]
pub enum Verb {
    /// The program that runs a model, for one backend
    #[command(after_help = "Examples:
  cargo xtask build worker cpu
  cargo xtask build worker cpu --remote workstation --sync --fetch")]
    Worker {
        /// cpu, cuda or metal
        backend: Backend,
        #[command(flatten)]
        how: How,
    },
    /// The program that owns the workers of a machine
    #[command(after_help = "Examples:
  cargo xtask build pool
  cargo xtask build pool --debug")]
    Pool(How),
    /// Every program that can be built here
    #[command(after_help = "Examples:
  cargo xtask build all
  cargo xtask build all --json")]
    All(How),
}

/// How to compile.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct How {
    /// With checks and without optimisation
    #[arg(long)]
    debug: bool,
    /// With --remote: bring the program back, into target/remote/HOST
    #[arg(long)]
    fetch: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    program: String,
    path: &'a std::path::Path,
    stamp: &'a protocol::stamp::Stamp,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    programs: Vec<String>,
}

impl How {
    /// The decision.
    pub fn profile(self) -> Profile {
        if self.debug { Profile::Debug } else { Profile::Release }
    }
}

impl Verb {
    /// Whether what is built elsewhere is to be brought here.
    pub fn fetches(&self) -> bool {
        match self {
            Verb::Worker { how, .. } | Verb::Pool(how) | Verb::All(how) => how.fetch,
        }
    }

    /// Builds what was named and prints where it is.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (products, how) = match self {
            Verb::Worker { backend, how } => {
                binaries::require_backend(backend)?;
                (vec![Product::Worker(backend)], how)
            }
            Verb::Pool(how) => (vec![Product::Pool], how),
            Verb::All(how) => {
                let workers = BACKENDS.map(Product::Worker);
                (workers.into_iter().chain([Product::Pool]).collect(), how)
            }
        };
        let root = workspace::require()?;
        let marks = Marks::read(&root)?;
        let calls = products.iter().map(|product| binaries::plan(&root, *product, how.profile(), &marks));
        let calls: Vec<_> = calls.collect();
        if globals.dry_run {
            return process::print_plan(globals.output, &calls.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let output = globals.output;
        let mut programs = Vec::new();
        for (product, call) in products.iter().zip(&calls) {
            let Built { product, path, stamp } = binaries::build(output, call, *product, Show::All)?;
            let program = product.installed_name();
            output.event(&Line { event: "built", program: program.clone(), path: &path, stamp: &stamp })?;
            if !output.json {
                output.line(&path.display().to_string())?;
            }
            programs.push(program);
        }
        output.event(&Done { event: "done", programs })?;
        Ok(0)
    }
}
