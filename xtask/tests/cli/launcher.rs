//! What `cargo xtask` starts is always what the sources say: the launcher, in a workspace of two tiny packages.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "cargo, and the program it started, as a user's")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

struct Workspace {
    scratch: tempfile::TempDir,
}

impl Workspace {
    /// A checkout with blanks in its name, its command one that prints its version and its words.
    fn new() -> Self {
        let workspace = Self { scratch: tempfile::tempdir().expect("a folder") };
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").join("crates/launcher");
        for name in ["main.rs", "lib.rs", "environment.rs", "freshness.rs", "process.rs"] {
            let text = std::fs::read_to_string(ours.join("src").join(name)).expect("a source");
            workspace.write(&format!("crates/launcher/src/{name}"), &text);
        }
        let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        workspace.write("crates/launcher/Cargo.toml", &package("launcher"));
        workspace.write("xtask/Cargo.toml", &package("xtask"));
        workspace.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\", \"crates/*\"]\n");
        workspace.write(".cargo/config.toml", "[alias]\nxtask = \"run --quiet --package launcher --\"\n");
        workspace.version(1);
        assert!(workspace.cargo(&["generate-lockfile", "--offline"]).status.success());
        workspace
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("a clone's \"folder\"")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn version(&self, version: u32) {
        self.write(
            "xtask/src/main.rs",
            &format!(
                "fn main() {{\n    let words: Vec<String> = std::env::args().skip(1).collect();\n    \
                 println!(\"{version} {{words:?}} {{}}\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n    \
                 std::process::exit(i32::try_from(words.len()).unwrap());\n}}\n"
            ),
        );
    }

    fn cargo(&self, words: &[&str]) -> std::process::Output {
        let mut command = command(env!("CARGO"));
        // The target folder of these tests is not that of the checkout they belong to.
        command.args(words).current_dir(self.root()).env_remove("CARGO_TARGET_DIR").process_group(0);
        command.output().expect("cargo")
    }

    fn says(&self, version: u32) {
        let output = self.cargo(&["xtask", "one", "two words"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let expected = format!("{version} [\"one\", \"two words\"] {}/xtask\n", self.root().display());
        assert_eq!((text.as_ref(), output.status.code()), (expected.as_str(), Some(2)), "{output:?}");
    }
}

#[test]
fn what_starts_is_what_the_sources_say() {
    let workspace = Workspace::new();
    workspace.says(1);
    workspace.says(1);
    workspace.version(2);
    workspace.says(2);
    // What cannot be compiled is not run in its old form; the compiler's words and cargo's exit code come through.
    workspace.write("xtask/src/main.rs", "fn main() { mistake }\n");
    let broken = workspace.cargo(&["xtask"]);
    let words = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(broken.status.code() == Some(101) && broken.stdout.is_empty() && words.contains("mistake"), "{broken:?}");
    workspace.version(3);
    workspace.says(3);
    std::fs::remove_file(workspace.root().join("target/debug/xtask")).expect("the command");
    workspace.says(3);
}

#[test]
fn by_hand_the_launcher_says_what_to_type() {
    let workspace = Workspace::new();
    assert!(workspace.cargo(&["build", "--quiet", "--package", "launcher"]).status.success());
    let by_hand = command(workspace.root().join("target/debug/launcher")).env_remove("CARGO_MANIFEST_DIR").output();
    let by_hand = by_hand.expect("the launcher");
    let words = String::from_utf8_lossy(&by_hand.stderr).into_owned();
    assert!(words.contains("hint: cargo xtask --help") && by_hand.status.code() == Some(101), "{words}");
}
