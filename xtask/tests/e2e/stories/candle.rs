//! A branch of candle is tried: its submodule switched, a worker built against it, and nothing else touched by that.
//!
//! The stand-in for candle's repository is made of the released crates, so that nothing is fetched from anywhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{root, without_outer};

/// Part of an error of candle's that every worker contains, and what the branch makes of it.
const WORDS: (&str, &str) = ("unexpected rank, expected", "unexpected rank (metal-fixes), expected");

/// What this workspace optimises in debug builds too, and nothing here runs for long.
const UNOPTIMISED: [&str; 10] = [
    "candle-core",
    "candle-nn",
    "gemm",
    "gemm-common",
    "gemm-f32",
    "gemm-f16",
    "tokenizers",
    "regex-automata",
    "engine",
    "serde_json",
];

/// A folder with everything in it.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    fn run(&self, program: &str, folder: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        without_outer(&mut command);
        command
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("CARGO_INCREMENTAL", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).stdin(Stdio::null());
        command.args(arguments).current_dir(self.path(folder)).output().expect("it starts")
    }

    #[track_caller]
    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        text_of(&self.run("git", folder, arguments))
    }

    /// The command in the clone, which must succeed; what it printed.
    #[track_caller]
    fn xtask(&self, arguments: &[&str]) -> String {
        text_of(&self.run(env!("CARGO_BIN_EXE_xtask"), "work", arguments))
    }
}

#[track_caller]
fn text_of(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// This checkout as it is, a repository of candle, and a clone whose submodule that repository is.
fn world() -> World {
    let world = World { folder: tempfile::tempdir().expect("a folder") };
    let settings = "[user]\n\tname = T\n\temail = t@example.org\n[init]\n\tdefaultBranch = main\n";
    std::fs::write(world.path("gitconfig"), settings).expect("settings");
    // Found from the target folder, above all that is compiled here.
    let profile = UNOPTIMISED.map(|name| format!("[profile.dev.package.{name}]\nopt-level = 0\n")).concat();
    std::fs::create_dir(world.path(".cargo")).expect("a folder");
    std::fs::write(world.path(".cargo/config.toml"), profile).expect("a file");
    for folder in ["candle", "upstream"] {
        std::fs::create_dir(world.path(folder)).expect("a folder");
        world.git(folder, &["init", "--quiet"]);
    }
    make_candle(&world);
    let files =
        world.git("upstream", &["-C", &root().display().to_string(), "ls-files", "-z", "-co", "--exclude-standard"]);
    for file in files.split('\0').filter(|file| root().join(file).is_file()) {
        copy(&root().join(file), &world.path("upstream").join(file));
    }
    let url = world.path("candle").display().to_string();
    let modules =
        format!("[submodule \"candle\"]\n\tpath = reference/candle\n\turl = file://{url}\n\tshallow = true\n");
    std::fs::write(world.path("upstream/.gitmodules"), modules).expect("a file");
    let link = format!("160000,{},reference/candle", world.git("candle", &["rev-parse", "main"]));
    world.git("upstream", &["add", "--all"]);
    world.git("upstream", &["update-index", "--add", "--cacheinfo", &link]);
    world.git("upstream", &["commit", "--quiet", "--message", "a checkout"]);
    let upstream = world.path("upstream").display().to_string();
    world.git(".", &["clone", "--quiet", &upstream, "work"]);
    world
}

/// The released crates on main; on `metal-fixes`, one of candle's errors has other words.
fn make_candle(world: &World) {
    let metadata = duct::cmd(env!("CARGO"), ["metadata", "--format-version", "1", "--locked"]);
    let metadata = metadata.dir(root()).stderr_null().read().expect("metadata");
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    for name in ["candle-core", "candle-nn"] {
        let mut packages = metadata["packages"].as_array().expect("packages").iter();
        let package = packages.find(|package| package["name"] == name).expect("one of the dependencies");
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        copy_folder(manifest.parent().expect("a folder"), &world.path("candle").join(name));
    }
    world.git("candle", &["add", "--all"]);
    world.git("candle", &["commit", "--quiet", "--message", "as released"]);
    world.git("candle", &["switch", "--quiet", "--create", "metal-fixes"]);
    let changed = world.path("candle/candle-core/src/error.rs");
    let text = std::fs::read_to_string(&changed).expect("a source file");
    assert!(text.contains(WORDS.0), "candle's error has other words now");
    std::fs::write(&changed, text.replace(WORDS.0, WORDS.1)).expect("a source file");
    world.git("candle", &["commit", "--quiet", "--all", "--message", "fixes"]);
    world.git("candle", &["switch", "--quiet", "main"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    std::fs::copy(from, to).expect("a copy");
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        // Cargo's own mark of an unpacked crate.
        if entry.file_name() == ".cargo-ok" {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() { copy_folder(&source, &target) } else { copy(&source, &target) }
    }
}

#[test]
fn a_branch_of_candle_is_tried() {
    let world = world();
    world.xtask(&["git", "submodules", "update", "candle"]);
    world.xtask(&["git", "submodules", "branch", "candle", "metal-fixes"]);
    let commit = world.git("candle", &["rev-parse", "metal-fixes"]);
    assert_eq!(world.git("work/reference/candle", &["rev-parse", "HEAD"]), commit);

    let text = world.xtask(&["build", "worker", "cpu", "--debug", "--with-candle", "reference/candle", "--json"]);
    let built: Value = serde_json::from_str(text.lines().next().expect("an event")).expect("JSON");
    assert_eq!((&built["stamp"]["candle"], &built["stamp"]["backend"]), (&commit.clone().into(), &"cpu".into()));
    let program = PathBuf::from(built["path"].as_str().expect("a path"));
    assert_eq!(program, world.path("target/with-candle/debug/llorch-worker-cpu"));
    let bytes = std::fs::read(&program).expect("a program");
    assert!(bytes.windows(WORDS.1.len()).any(|window| window == WORDS.1.as_bytes()), "it holds the released candle");
    // Neither the lock nor the place of ordinary programs was touched.
    let changes = world.git("work", &["status", "--porcelain", "--ignore-submodules=all"]);
    assert_eq!((changes.as_str(), world.path("target/debug").exists()), ("", false));

    let manifest = world.path("work/reference/candle/candle-core/Cargo.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    std::fs::write(&manifest, text.replacen("version = \"0.11.1\"", "version = \"0.12.0\"", 1)).expect("a manifest");
    let again = ["build", "worker", "cpu", "--with-candle", "reference/candle", "--dry-run"];
    let refused = world.run(env!("CARGO_BIN_EXE_xtask"), "work", &again);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("has candle-core 0.12.0, this workspace needs 0.11.1"),
        "{said}"
    );
}
