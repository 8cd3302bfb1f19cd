//! What stands in for NVIDIA's compiler and libraries on machines without them: enough to check types and to link, and
//! nothing that computes. Tests use these; no build for a user does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Release, Toolkit};
use crate::failure::Failure;
use crate::process::{Call, Group};

/// A compiler that says which release it is and makes empty files where results are expected: what `cargo check` looks at
/// is Rust alone.
const COMPILER: &str = r#"#!/bin/sh
# Stands in for nvcc: makes empty results.
case " $* " in *" --version "*) echo "Cuda compilation tools, release 13.0, V13.0.0"; exit ;; esac
kind=object
while [ $# -gt 0 ]; do
    case "$1" in
    --ptx) kind=ptx ;;
    --output-directory) folder=$2; shift ;;
    -o) result=$2; shift ;;
    *.cu) source=$1 ;;
    esac
    shift
done
if [ "$kind" = ptx ]; then
    name=${source##*/}
    result=$folder/${name%.cu}.ptx
fi
: > "$result"
"#;

/// A library of the driver or the toolkit.
struct Library {
    /// Module of the bindings that lists its functions.
    module: &'static str,
    /// `cuda` of `libcuda.so.1`.
    name: &'static str,
    version: u32,
    /// What each function answers: an error of that library, because an answer that is none of its codes would be undefined
    /// behaviour in the bindings.
    error: u32,
}

const LIBRARIES: [Library; 5] = [
    // CUDA_ERROR_STUB_LIBRARY, which NVIDIA's own stand-in answers.
    Library { module: "driver", name: "cuda", version: 1, error: 34 },
    Library { module: "cublas", name: "cublas", version: 13, error: 1 },
    Library { module: "cublaslt", name: "cublasLt", version: 13, error: 1 },
    Library { module: "curand", name: "curand", version: 10, error: 101 },
    Library { module: "nvrtc", name: "nvrtc", version: 13, error: 11 },
];

/// A toolkit in `folder` whose compiler compiles nothing, once it is laid out.
pub fn toolkit(folder: &Path) -> Toolkit {
    let nvcc = folder.join("bin/nvcc");
    Toolkit { nvcc, root: folder.to_owned(), release: Release(13, 0), capability: String::from("90") }
}

/// Lays it out.
///
/// # Errors
/// The folder cannot be written.
pub fn lay_out(toolkit: &Toolkit) -> Result<(), Failure> {
    for name in ["bin", "include"] {
        fs_err::create_dir_all(toolkit.root.join(name))?;
    }
    fs_err::write(&toolkit.nvcc, COMPILER)?;
    Ok(fs_err::set_permissions(&toolkit.nvcc, std::fs::Permissions::from_mode(0o755))?)
}

/// Libraries with the names of NVIDIA's functions in them, below `folder`; `bindings` is the source folder of the bindings
/// that call them. They are real enough for a linker: an empty one would be dropped (`--as-needed`).
///
/// # Errors
/// There is no C compiler, or the bindings are not laid out as expected.
pub fn libraries(bindings: &Path, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    fs_err::create_dir_all(folder)?;
    LIBRARIES.iter().map(|library| library.make(bindings, folder)).collect()
}

impl Library {
    fn make(&self, bindings: &Path, folder: &Path) -> Result<PathBuf, Failure> {
        let declared = bindings.join("src").join(self.module).join("sys/mod.rs");
        let text = fs_err::read_to_string(&declared)?;
        let names = functions(&text);
        if names.is_empty() {
            return Err(Failure::new(format!("`{}` declares no function that is known", declared.display())));
        }
        let functions = names.iter().map(|name| format!("int {name}(void) {{ return {}; }}\n", self.error));
        let source = folder.join(format!("{}.c", self.name));
        fs_err::write(&source, functions.collect::<String>())?;
        let soname = format!("lib{}.so.{}", self.name, self.version);
        let library = folder.join(&soname);
        let call = Call::new("cc").args(["-shared", "-fPIC", "-w"]).args([format!("-Wl,-soname,{soname}")]);
        let call = call.args(["-o".as_ref(), library.as_os_str(), source.as_os_str()]);
        let code = call.run_to_stderr(Group::Own)?;
        if code != 0 {
            return Err(call.failed(code));
        }
        // The linker looks for the name without a version.
        let plain = folder.join(format!("lib{}.so", self.name));
        let _of_an_earlier_run = std::fs::remove_file(&plain);
        fs_err::os::unix::fs::symlink(soname, plain)?;
        Ok(library)
    }
}

/// Names of the foreign functions that bindings declare, each once. Their wrappers in Rust are `pub unsafe fn`.
fn functions(bindings: &str) -> Vec<&str> {
    let declared = bindings.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
    let names = declared.filter_map(|line| line.split_once('(').map(|(name, _)| name));
    let mut names: Vec<&str> = names.filter(|name| name.starts_with("cu") || name.starts_with("nvrtc")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::{functions, lay_out, toolkit};
    use crate::process::{Call, Group};
    use crate::scratch::Scratch;

    #[test]
    fn functions_are_those_that_are_declared_foreign() {
        let text = "pub unsafe fn cuInit(f: u32) -> R {\n    extern \"C\" {\n        fn cuInit(f: u32) -> R;\n    }\n}\n\
                    fn load<F: Copy>(name: &str) -> F {\n fn cuInit(f: u32) -> R;\n fn nvrtcVersion();\n";
        assert_eq!(functions(text), ["cuInit", "nvrtcVersion"]);
    }

    #[test]
    fn the_compiler_makes_what_is_expected_of_it() {
        let scratch = Scratch::new("nvcc-test").expect("a folder");
        let toolkit = toolkit(&scratch.path().join("a b"));
        lay_out(&toolkit).expect("a compiler");
        let run = |arguments: &[&str]| {
            let ended =
                Call::new(&toolkit.nvcc).dir(scratch.path()).args(arguments).ask(Group::Own).expect("it starts");
            assert_eq!(ended.code, 0, "{arguments:?}");
            ended.text()
        };
        assert_eq!(super::Release::parse(&run(&["--version"])), Some(toolkit.release));
        run(&["-O3", "--ptx", "--output-directory", ".", "src/affine.cu"]);
        run(&["-c", "-o", "one.o", "-O3", "src/one.cu"]);
        run(&["--lib", "-o", "libmoe.a", "one.o"]);
        assert!(["affine.ptx", "one.o", "libmoe.a"].iter().all(|name| scratch.path().join(name).is_file()));
    }
}
