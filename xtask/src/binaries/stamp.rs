//! What a program says that it is, asked of the program itself, and whether that is what was wanted.

use std::path::{Path, PathBuf};

use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use protocol::stamp::Stamp;

use super::{Plan, Product};
use crate::cuda::{self, Toolkit};
use crate::failure::Failure;
use crate::process::{Call, Group};
use crate::scratch::Scratch;

/// Where a program that does not start finds what it lacks.
const DRIVER_HINT: &str = "NVIDIA's driver brings `libcuda.so.1`, its toolkit the others: `cargo xtask dev doctor --backend cuda` looks for both";
/// The driver's library as programs ask for it.
const DRIVER: &str = "libcuda.so.1";

/// The stamp of what was just built, checked. A machine that compiles for cuda need not have a driver: the toolkit's stand-in
/// for its library is then enough to start the program and to be told.
///
/// # Errors
/// It does not start, or is something else.
pub fn read_built(program: &Path, plan: &Plan) -> Result<Stamp, Failure> {
    let stamp = read(Call::new(program), plan.product).or_else(|failure| {
        // Anything else that keeps it from starting is told as it is.
        let lacks_driver = failure.known.iter().any(|line| line.contains(DRIVER));
        let toolkit = plan.toolkit.as_ref().filter(|_| lacks_driver);
        let stand_in = toolkit.and_then(stand_in_driver).ok_or_else(|| failure.clone())?;
        let folder = Scratch::new("driver")?;
        std::os::unix::fs::symlink(stand_in, folder.path().join(DRIVER))?;
        let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = [folder.path().to_owned()].into_iter().chain(std::env::split_paths(&others));
        let folders = std::env::join_paths(folders).map_err(|_| failure.clone())?;
        read(Call::new(program).env("LD_LIBRARY_PATH", folders), plan.product).map_err(|_| failure)
    })?;
    check(plan.product, program, &stamp)?;
    Ok(stamp)
}

/// The library that a toolkit has for linkers, where the driver's own is not.
fn stand_in_driver(toolkit: &Toolkit) -> Option<PathBuf> {
    let places = ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "lib/x86_64-linux-gnu"];
    let mut files = places.iter().map(|place| toolkit.root.join(place).join("stubs/libcuda.so"));
    // Absolute: a link to it lies elsewhere.
    files.find_map(|file| file.canonicalize().ok())
}

/// What a program says that it is. `program` is the call that starts it.
///
/// # Errors
/// It does not start, or prints no stamp.
pub fn read(program: Call, product: Product) -> Result<Stamp, Failure> {
    let call = program.args(["--version", "--json"]);
    let ended = call.ask(Group::Own)?;
    if ended.code != 0 {
        // A program for a device is linked with libraries of its driver, and this machine need not have one.
        let hint = (product == Product::Worker(Backend::Cuda)).then(|| DRIVER_HINT.to_owned());
        return Err(call.failed(ended.code).known(ended.complaints()).maybe_hint(hint));
    }
    serde_json::from_str(ended.text().trim())
        .map_err(|error| Failure::coded(ErrorCode::Internal, format!("`{call}` does not print a stamp: {error}")))
}

/// The backend that was asked for, and one that runs under the driver of this machine.
fn check(product: Product, path: &Path, stamp: &Stamp) -> Result<(), Failure> {
    let expected = match product {
        Product::Worker(backend) => Some(backend),
        Product::Pool | Product::Convert | Product::Command => None,
    };
    if stamp.backend != expected {
        let words = |backend: Option<Backend>| {
            backend.map_or_else(|| String::from("no backend"), |backend| format!("`{backend}`"))
        };
        let (found, expected) = (words(stamp.backend), words(expected));
        let message = format!("`{}` is stamped for {found}, expected {expected}", path.display());
        return Err(Failure::coded(ErrorCode::Internal, message));
    }
    let fits = cuda::driver().map_or(Ok(()), |driver| stamp.check_driver(&driver));
    fits.map_err(|error| {
        let failure = Failure::new(format!("`{}` cannot run here: {error}", path.display()));
        failure.hint("update NVIDIA's driver, or build with an older toolkit, its `nvcc` named in NVCC")
    })
}
