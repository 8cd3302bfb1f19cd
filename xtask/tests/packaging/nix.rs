//! The flake, evaluated against stand-ins for what it takes from elsewhere (`nix/stub`): no network, nothing built, nothing
//! written outside a folder of the test.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::{Home, Outcome, finish};

const SYSTEMS: [&str; 3] = ["x86_64-linux", "aarch64-linux", "aarch64-darwin"];
/// What is the flake's own, and what it reads of the checkout.
const FILES: [&str; 15] = [
    ".cargo",
    ".config",
    "Cargo.lock",
    "Cargo.toml",
    "catalog.toml",
    "clippy.toml",
    "crates/protocol/Cargo.toml",
    "flake.lock",
    "flake.nix",
    "fuzz/checks",
    "nix",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "xtask/Cargo.toml",
    "LICENSE",
];

/// A copy of the flake, and a place for all that nix writes.
struct Flake {
    home: Home,
}

/// Whether there is nix; else that is said.
fn is_possible() -> bool {
    let missing = std::env::var("LLORCH_TEST_MISSING").unwrap_or_default();
    if missing.split(' ').any(|program| program == "nix") {
        println!("skipped: there is no nix here");
        return false;
    }
    true
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a checkout")
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        std::fs::copy(from, to).expect("a file");
    }
}

impl Flake {
    fn new() -> Self {
        let flake = Self { home: Home::new() };
        for name in FILES {
            copy(&checkout().join(name), &flake.source().join(name));
        }
        flake
    }

    fn source(&self) -> PathBuf {
        self.home.path("source")
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.source().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has no `{from}`");
        std::fs::write(path, text.replacen(from, to, 1)).expect("a file");
    }

    /// A call of nix on an attribute of the flake.
    fn run(&self, arguments: &[&str], attribute: &str) -> Outcome {
        let stub = |name: &str| format!("path:{}", self.source().join("nix/stub").join(name).display());
        let mut command = self.home.prepared(Path::new("nix"), &["--extra-experimental-features"]);
        command.args(["nix-command flakes", "--offline"]).args(arguments);
        command.args(["--no-write-lock-file", "--override-input", "nixpkgs", &stub("nixpkgs")]);
        command.args(["--override-input", "rust-overlay", &stub("rust-overlay")]);
        command.arg(format!("path:{}{attribute}", self.source().display()));
        command.envs(self.places()).env_remove("NIX_PATH").env_remove("NIX_REMOTE");
        finish(command.spawn().expect("nix starts: `cargo xtask test` installs it, or `apt-get install nix-bin`"))
    }

    /// Where nix writes: below the home.
    fn places(&self) -> [(&'static str, PathBuf); 5] {
        let names = ["NIX_CONF_DIR", "NIX_DATA_DIR", "NIX_LOG_DIR", "NIX_STATE_DIR", "NIX_STORE_DIR"];
        names.map(|name| (name, self.home.path(name)))
    }

    /// The value of an attribute, given to a function.
    fn value(&self, attribute: &str, function: &str) -> Value {
        let outcome = self.run(&["eval", "--json", "--apply", function], &format!("#{attribute}"));
        assert_eq!(outcome.code, 0, "{attribute}: {}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }
}

#[test]
fn everything_of_the_flake_can_be_evaluated_on_every_system() {
    if !is_possible() {
        return;
    }
    let flake = Flake::new();
    let checked = flake.run(&["flake", "check", "--no-build"], "");
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let shown = flake.run(&["flake", "show"], "");
    assert!(shown.code == 0 && shown.stdout.contains("llorch-cuda"), "{}{}", shown.stdout, shown.stderr);
    let each = "builtins.mapAttrs (system: builtins.mapAttrs (name: made: made.drvPath))";
    let names = |attribute: &str| -> BTreeMap<String, Vec<String>> {
        let value = flake.value(attribute, each);
        let systems = value.as_object().expect("systems");
        systems.iter().map(|(system, made)| (system.clone(), keys(made))).collect()
    };
    let every = ["command", "convert", "default", "llorch-cpu", "pool", "worker-cpu"];
    let (packages, shells, checks) = (names("packages"), names("devShells"), names("checks"));
    for system in SYSTEMS {
        let (own, hardware) = match system {
            "aarch64-darwin" => (["llorch-metal", "worker-metal"], "metal"),
            _ => (["llorch-cuda", "worker-cuda"], "cuda"),
        };
        assert_eq!(packages[system], sorted(&[&every[..], &own].concat()), "{system}");
        assert_eq!(shells[system], sorted(&["default", hardware]), "{system}");
        assert_eq!(checks[system], ["default", "formatting", "lints", "tests"], "{system}");
    }
    // `flake check` of this nix does not look at it.
    let formatter = flake.value("formatter", "builtins.mapAttrs (system: made: made.drvPath)");
    assert_eq!(keys(&formatter), sorted(&SYSTEMS));
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn a_word_that_is_misspelt_is_an_error() {
    if !is_possible() {
        return;
    }
    // One for each way a name gets into the flake: package, package of one system, list of a set, output, setting,
    // argument, component, file, local name.
    for (file, from, to) in [
        ("nix/shells.nix", "pkgs.cargo-nextest", "pkgs.cargo-nexttest"),
        ("nix/shells.nix", "pkgs.strace", "pkgs.sttrace"),
        ("nix/cuda.nix", "cudaPackages.libcublas", "cudaPackages.libcubla"),
        ("nix/cuda.nix", "\"stubs\"", "\"stups\""),
        ("nix/cuda.nix", "cudaMajorMinorVersion", "cudaMinorVersion"),
        ("flake.nix", "cudaSupport", "cudaSuport"),
        ("nix/build.nix", "cargoBuildFlags", "cargoBuildFlag"),
        ("nix/shells.nix", "packages = tools ++ cuda", "package = tools ++ cuda"),
        ("nix/shells.nix", "\"rust-src\"", "\"rust-source\""),
        ("rust-toolchain.toml", "\"clippy\"", "\"clipy\""),
        ("nix/default.nix", "../clippy.toml", "../clipy.toml"),
        ("nix/checks.nix", "programs.default", "programs.defaults"),
    ] {
        let flake = Flake::new();
        flake.change(file, from, to);
        let outcome = flake.run(&["flake", "check", "--no-build"], "");
        assert!(outcome.code != 0 && outcome.stderr.contains("error:"), "{from} → {to}: {}", outcome.stderr);
    }
}

#[test]
fn the_cuda_worker_is_stamped_with_the_driver_of_its_toolkit() {
    if !is_possible() {
        return;
    }
    let environment = Flake::new().value("packages.x86_64-linux.worker-cuda", "made: made.environment");
    let environment: Value = serde_json::from_str(environment.as_str().expect("a text")).expect("JSON");
    // The stand-in's toolkit is 12.8.
    assert_eq!(environment["env"]["LLORCH_BUILD_MINIMUM_DRIVER"], "570", "{environment}");
}

/// Files that programs and tests below a folder have compiled in.
fn included(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(included(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            for call in ["include_str!(\"", "include_bytes!(\""] {
                let names = text.split(call).skip(1).filter_map(|rest| rest.split('"').next());
                files.extend(names.map(|name| path.with_file_name(name)).filter(|_| !path.ends_with(file!())));
            }
        }
    }
    files
}

#[test]
fn what_the_flake_calls_the_source_is_all_that_cargo_reads() {
    let text = std::fs::read_to_string(checkout().join("nix/default.nix")).expect("a file");
    let list = text.split_once("unions [").and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    let home = Home::new();
    for name in list.split_whitespace() {
        let name = name.strip_prefix("../").expect("a path of the checkout");
        copy(&checkout().join(name), &home.path("source").join(name));
    }
    let source = home.path("source");
    let read = included(&source.join("xtask")).into_iter().chain(included(&source.join("crates")));
    let missing: Vec<PathBuf> = read.filter(|path| !path.is_file()).collect();
    assert!(missing.is_empty(), "compiled in, and not of the source: {missing:?}");
    // It opens every module of every target, and every manifest.
    let cargo = std::env::var("CARGO").expect("tests are run by cargo");
    let mut command = home.prepared(Path::new(&cargo), &["fmt", "--all", "--check"]);
    let outcome = finish(command.current_dir(home.path("source")).spawn().expect("cargo starts"));
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn the_lock_names_every_input() {
    let read = |name: &str| std::fs::read_to_string(checkout().join(name)).expect("a file");
    let lock: Value = serde_json::from_str(&read("flake.lock")).expect("JSON");
    for (input, url) in
        [("nixpkgs", "github:NixOS/nixpkgs/nixos-unstable"), ("rust-overlay", "github:oxalica/rust-overlay")]
    {
        assert!(read("flake.nix").contains(url), "{url}");
        let node = &lock["nodes"][input];
        let original = [&node["original"]["owner"], &node["original"]["repo"], &node["original"]["ref"]];
        let original: Vec<&str> = original.into_iter().filter_map(Value::as_str).collect();
        assert_eq!(format!("github:{}", original.join("/")), url);
        let locked = &node["locked"];
        assert!(locked["rev"].as_str().is_some_and(|commit| commit.len() == 40), "{locked}");
        assert!(locked["narHash"].as_str().is_some_and(|hash| hash.len() == 51), "{locked}");
    }
    assert_eq!(keys(&lock["nodes"]), ["nixpkgs", "root", "rust-overlay"]);
}

/// Runs what a shell of the flake runs when it starts, with the system's folders in this home, and a line after it.
fn start(home: &Home, hook: &str, line: &str) -> Outcome {
    let place = |name: &str| home.path(name).display().to_string();
    let hook = hook.replace("/run/opengl-driver", &place("run")).replace("/usr/", &(place("usr") + "/"));
    let mut command = home.prepared(Path::new("bash"), &["-euc", &format!("{hook}\n{line}")]);
    finish(command.env_remove("LD_LIBRARY_PATH").spawn().expect("a shell"))
}

#[test]
fn the_cuda_shell_finds_the_driver_and_nothing_beside_it() {
    if !is_possible() {
        return;
    }
    let flake = Flake::new();
    let hook = flake.value("devShells.x86_64-linux.cuda.shellHook", "text: text");
    let hook = hook.as_str().expect("a text");
    let home = Home::new();
    let start = || start(&home, hook, "echo ${LD_LIBRARY_PATH-none}");
    // No driver: the shell works, and says so.
    let none = start();
    assert!(
        none.code == 0 && none.stdout.trim() == "none" && none.stderr.contains("no NVIDIA driver"),
        "{}",
        none.stderr
    );
    // One among the system's libraries, as everywhere but on NixOS: the driver's alone can be seen.
    let system = home.path("usr/lib64");
    std::fs::create_dir_all(&system).expect("a folder");
    for name in ["libcuda.so.1", "libcuda.so.580.1", "libnvidia-ptxjitcompiler.so.1", "libc.so.6"] {
        std::fs::write(system.join(name), "").expect("a library");
    }
    for _ in 0..2 {
        let found = start();
        let linked = PathBuf::from(found.stdout.trim());
        assert!(found.code == 0 && found.stderr.is_empty(), "{}", found.stderr);
        let entries = std::fs::read_dir(&linked).expect("a folder").flatten();
        let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(sorted(&names), ["libcuda.so.1", "libcuda.so.580.1", "libnvidia-ptxjitcompiler.so.1"]);
    }
    // NixOS has a folder with nothing else in it.
    std::fs::create_dir_all(home.path("run/lib")).expect("a folder");
    std::fs::write(home.path("run/lib/libcuda.so.1"), "").expect("a library");
    assert_eq!(start().stdout.trim(), home.path("run/lib").display().to_string());
}

#[test]
fn xcrun_forgets_the_sdk_of_nix_for_the_metal_compiler_alone() {
    if !is_possible() {
        return;
    }
    let flake = Flake::new();
    let expression = "import ./nix/xcrun.nix { pkgs.writeShellScriptBin = name: script: script; }";
    let arguments = ["--eval", "--strict", "--json", "--expr", expression];
    let mut command = flake.home.prepared(Path::new("nix-instantiate"), &arguments);
    command.current_dir(flake.source()).envs(flake.places());
    let script = finish(command.spawn().expect("nix starts")).stdout;
    let script: String = serde_json::from_str(&script).expect("a text");
    // Apple's program, as a script that says what it was given.
    let apple = flake.home.path("apple");
    std::fs::write(&apple, "echo ${SDKROOT-none} $*\n").expect("a script");
    let script = script.replace("/usr/bin/xcrun", &format!("sh {}", apple.display()));
    let run = |words: &[&str]| {
        let mut command = flake.home.prepared(Path::new("bash"), &["-c", &script, "xcrun"]);
        let ended = finish(command.args(words).env("SDKROOT", "nix").spawn().expect("a shell"));
        ended.stdout.trim().to_owned()
    };
    assert_eq!(run(&["-sdk", "macosx", "metal", "-c", "a b.metal"]), "none -sdk macosx metal -c a b.metal");
    assert_eq!(run(&["--show-sdk-path"]), "nix --show-sdk-path");
}
