//! A clone of this checkout as it is, and a hub that has the model everybody starts with.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use models::catalog::Catalog;
use protocol::catalog::EntrySource;
use testkit::hub::{Content, Hub, Repo};

use crate::home::{Outcome, finish};
use crate::warm::warm_target;

/// A greedy continuation that the smoke test compares too.
pub const PROMPT: (&str, &str) = ("1, 2, 3, 4, 5, 6,", " 7, 8, 9, 10, 11, 12, 13");
/// The model of whoever names none.
pub const MODEL: &str = "smollm2";

/// The root of this checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root")
}

/// A hub with the default model under the names that the built-in catalog has for it. It holds the true bytes.
pub fn hub() -> Hub {
    let catalog = Catalog::built_in().expect("the built-in catalog");
    let entry = catalog.find(MODEL).expect("the default model");
    let file = match &entry.source {
        EntrySource::File(file) => file,
        EntrySource::Convert { .. } => panic!("the default model is a file"),
    };
    let content = Content::of_file(&testkit::real_model::path()).expect("the real model");
    let repo = Repo::new(entry.repo.as_str(), entry.revision.as_str()).huge(file.name.as_str(), content);
    Hub::builder().repo(repo).start()
}

/// A clone, the home of who made it, and a folder for what is compiled.
pub struct Clone {
    folder: tempfile::TempDir,
    target: tempfile::TempDir,
    hub: Hub,
}

impl Clone {
    /// Of this checkout, with what is not committed yet.
    pub fn new() -> Self {
        let clone = Self { folder: tempfile::tempdir().expect("a folder"), target: warm_target(), hub: hub() };
        std::fs::create_dir(clone.path("home")).expect("a folder");
        let (from, to) = (root().display().to_string(), clone.path("llorch").display().to_string());
        git(root(), &["clone", "--quiet", "--no-local", "--no-recurse-submodules", &from, &to]);
        let files = git(root(), &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let files: BTreeSet<&str> = files.split('\0').filter(|file| !file.is_empty()).collect();
        for file in &files {
            let (source, copy) = (root().join(file), clone.path("llorch").join(file));
            // A submodule is a folder, and left to who wants it; what was removed here is removed there.
            if source.is_dir() {
                continue;
            }
            let is_same = std::fs::read(&source).ok() == std::fs::read(&copy).ok();
            if !is_same && source.exists() {
                std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
                std::fs::copy(&source, &copy).expect("a copy");
            } else if !is_same {
                std::fs::remove_file(&copy).expect("a file that is gone here");
            }
        }
        clone
    }

    /// Something of this story.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `cargo xtask …`, as it is typed in the clone.
    #[track_caller]
    pub fn xtask(&self, arguments: &[&str]) -> Outcome {
        let words: Vec<&str> = ["xtask"].into_iter().chain(arguments.iter().copied()).collect();
        let outcome = self.run(Path::new("cargo"), &words);
        assert_eq!(outcome.code, 0, "cargo {words:?}\n{}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }

    /// A program in the environment of the story: its own home, the toolchain that is here, the hub.
    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        without_outer(&mut command);
        command.args(arguments).current_dir(self.path("llorch")).process_group(0);
        command.env("HOME", self.path("home")).env("HF_ENDPOINT", self.hub.endpoint());
        command.env("CARGO_TARGET_DIR", self.target.path()).env("CARGO_INCREMENTAL", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().expect("it starts"))
    }
}

/// What cargo and the test runner tell this test is not meant for the cargo of somebody else; the toolchain is the one here.
pub fn without_outer(command: &mut Command) {
    let is_foreign = |name: &str| {
        ["XDG_", "LLORCH_", "HF_", "CARGO", "NEXTEST", "RUST", "SSH_", "GIT_", "LD_LIBRARY_PATH", "__CARGO"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| is_foreign(name)) {
        command.env_remove(name);
    }
    for (name, below_home) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let of_user = std::env::var_os("HOME").map(|home| Path::new(&home).join(below_home).into_os_string());
        command.envs(std::env::var_os(name).or(of_user).map(|folder| (name, folder)));
    }
}

fn git(folder: &Path, words: &[&str]) -> String {
    let output = duct::cmd("git", words).dir(folder).stdout_capture().run().expect("git");
    String::from_utf8(output.stdout).expect("UTF-8")
}
