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
    let unknown = build(&machine(&[]), "gpu");
    assert!(unknown.code == 2 && unknown.stderr.contains("`cuda` or `metal`"), "{unknown:?}");
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
    assert_eq!(all.stdout.lines().count(), 3, "cpu, cuda and pool: {all:?}");
    if cfg!(not(target_os = "macos")) && !std::path::Path::new("/proc/driver/nvidia/gpus").exists() {
        let without = machine(&[]).run_in_checkout(&["build", "worker", "auto", "--dry-run"]);
        assert!(without.code == 0 && without.stderr.contains("auto: cpu"), "{without:?}");
        assert!(!without.stdout.contains("--features"), "{without:?}");
    }
}
