//! Cuda without a device: compiled and linked in a slow lane. Its types are checked on every CI, by `test/types.rs`.
//!
//! What computes is tested by neither: no machine of this project has a device.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use models::places::Places;
use protocol::identifiers::Backend;

use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::cargo;
use crate::cuda::{Toolkit, stand_ins, wheels};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, find_on_path};

/// The product.
const WORKER: Product = Product::Worker(Backend::Cuda);
/// The folder below cargo's target folder.
const LINK_FOLDER: &str = "cuda-link";
/// What the program must ask the loader for: the driver, and those libraries of the toolkit's major version that it calls.
const NEEDED: [&str; 4] = ["libcuda.so.1", "libcublas.so.13", "libcudart.so.13", "libcurand.so.10"];
/// A model that loads as far as the device.
const MODEL: &str = "crates/convert/tests/golden/expected/llama-tied.q8_0.gguf";

/// Compiles and links the worker for cuda with NVIDIA's own compiler, and starts it. The compiler comes from a Python index
/// and stays in the cache; libraries that only a driver brings are stand-ins. A quarter of an hour of two cores, once.
///
/// # Errors
/// Something that can be had is missing, or the program is not what it should be.
pub fn link(output: Output, root: &Path) -> Result<(), Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        output.note("skipped: cuda link (NVIDIA's compiler is fetched for x86-64 Linux only)");
        return Ok(());
    }
    require_programs()?;
    let toolkit = wheels::provide(output, &Places::from_environment()?.cache.path)?;
    let stubs = toolkit.root.join("lib/stubs");
    stand_ins::libraries(&bindings(root)?, &stubs)?;
    let libraries = library_path([stubs, toolkit.root.join("lib")])?;
    let program = binaries::compile(output, &build_call(root, &toolkit)?, WORKER, Show::All)?;
    check_needed(&program)?;
    let stamp = binaries::stamp::read(Call::new(&program).env("LD_LIBRARY_PATH", &libraries), WORKER)?;
    if (stamp.backend, stamp.minimum_driver) != (Some(Backend::Cuda), Some(toolkit.release.minimum_driver()))
        || stamp.features != ["cuda"]
    {
        return Err(Failure::new(format!("the program's stamp is wrong: {stamp:?}")));
    }
    check_refusal(root, &program, &libraries)?;
    output.note(format_args!("linked: {} (never run on a device)", program.display()));
    Ok(())
}

/// What the lane does, for a plan.
///
/// # Errors
/// Cargo cannot be asked where it compiles to.
pub fn plan(root: &Path) -> Result<Vec<String>, Failure> {
    let toolkit = wheels::toolkit(&Places::from_environment()?.cache.path);
    Ok(vec![
        format!("ensure NVIDIA's compiler in {}", toolkit.root.display()),
        build_call(root, &toolkit)?.to_string(),
        format!("check that {} are asked for", NEEDED.join(", ")),
    ])
}

fn build_call(root: &Path, toolkit: &Toolkit) -> Result<Call, Failure> {
    let folder = cargo::target_directory(root)?.join(LINK_FOLDER);
    // Optimised or not, the same libraries are linked; the kernels are NVIDIA's compiler's and the same in both.
    let marks = Marks::read(root)?.with_cuda(toolkit.clone());
    let plan = binaries::plan(root, WORKER, Profile::Debug, &marks);
    Ok(plan.call.args(["--target-dir".as_ref(), folder.as_os_str()]))
}

fn require_programs() -> Result<(), Failure> {
    let needed = [("python3", "python3-pip"), ("cc", "gcc"), ("c++", "g++"), ("readelf", "binutils")];
    let missing = needed.iter().filter(|(program, _)| find_on_path(program, &[]).is_none());
    let (programs, packages): (Vec<&str>, Vec<&str>) = missing.copied().unzip();
    if programs.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(format!("the cuda link lane needs what is not here: {}", programs.join(", ")));
    Err(failure.hint(format!("apt-get install {}", packages.join(" "))))
}

/// The folder of the bindings' sources, as cargo unpacked them.
fn bindings(root: &Path) -> Result<PathBuf, Failure> {
    let metadata = cargo::metadata(root, &["--features", "worker/cuda"])?;
    cargo::package_folder(&metadata, "cudarc")
}

fn library_path(folders: [PathBuf; 2]) -> Result<OsString, Failure> {
    std::env::join_paths(folders).map_err(|error| Failure::new(format!("the cache folder cannot be searched: {error}")))
}

/// The loader is told of the driver and of every library: nothing was dropped, nothing was linked statically.
fn check_needed(program: &Path) -> Result<(), Failure> {
    let call = Call::new("readelf").args(["--dynamic", "--wide"]).args([program]);
    let ended = call.ask(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code).known(ended.complaints()));
    }
    let text = ended.text();
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !text.contains(&format!("[{name}]"))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let listed = text.lines().filter(|line| line.contains("(NEEDED)")).map(|line| line.trim().to_owned());
    Err(Failure::new(format!("the program is not linked with {}", missing.join(", "))).known(listed.collect()))
}

/// Without a driver it says so, and runs on nothing else.
fn check_refusal(root: &Path, program: &Path, libraries: &OsString) -> Result<(), Failure> {
    let model = root.join(MODEL);
    let call = Call::new(program).args(["--worker-id", "link", "--backend", "cuda", "--device", "0", "--port", "0"]);
    let call = call.args(["--model".as_ref(), model.as_os_str()]).env("LD_LIBRARY_PATH", libraries);
    let ended = call.ask(Group::Own)?;
    let said = ended.complaints().into_iter().chain(ended.text().lines().map(str::to_owned)).collect::<Vec<_>>();
    if ended.code != 0 && said.iter().any(|line| line.contains("cuda device 0: ")) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "without a driver the worker ended with {} and not with an error about the device",
        ended.code
    ))
    .known(said))
}
