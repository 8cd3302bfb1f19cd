//! What is built, and what is refused before anything runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Home, Outcome};

/// A machine whose PATH has these programs and what cargo needs.
fn machine(programs: &[(&str, &str)]) -> Home {
    let home = Home::new();
    let folder = home.path("programs");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in programs {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let own = std::env::var("PATH").unwrap_or_default();
    let rest = own.split(':').map(|folder| without_toolkit(&home, Path::new(folder)));
    let path = std::env::join_paths([folder.clone()].into_iter().chain(rest)).expect("a search path");
    let path = path.into_string().expect("UTF-8");
    home.with("PATH", &path).with("NVCC", "").with("CUDA_HOME", "").with("CUDA_PATH", "").with("CUDA_COMPUTE_CAP", "")
}

/// The folder, or the same programs without the machine's own toolkit: its neighbours may be git and the compiler.
fn without_toolkit(home: &Home, folder: &Path) -> PathBuf {
    const TOOLKIT: [&str; 2] = ["nvcc", "nvidia-smi"];
    if !TOOLKIT.iter().any(|name| folder.join(name).exists()) {
        return folder.to_owned();
    }
    let copy = home.path("without-toolkit").join(folder.strip_prefix("/").unwrap_or(folder));
    std::fs::create_dir_all(&copy).expect("a folder");
    for entry in std::fs::read_dir(folder).expect("a folder of programs").flatten() {
        if !TOOLKIT.iter().any(|name| entry.file_name() == *name) {
            std::os::unix::fs::symlink(entry.path(), copy.join(entry.file_name())).expect("a link");
        }
    }
    copy
}

const NVCC: (&str, &str) = ("nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.88'");

#[track_caller]
fn assert_refused(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    for word in ["error: ", "hint: "].iter().chain(words) {
        assert!(outcome.stderr.contains(word), "no {word:?} in {outcome:?}");
    }
}

#[test]
fn a_backend_that_cannot_be_built_is_an_error_not_a_slower_worker() {
    let build = |home: &Home, backend| home.run_in_checkout(&["build", "worker", backend, "--dry-run"]);
    if !std::path::Path::new("/usr/local/cuda/bin/nvcc").exists() {
        assert_refused(&build(&machine(&[]), "cuda"), 1, &["`cuda`", "no `nvcc`", "nvidia-cuda-toolkit"]);
    }
    assert_refused(&build(&machine(&[NVCC]), "cuda"), 1, &["no `nvidia-smi`", "CUDA_COMPUTE_CAP=86"]);
    let old = machine(&[NVCC, ("nvidia-smi", "echo '8.6, 575.57.08'")]);
    assert_refused(&build(&old, "cuda"), 1, &["driver 580 or newer", "575.57.08"]);
    if cfg!(not(target_os = "macos")) {
        assert_refused(&build(&machine(&[]), "metal"), 1, &["`metal`", "macOS only", "--remote"]);
    }
    // A compiler that was named and is not there is not replaced by another.
    let named = machine(&[NVCC]).with("NVCC", "/nowhere/nvcc");
    assert_refused(&build(&named, "cuda"), 2, &["`NVCC` names `/nowhere/nvcc`", "unset NVCC"]);
    let unknown = build(&machine(&[]), "gpu");
    assert!(unknown.code == 2 && unknown.stderr.contains("cpu, cuda, metal, auto"), "{unknown:?}");
    let orchestrator = machine(&[]).run_in_checkout(&["build", "orchestrator"]);
    assert_refused(&orchestrator, 2, &["not built yet"]);
}

#[test]
fn plans_for_devices_come_from_what_is_here() {
    let with_device = machine(&[NVCC, ("nvidia-smi", "printf '8.9, 580.65.06\\n8.6, 580.65.06\\n'")]);
    for backend in ["cuda", "auto"] {
        let outcome = with_device.run_in_checkout(&["build", "worker", backend, "--dry-run"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let nvcc = format!("NVCC={} ", with_device.path("programs/nvcc").display());
        let words = [
            "CUDA_COMPUTE_CAP=86 CUDARC_CUDA_VERSION=13000 LLORCH_BUILD_MINIMUM_DRIVER=580 ",
            "--features worker/cuda",
        ];
        assert!(words.iter().chain([&nvcc.as_str()]).all(|word| outcome.stdout.contains(word)), "{outcome:?}");
    }
    let all = with_device.run_in_checkout(&["build", "all", "--dry-run"]);
    let mut lines = all.stdout.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("with rustc ")), "{all:?}");
    let made: Vec<&str> = lines.filter_map(|line| line.strip_prefix("make ")?.rsplit('/').next()).collect();
    assert_eq!(made, ["llorch-worker-cpu", "llorch-worker-cuda", "llorch-pool", "llorch-convert"], "{all:?}");
    if cfg!(not(target_os = "macos")) && !std::path::Path::new("/proc/driver/nvidia/gpus").exists() {
        let without = machine(&[]).run_in_checkout(&["build", "worker", "auto", "--dry-run"]);
        assert!(without.code == 0 && without.stderr.contains("auto: cpu"), "{without:?}");
        assert!(!without.stdout.contains("--features"), "{without:?}");
        // A driver that is broken is no reason to be silent about the slower worker.
        let words = "Failed to initialize NVML: Driver/library version mismatch";
        let script = format!("echo '{words}'; exit 18");
        let broken = machine(&[("nvidia-smi", &script)]).run_in_checkout(&["build", "worker", "auto", "--dry-run"]);
        assert!(broken.code == 0 && broken.stderr.contains("warning: auto: cpu, because `nvidia-smi`: "), "{broken:?}");
        assert!(broken.stderr.contains(words), "{broken:?}");
        let empty = machine(&[("nvidia-smi", "echo 'No devices were found'; exit 6")]);
        let empty = empty.run_in_checkout(&["build", "worker", "auto", "--dry-run"]);
        assert!(empty.code == 0 && !empty.stderr.contains("warning"), "{empty:?}");
    }
}

#[test]
fn a_machine_that_compiles_for_cuda_needs_no_driver() {
    let home = machine(&[]);
    for (name, text) in [("bin/nvcc", "#!/bin/sh\necho 'release 13.0, V13.0.88'\n"), ("lib64/stubs/libcuda.so", "")] {
        let path = home.path("toolkit").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    // As the loader: without the driver's library nothing starts.
    let stamp = r#"{"program":"llorch-worker","version":"0","backend":"cuda","features":["cuda"],"commit":"c","target":"t","profile":"release"}"#;
    let worker = format!(
        "for folder in $(echo \"$LD_LIBRARY_PATH\" | tr : ' '); do\n  [ -e $folder/libcuda.so.1 ] && exec echo '{stamp}'\ndone\n\
         echo 'error while loading shared libraries: libcuda.so.1' >&2; exit 127"
    );
    let program = home.path("programs/llorch-worker");
    let message = r#"{"reason":"compiler-artifact","target":{"name":"llorch-worker","kind":["bin"]},"fresh":false,"executable":"%s"}"#;
    for (name, text) in [("llorch-worker", worker), ("cargo", format!("printf '{message}\\n' '{}'", program.display()))]
    {
        let path = home.path("programs").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let (cargo, toolkit) = (home.path("programs/cargo"), home.path("toolkit"));
    let home = home
        .with("CARGO", &cargo.display().to_string())
        .with("CUDA_HOME", &toolkit.display().to_string())
        .with("CUDA_COMPUTE_CAP", "86");
    let build = || home.run_in_checkout(&["build", "worker", "cuda"]);
    let built = build();
    assert_eq!(built.code, 0, "{built:?}");
    assert_eq!(built.stdout.trim(), home.path("programs/llorch-worker-cuda").display().to_string());
    // Where the toolkit has none, the loader's own words are passed on.
    std::fs::remove_file(toolkit.join("lib64/stubs/libcuda.so")).expect("a file");
    assert_refused(&build(), 1, &["loading shared libraries: libcuda.so.1", "doctor --backend cuda"]);
}
