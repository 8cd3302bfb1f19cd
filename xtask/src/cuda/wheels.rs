//! NVIDIA's compiler out of five Python packages: fetched once by the user's own pip, checked against their hashes, kept in
//! the cache. For the link lane only; a machine that builds cuda workers for itself has a toolkit of its own.

use std::path::Path;

use super::{Release, Toolkit};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group};

/// What is fetched, pinned with hashes.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// The release of that set.
const RELEASE: Release = Release(13, 0);
/// Folder of the cache; another set is another folder.
const FOLDER: &str = "cuda-13.0.88";
/// What the lane compiles for: no device is asked.
const CAPABILITY: &str = "90";

/// The compiler in `cache`, fetched and unpacked if it is not there yet (104 MB over the network, 330 MB on disk).
///
/// # Errors
/// There is no pip, or what it fetches is not what was pinned.
pub fn provide(output: Output, cache: &Path) -> Result<Toolkit, Failure> {
    let folder = cache.join(FOLDER);
    if !folder.is_dir() {
        fetch(output, &folder)?;
    }
    Ok(toolkit(cache))
}

/// Where it is, once it was provided.
pub fn toolkit(cache: &Path) -> Toolkit {
    let root = cache.join(FOLDER).join("nvidia/cu13");
    Toolkit { nvcc: root.join("bin/nvcc"), root, release: RELEASE, capability: CAPABILITY.to_owned() }
}

/// Unpacks beside the final name, so that a fetch that was stopped leaves no half of a compiler under it.
fn fetch(output: Output, folder: &Path) -> Result<(), Failure> {
    let unpacked = folder.with_extension("new");
    let _of_a_killed_run = std::fs::remove_dir_all(&unpacked);
    fs_err::create_dir_all(&unpacked)?;
    let requirements = unpacked.join("requirements.txt");
    fs_err::write(&requirements, REQUIREMENTS)?;
    // --no-deps: the packages would take each other in the newest versions there are.
    let flags = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"];
    let call = Call::new("python3").args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore"]).args(flags);
    let call =
        call.args(["--target".as_ref(), unpacked.as_os_str(), "--requirement".as_ref(), requirements.as_os_str()]);
    output.command(&call);
    let code = call.run_to_stderr(Group::Own)?;
    if code != 0 {
        return Err(call.failed(code).hint("`python3 -m pip --version` has to work, and pip to reach a package index"));
    }
    // The linker looks for the name without a version.
    let libraries = unpacked.join("nvidia/cu13/lib");
    fs_err::os::unix::fs::symlink("libcudart.so.13", libraries.join("libcudart.so"))?;
    fs_err::rename(&unpacked, folder)?;
    Ok(())
}
