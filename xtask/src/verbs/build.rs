//! `build`: one program, or all of them.

use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;
use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use serde::Serialize;

use crate::binaries::candle::Checkout;
use crate::binaries::{self, Built, Marks, Product, Profile, Show};
use crate::cli::{self, Globals};
use crate::cuda::{self, Sight};
use crate::failure::Failure;
use crate::{cargo, interrupt, process, workspace};

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
    ///
    /// `cuda` takes the compiler from NVCC, PATH, CUDA_HOME, CUDA_PATH or /usr/local/cuda, and the device's compute
    /// capability from CUDA_COMPUTE_CAP or `nvidia-smi`; its stamp names the oldest driver that runs it. `metal` is built on
    /// macOS. `auto` is metal on macOS, cuda where a device of NVIDIA is, else cpu.
    #[command(after_help = "Examples:
  cargo xtask build worker cpu
  cargo xtask build worker auto --dry-run
  cargo xtask build worker cuda --remote workstation --sync
  cargo xtask build worker cpu --remote workstation --sync --fetch
  cargo xtask build worker cpu --with-candle reference/candle")]
    Worker {
        /// What it runs models on
        #[arg(value_parser = cli::one_of(Wanted::named()))]
        backend: Wanted,
        /// With this checkout of candle instead of the released crates; the program lies in target/with-candle
        #[arg(long, value_name = "PATH", conflicts_with = "fetch")]
        with_candle: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// The program that owns the workers of a machine
    #[command(after_help = "Examples:
  cargo xtask build pool
  cargo xtask build pool --debug")]
    Pool(How),
    /// The program that decides where work runs: not built yet
    #[command(after_help = "Examples:
  cargo xtask build orchestrator
  cargo xtask build orchestrator --debug")]
    Orchestrator(How),
    /// Every worker that can be built here, the pool, the converter
    #[command(after_help = "Examples:
  cargo xtask build all
  cargo xtask build all --json")]
    All(How),
}

/// A backend, or the best one that this machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// This one.
    Named(Backend),
    /// Decided by the machine.
    Auto,
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

impl Wanted {
    /// Everything that can be wanted, by name.
    fn named() -> impl Iterator<Item = (&'static str, Self)> {
        let backends = Backend::ALL.into_iter().map(|backend| (backend.name(), Wanted::Named(backend)));
        backends.chain([("auto", Wanted::Auto)])
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Named(backend) => backend.fmt(formatter),
            Wanted::Auto => formatter.write_str("auto"),
        }
    }
}

impl Verb {
    /// Whether what is built elsewhere is to be brought here.
    pub fn fetches(&self) -> bool {
        match self {
            Verb::Worker { how, .. } | Verb::Pool(how) | Verb::Orchestrator(how) | Verb::All(how) => how.fetch,
        }
    }

    /// Builds what was named and prints where it is.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let output = globals.output;
        let (products, with_candle, how) = match self {
            Verb::Worker { backend, with_candle, how } => {
                let backend = match backend {
                    Wanted::Named(backend) => backend,
                    Wanted::Auto => {
                        let look = || output.during("looking for devices of NVIDIA", cuda::look);
                        let (backend, why) = best(std::env::consts::OS, look);
                        match why {
                            Ok(why) => output.note(format_args!("auto: {backend} ({why})")),
                            Err(why) => output.warning(format_args!("auto: {backend}, because {why}")),
                        }
                        backend
                    }
                };
                (vec![Product::Worker(backend)], with_candle, how)
            }
            Verb::Pool(how) => (vec![Product::Pool], None, how),
            Verb::Orchestrator(_) => {
                let failure = Failure::usage("`llorch-orchestrator` is not built yet: this version has none");
                return Err(failure.hint("`cargo xtask build all` builds the programs that there are"));
            }
            Verb::All(how) => {
                let workers = binaries::backends_here().into_iter().map(Product::Worker);
                (workers.chain([Product::Pool, Product::Convert]).collect(), None, how)
            }
        };
        let root = workspace::require()?;
        let checkout = with_candle.map(|folder| Checkout::read(&root, &folder)).transpose()?;
        let marks = output.during("looking at compilers", || Marks::read_for(&root, &products))?;
        let marks = match &checkout {
            Some(checkout) => marks.with_candle(checkout.clone()),
            None => marks,
        };
        let plans = products.iter().map(|product| binaries::plan(&root, *product, how.profile(), &marks));
        let plans: Vec<_> = plans.collect();
        if globals.dry_run {
            let before = checkout.iter().map(|checkout| checkout.workspace.words());
            let target = match &checkout {
                Some(checkout) => checkout.workspace.place.clone(),
                None => cargo::target_directory(&root)?,
            };
            let toolchain = format!("with {}", cargo::toolchain(&root)?);
            let steps = before.chain(plans.iter().flat_map(|plan| plan.words(&target)));
            return process::print_plan(output, &[toolchain].into_iter().chain(steps).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        if let Some(checkout) = &checkout {
            output.command(checkout.workspace.words());
            checkout.workspace.lay_out()?;
        }
        let mut programs = Vec::new();
        for plan in &plans {
            let Built { product, path, stamp } = binaries::build(output, plan, Show::All)?;
            if stamp.candle.as_ref() != checkout.as_ref().map(|checkout| &checkout.mark) {
                let message = format!("`{}` is not stamped for the candle it was built with", path.display());
                return Err(Failure::coded(ErrorCode::Internal, message));
            }
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

/// What `auto` means, and why.
///
/// The reason is an error where a device may be here and cannot be used: nobody gets the slower worker unawares.
fn best(system: &str, look: impl FnOnce() -> Sight) -> (Backend, Result<&'static str, String>) {
    if system == "macos" {
        return (Backend::Metal, Ok("this is macOS"));
    }
    match look() {
        Sight::Device => (Backend::Cuda, Ok("there is a device of NVIDIA")),
        Sight::Nothing => (Backend::Cpu, Ok("no device of NVIDIA is to be seen")),
        Sight::Unclear(why) => (Backend::Cpu, Err(why)),
    }
}

#[cfg(test)]
mod tests {
    use protocol::identifiers::Backend;

    use super::{Wanted, best};
    use crate::cuda::Sight;

    #[test]
    fn auto_is_the_best_that_the_machine_is_for() {
        let backend = |system, sight| best(system, || sight).0;
        assert_eq!(backend("macos", Sight::Device), Backend::Metal);
        assert_eq!((backend("linux", Sight::Device), backend("linux", Sight::Nothing)), (Backend::Cuda, Backend::Cpu));
        let unclear = best("linux", || Sight::Unclear(String::from("it hangs")));
        assert_eq!(unclear, (Backend::Cpu, Err(String::from("it hangs"))));
    }

    #[test]
    fn what_can_be_wanted_is_named_in_the_error() {
        let parse =
            |text: &str| crate::cli::command("llorch").try_get_matches_from(["llorch", "build", "worker", text]);
        for (name, wanted) in Wanted::named() {
            assert_eq!(name, wanted.to_string());
            assert!(parse(name).is_ok(), "{name}");
        }
        let error = parse("tpu").expect_err("there is no such backend").to_string();
        assert!(error.contains("[possible values: cpu, cuda, metal, auto]"), "{error}");
    }
}
