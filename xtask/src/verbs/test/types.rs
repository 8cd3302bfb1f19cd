//! Types of what is compiled for one device family only, checked on any machine, clippy's opinion included: for cuda beside a
//! compiler of NVIDIA's that is a stand-in, for metal against Apple's bindings made to compile elsewhere.
//!
//! What links is `test/cuda.rs`'s to prove; what computes, nobody's here.

use std::path::{Path, PathBuf};

use protocol::identifiers::Backend;

use crate::cuda::{Toolkit, stand_ins};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group};
use crate::second_workspace::SecondWorkspace;
use crate::{cargo, metal};

/// What is checked.
const PACKAGES: [&str; 4] = ["--package", "engine", "--package", "worker"];
/// The folders below cargo's target folder: features of their own would make the ordinary one compile again.
const CUDA_FOLDER: &str = "cuda-check";
const METAL_FOLDER: &str = "metal-check";

/// One family's check.
pub struct TypeCheck {
    /// What does it.
    pub call: Call,
    needs: Needs,
}

/// What has to be there before.
enum Needs {
    Nothing,
    /// A toolkit.
    Toolkit(Toolkit),
    /// Bindings at that place, and a workspace that uses them.
    Bindings(PathBuf, SecondWorkspace),
}

impl TypeCheck {
    /// What is to be done for this backend.
    ///
    /// # Errors
    /// Cargo cannot be asked where it compiles to.
    pub fn plan(root: &Path, backend: Backend) -> Result<Self, Failure> {
        let target = cargo::target_directory(root)?;
        Ok(match backend {
            Backend::Cpu => Self { call: finish(own(root, &target), backend), needs: Needs::Nothing },
            Backend::Cuda => {
                let folder = target.join(CUDA_FOLDER);
                // In one place for good: another path would make the build scripts run again.
                let toolkit = stand_ins::toolkit(&folder.join("toolkit"));
                let call = finish(own(root, &folder), backend);
                let call = toolkit.variables().into_iter().fold(call, |call, (name, value)| call.env(name, value));
                Self { call, needs: Needs::Toolkit(toolkit) }
            }
            Backend::Metal if cfg!(target_os = "macos") => {
                Self { call: finish(own(root, &target.join(METAL_FOLDER)), backend), needs: Needs::Nothing }
            }
            Backend::Metal => {
                let place = target.join(METAL_FOLDER);
                let bindings = place.join(metal::BINDINGS);
                let replaced = vec![(String::from(metal::BINDINGS), bindings.clone())];
                let second = SecondWorkspace { root: root.to_owned(), place, replaced };
                Self { call: finish(second.call("clippy"), backend), needs: Needs::Bindings(bindings, second) }
            }
        })
    }

    /// The call, once what it needs is there.
    ///
    /// # Errors
    /// The target folder cannot be written, or the bindings not be had.
    pub fn prepare(self) -> Result<Call, Failure> {
        match &self.needs {
            Needs::Nothing => {}
            Needs::Toolkit(toolkit) => stand_ins::lay_out(toolkit)?,
            Needs::Bindings(folder, second) => {
                metal::lay_out_bindings(&second.root, folder)?;
                second.lay_out()?;
            }
        }
        Ok(self.call)
    }
}

/// Clippy in the checkout itself.
fn own(root: &Path, folder: &Path) -> Call {
    cargo::call(root).args(["clippy", "--locked", "--target-dir"]).args([folder])
}

fn finish(call: Call, backend: Backend) -> Call {
    let call = call.args(PACKAGES);
    let call = match backend {
        Backend::Cpu => call,
        Backend::Cuda | Backend::Metal => call.args(["--features", &format!("worker/{backend}")]),
    };
    call.args(["--", "-D", "warnings"])
}

/// The check of a family, for a plan.
///
/// # Errors
/// Cargo cannot be asked where it compiles to.
pub fn plan(root: &Path, backend: Backend) -> Result<Vec<String>, Failure> {
    TypeCheck::plan(root, backend).map(|check| vec![check.call.to_string()])
}

/// The lane `cuda-check`.
///
/// # Errors
/// It does not compile, or clippy objects.
pub fn check_cuda(output: Output, root: &Path) -> Result<(), Failure> {
    check(output, root, Backend::Cuda)
}

/// The lane `metal-check`.
///
/// # Errors
/// It does not compile, or clippy objects.
pub fn check_metal(output: Output, root: &Path) -> Result<(), Failure> {
    check(output, root, Backend::Metal)
}

fn check(output: Output, root: &Path, backend: Backend) -> Result<(), Failure> {
    let call = TypeCheck::plan(root, backend)?.prepare()?;
    output.command(&call);
    let code = call.run_beside(output, Group::Own)?;
    if code == 0 { Ok(()) } else { Err(call.failed(code)) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::identifiers::Backend;

    use super::TypeCheck;

    #[test]
    fn each_family_is_checked_with_its_feature_and_stand_ins() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a checkout");
        let words = |backend| TypeCheck::plan(root, backend).expect("a plan").call.to_string();
        let (cuda, metal) = (words(Backend::Cuda), words(Backend::Metal));
        assert!(cuda.contains("toolkit/bin/nvcc") && cuda.contains("cuda-check"), "{cuda}");
        assert!(metal.contains("metal-check"), "{metal}");
        assert_eq!(metal.contains("patch.crates-io.objc2-metal.path="), cfg!(not(target_os = "macos")), "{metal}");
        for (words, feature) in [(cuda, "worker/cuda"), (metal, "worker/metal")] {
            assert!(words.ends_with(&format!("--features {feature} -- -D warnings")), "{words}");
        }
    }
}
