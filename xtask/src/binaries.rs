//! Building the programs: one cargo call each, unless nothing changed; a stamp passed in, the stamp of the result checked.
//!
//! The plan is pure; `build`, `infer`, `worker`, `test` and `install` share it. What a build for cuda needs of the machine is
//! found in `cuda.rs`; building against a checkout of candle is `binaries/candle.rs`, reading stamps `binaries/stamp.rs`.

pub mod candle;
mod freshness;
pub mod stamp;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use launcher::freshness::Build;
use protocol::identifiers::Backend;
use protocol::stamp::Stamp;

use crate::cuda::Toolkit;
use crate::failure::Failure;
use crate::output::Output;
use crate::process::Call;
use crate::{cargo, git};

/// Backends this version can build a worker for, on some machine. A new one is a row here and in `engine`.
pub const BACKENDS: [Backend; 3] = [Backend::Cpu, Backend::Cuda, Backend::Metal];

/// A program of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `llorch-worker` for one backend.
    Worker(Backend),
    /// `llorch-pool`.
    Pool,
    /// `llorch-convert`.
    Convert,
    /// This command, as it is installed.
    Command,
}

/// How it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Optimised.
    Release,
    /// With checks.
    Debug,
}

/// How much of cargo is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The command and all that cargo says.
    All,
    /// What cargo says only if it had something to do.
    Work,
}

/// How one program is to be built.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which.
    pub product: Product,
    /// How it is compiled.
    pub profile: Profile,
    /// The call that builds it.
    pub call: Call,
    root: PathBuf,
    /// What a worker for cuda is compiled with.
    toolkit: Option<Toolkit>,
}

/// A program that was built and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Which.
    pub product: Product,
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub stamp: Stamp,
}

/// What is compiled into a program, and with what: read once for a whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    commit: String,
    target: String,
    /// Where a worker for cuda is among the products.
    cuda: Option<Toolkit>,
    /// Instead of the released crates.
    candle: Option<candle::Checkout>,
}

impl Product {
    /// What cargo calls the program.
    fn binary(self) -> &'static str {
        match self {
            Product::Worker(_) => "llorch-worker",
            Product::Pool => "llorch-pool",
            Product::Convert => "llorch-convert",
            Product::Command => "xtask",
        }
    }

    /// What a build leaves to be used: a worker under the name of its backend, others as cargo calls them.
    fn program_name(self) -> String {
        match self {
            Product::Worker(_) => self.installed_name(),
            Product::Pool | Product::Convert | Product::Command => self.binary().to_owned(),
        }
    }

    /// Its name where it is used: workers of several backends lie side by side.
    pub fn installed_name(self) -> String {
        match self {
            Product::Worker(backend) => format!("llorch-worker-{backend}"),
            Product::Pool => String::from("llorch-pool"),
            Product::Convert => String::from("llorch-convert"),
            Product::Command => String::from("llorch"),
        }
    }
}

impl Profile {
    /// The folder cargo builds it into, in the target folder.
    fn folder(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Debug => "debug",
        }
    }
}

impl Marks {
    /// Asks git and rustc.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        // Side by side: a build with nothing to do waits for little else.
        let (commit, target) = std::thread::scope(|scope| {
            let target = scope.spawn(|| cargo::host(root));
            let commit = git::commit(root);
            (commit, target.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(Self { commit: commit?, target: target?, cuda: None, candle: None })
    }

    /// The same for workers too, with what their backends need of this machine.
    ///
    /// # Errors
    /// A backend cannot be built here, before anything runs: there is no second best.
    pub fn read_for(root: &Path, products: &[Product]) -> Result<Self, Failure> {
        for product in products {
            require_system(*product, std::env::consts::OS)?;
        }
        let cuda = products.contains(&Product::Worker(Backend::Cuda)).then(Toolkit::find).transpose()?;
        Ok(Self { cuda, ..Self::read(root)? })
    }

    /// The triple that is built for.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The same with this toolkit.
    pub fn with_cuda(self, toolkit: Toolkit) -> Self {
        Self { cuda: Some(toolkit), ..self }
    }

    /// The same with a checkout of candle.
    pub fn with_candle(self, checkout: candle::Checkout) -> Self {
        Self { candle: Some(checkout), ..self }
    }
}

/// Refuses what no compiler makes on this operating system.
fn require_system(product: Product, system: &str) -> Result<(), Failure> {
    match product {
        Product::Worker(Backend::Metal) if system != "macos" => {
            let message = format!("a `metal` worker can be built on macOS only, and this is {system}");
            Err(Failure::new(message).hint("`cargo xtask build worker metal --remote HOST`, where HOST is a Mac"))
        }
        Product::Worker(Backend::Cuda) if system == "macos" => {
            let message = "a `cuda` worker cannot be built on macOS, for which there is no CUDA";
            Err(Failure::new(message).hint("cargo xtask build worker metal"))
        }
        Product::Worker(_) | Product::Pool | Product::Convert | Product::Command => Ok(()),
    }
}

/// The backends whose workers can be built on this machine: the processor's, and that of a device family whose compiler is here.
pub fn backends_here() -> Vec<Backend> {
    let can_build = |backend: Backend| match backend {
        Backend::Cpu => true,
        Backend::Cuda => Toolkit::find().is_ok(),
        Backend::Metal => std::env::consts::OS == "macos",
    };
    BACKENDS.into_iter().filter(|backend| can_build(*backend)).collect()
}

/// The backends that were asked for, each once, in the order of their names; those that can be built here if none was.
pub fn chosen(asked: Vec<Backend>) -> Vec<Backend> {
    let mut backends = if asked.is_empty() { backends_here() } else { asked };
    backends.sort_by_key(ToString::to_string);
    backends.dedup();
    backends
}

impl Plan {
    /// The call, and what it makes where cargo compiles to `target`.
    pub fn words(&self, target: &Path) -> [String; 2] {
        let program = target.join(self.profile.folder()).join(self.product.program_name());
        [self.call.to_string(), format!("make {}", program.display())]
    }
}

/// How one program is built.
pub fn plan(root: &Path, product: Product, profile: Profile, marks: &Marks) -> Plan {
    let toolkit = marks.cuda.clone().filter(|_| product == Product::Worker(Backend::Cuda));
    Plan { product, profile, call: build_call(root, product, profile, marks), root: root.to_owned(), toolkit }
}

fn build_call(root: &Path, product: Product, profile: Profile, marks: &Marks) -> Call {
    let call = match &marks.candle {
        Some(checkout) => checkout.workspace.call("build"),
        None => cargo::call(root).args(["build", "--locked"]),
    };
    let call = match profile {
        Profile::Release => call.args(["--release"]),
        Profile::Debug => call,
    };
    // The whole workspace is selected, one program of it is built: dependencies get the same features whichever program
    // that is, and are compiled once for all of them.
    let call = call.args(["--workspace", "--bin", product.binary()]);
    let call = match product {
        Product::Worker(Backend::Cuda) => call.args(["--features", "worker/cuda"]),
        Product::Worker(Backend::Metal) => call.args(["--features", "worker/metal"]),
        Product::Worker(Backend::Cpu) | Product::Pool | Product::Convert | Product::Command => call,
    };
    let call = call.env("LLORCH_BUILD_COMMIT", &marks.commit).env("LLORCH_BUILD_TARGET", &marks.target);
    let call = match &marks.candle {
        Some(checkout) => call.env("LLORCH_BUILD_CANDLE", &checkout.mark),
        None => call,
    };
    match (product, &marks.cuda) {
        (Product::Worker(Backend::Cuda), Some(toolkit)) => {
            let call = toolkit.variables().into_iter().fold(call, |call, (name, value)| call.env(name, value));
            call.env("LLORCH_BUILD_MINIMUM_DRIVER", toolkit.release.minimum_driver().to_string())
        }
        _ => call,
    }
}

/// Builds one program unless nothing changed, checks its stamp, and gives a worker the name of its backend.
pub fn build(output: Output, plan: &Plan, show: Show) -> Result<Built, Failure> {
    let known = freshness::of(plan);
    let fresh = known.as_ref().filter(|known| known.is_fresh()).map(|known| built(known.program.clone(), plan));
    // A program that was damaged is cargo's to mend.
    if let Some(Ok(built)) = fresh {
        if show == Show::All {
            output.note(format_args!("nothing changed since `{}` was built", plan.product.program_name()));
        }
        return Ok(built);
    }
    // Taken before, so that what is edited meanwhile counts as newer. Where it cannot be, cargo is asked the next time too.
    let mark = known.as_ref().and_then(|known| known.begin().ok());
    let path = compile(output, &plan.call, plan.product, show).and_then(|path| match plan.product {
        Product::Worker(_) => name_after_backend(&path, plan.product),
        Product::Pool | Product::Convert | Product::Command => Ok(path),
    });
    if let (Some(known), Some(mark)) = (known, mark) {
        // The configuration may have put the program elsewhere, and what lies here is then another.
        let is_here = path.as_ref().is_ok_and(|path| is_same_file(path, &known.program));
        if !is_here || known.finish(&mark).is_err() {
            Build::give_up(&mark);
        }
    }
    built(path?, plan)
}

/// The program, if a build would find nothing to do.
pub fn up_to_date(plan: &Plan) -> Option<PathBuf> {
    freshness::of(plan).filter(Build::is_fresh).map(|known| known.program)
}

fn built(path: PathBuf, plan: &Plan) -> Result<Built, Failure> {
    let stamp = stamp::read_built(&path, plan)?;
    Ok(Built { product: plan.product, path, stamp })
}

/// Builds one program; where it is.
pub fn compile(output: Output, call: &Call, product: Product, show: Show) -> Result<PathBuf, Failure> {
    match show {
        Show::All => output.command(call),
        Show::Work => output.detail(format_args!("$ {call}")),
    }
    let compiled = cargo::compile(call, product.binary())?;
    if show == Show::Work && compiled.is_all_fresh {
        output.take_back_line();
    }
    Ok(compiled.program)
}

/// A program that was installed together with this one.
pub fn beside_this_program(product: Product) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let path = this.with_file_name(product.installed_name());
    if path.is_file() {
        return Ok(path);
    }
    let message = format!("`{}` is not there", path.display());
    Err(Failure::new(message).hint("run `cargo xtask install` in a checkout, or run this command inside one"))
}

/// Whether two names are of one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    inode(one).is_some() && inode(one) == inode(other)
}

/// Gives the program a second name, `llorch-worker-<backend>`: the next backend's build takes the first one away.
fn name_after_backend(built: &Path, product: Product) -> Result<PathBuf, Failure> {
    let named = built.with_file_name(product.program_name());
    if is_same_file(&named, built) {
        return Ok(named);
    }
    let temporary = built.with_file_name(format!(".{}.{}", product.installed_name(), std::process::id()));
    // A link costs nothing; where the file system has none, a copy does as well.
    if fs_err::hard_link(built, &temporary).is_err() {
        fs_err::copy(built, &temporary)?;
    }
    fs_err::rename(&temporary, &named)?;
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use protocol::identifiers::Backend;

    use super::{Marks, Product, Profile, plan, require_system};
    use crate::binaries::candle::Checkout;
    use crate::cuda::{Release, Toolkit};
    use crate::second_workspace::SecondWorkspace;

    fn marks() -> Marks {
        Marks { commit: "c0ffee-dirty".to_owned(), target: "x-y-z".to_owned(), cuda: None, candle: None }
    }

    /// The whole call as it is printed, cargo's own path aside.
    fn check_plan(product: Product, profile: Profile, marks: &Marks, expected: &str) {
        let text = plan(Path::new("/r"), product, profile, marks).call.to_string();
        let (variables, arguments) = text.split_once(" build ").expect("a build");
        let variables = variables.rsplit_once(' ').map_or("", |(variables, _cargo)| variables);
        assert_eq!(format!("{variables} cargo build {arguments}"), expected);
    }

    #[test]
    fn plans_name_program_profile_features_and_environment() {
        const MARKS: &str = "LLORCH_BUILD_COMMIT=c0ffee-dirty LLORCH_BUILD_TARGET=x-y-z";
        let worker = |backend| Product::Worker(backend);
        check_plan(
            worker(Backend::Cpu),
            Profile::Release,
            &marks(),
            &format!("{MARKS} cargo build --locked --release --workspace --bin llorch-worker"),
        );
        check_plan(
            Product::Pool,
            Profile::Debug,
            &marks(),
            &format!("{MARKS} cargo build --locked --workspace --bin llorch-pool"),
        );
        check_plan(
            worker(Backend::Metal),
            Profile::Release,
            &marks(),
            &format!("{MARKS} cargo build --locked --release --workspace --bin llorch-worker --features worker/metal"),
        );
        let toolkit = Toolkit {
            nvcc: PathBuf::from("/usr/local/cuda/bin/nvcc"),
            root: PathBuf::from("/usr/local/cuda"),
            release: Release(13, 0),
            capability: String::from("86"),
        };
        check_plan(
            worker(Backend::Cuda),
            Profile::Release,
            &marks().with_cuda(toolkit),
            &format!(
                "{MARKS} NVCC=/usr/local/cuda/bin/nvcc CUDA_HOME=/usr/local/cuda CUDA_COMPUTE_CAP=86 \
                 CUDARC_CUDA_VERSION=13000 LLORCH_BUILD_MINIMUM_DRIVER=580 \
                 cargo build --locked --release --workspace --bin llorch-worker --features worker/cuda"
            ),
        );
    }

    #[test]
    fn a_checkout_of_candle_has_a_workspace_and_a_target_folder_of_its_own() {
        let workspace = SecondWorkspace {
            root: PathBuf::from("/r"),
            place: PathBuf::from("/r/target/with-candle"),
            replaced: vec![(String::from("candle-core"), PathBuf::from("/r/reference/candle/candle-core"))],
        };
        let checkout = Checkout { mark: String::from("59f8e903"), workspace };
        check_plan(
            Product::Worker(Backend::Cpu),
            Profile::Debug,
            &marks().with_candle(checkout),
            "LLORCH_BUILD_COMMIT=c0ffee-dirty LLORCH_BUILD_TARGET=x-y-z LLORCH_BUILD_CANDLE=59f8e903 cargo build \
             --config 'patch.crates-io.candle-core.path=\"/r/reference/candle/candle-core\"' \
             --target-dir /r/target/with-candle --workspace --bin llorch-worker",
        );
    }

    #[test]
    fn a_backend_that_cannot_be_built_here_is_refused_not_replaced() {
        let check = |backend, system, is_possible| {
            let refused = require_system(Product::Worker(backend), system);
            assert_eq!(refused.is_ok(), is_possible, "{backend} on {system}");
            assert!(refused.err().is_none_or(|failure| failure.exit_code == 1 && failure.hint.is_some()));
        };
        check(Backend::Cpu, "linux", true);
        check(Backend::Cuda, "linux", true);
        check(Backend::Metal, "linux", false);
        check(Backend::Metal, "macos", true);
        check(Backend::Cuda, "macos", false);
    }
}
