//! A second build calls the compiler only if something changed: a checkout of a few files, a cargo that writes down its calls.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, Outcome, finish};

const SOURCE: &str = "checkout/crates/pool/src/main.rs";
const PROGRAM: &str = "target/release/llorch-pool";

/// A checkout, this command where its launcher would have it built, and a cargo that makes a pool of one line.
struct Checkout {
    home: Home,
    root: PathBuf,
}

impl Checkout {
    fn new() -> Self {
        let home = Home::new();
        let root = home.path("checkout");
        let checkout = Self { home, root };
        for name in ["Cargo.toml", "Cargo.lock", "catalog.toml", "xtask/Cargo.toml", "crates/pool/Cargo.toml"] {
            checkout.write(&format!("checkout/{name}"), "");
        }
        checkout.write(SOURCE, "");
        checkout.write("target/debug/xtask.d", "");
        let command = checkout.home.path("target/debug/xtask");
        std::fs::copy(env!("CARGO_BIN_EXE_xtask"), &command).expect("a copy");
        let version = env!("CARGO_PKG_VERSION");
        let stamp = format!(
            r#"{{"program":"llorch-pool","version":"{version}","features":[],"commit":"c","target":"t","profile":"release"}}"#
        );
        let message = r#"{"reason":"compiler-artifact","target":{"name":"llorch-pool","kind":["bin"]},"fresh":false,"executable":"%s"}"#;
        let place = checkout.home.path("");
        checkout.script(
            "cargo",
            &format!(
                "cd '{}' || exit 1\necho \"$*\" >> calls\n[ -e broken ] && exit 101\nmkdir -p target/release\n\
                 printf '#!/bin/sh\\ncat <<END\\n%s\\nEND\\n' '{stamp}' > {PROGRAM}.new\n\
                 chmod +x {PROGRAM}.new; mv {PROGRAM}.new {PROGRAM}\n\
                 echo \"$PWD/{PROGRAM}: $PWD/{SOURCE}\" > {PROGRAM}.d\n\
                 [ -e hangs ] && sleep 5\n\
                 printf '{message}\\n' \"$PWD/{PROGRAM}\"",
                place.display()
            ),
        );
        checkout.git(&["init", "--quiet"]);
        checkout.commit();
        checkout
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(self.home.path(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Another file under that name, as executable as the one before.
    fn replace(&self, name: &str, contents: impl AsRef<[u8]>) {
        let (path, new) = (self.home.path(name), self.home.path("new"));
        std::fs::write(&new, contents).expect("a file");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        std::fs::rename(new, path).expect("a name");
    }

    fn git(&self, words: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"];
        duct::cmd("git", identity.iter().chain(words)).dir(&self.root).stdout_null().run().expect("git");
    }

    fn commit(&self) {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "m"]);
    }

    fn calls(&self) -> usize {
        std::fs::read_to_string(self.home.path("calls")).unwrap_or_default().lines().count()
    }

    fn build(&self, variables: &[(&str, &str)]) -> Outcome {
        finish(self.command(variables).spawn().expect("it starts"))
    }

    fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = self.home.prepared(&self.home.path("target/debug/xtask"), &["build", "pool"]);
        command.env("CARGO", self.home.path("cargo")).env("CARGO_MANIFEST_DIR", self.root.join("xtask"));
        command.envs(variables.iter().copied());
        command
    }

    /// It succeeds, and called cargo or did not.
    #[track_caller]
    fn assert_asks_cargo(&self, expected: bool, why: &str) {
        let before = self.calls();
        let outcome = self.build(&[]);
        assert_eq!((outcome.code, self.calls() > before), (0, expected), "{why}: {outcome:?}");
        assert_eq!(Path::new(outcome.stdout.trim()), self.home.path(PROGRAM), "{why}: {outcome:?}");
        assert_eq!(outcome.stderr.contains("nothing changed"), !expected, "{why}: {outcome:?}");
    }
}

#[test]
fn a_target_folder_that_is_a_link_is_one_all_the_same() {
    let checkout = Checkout::new();
    std::fs::rename(checkout.home.path("target"), checkout.home.path("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink("elsewhere", checkout.home.path("target")).expect("a link");
    let built = |is_asked: bool| {
        let before = checkout.calls();
        let outcome = checkout.build(&[]);
        assert_eq!((outcome.code, checkout.calls() > before), (0, is_asked), "{outcome:?}");
    };
    built(true);
    built(false);
}

#[test]
fn a_build_that_was_killed_is_not_the_last_one() {
    let checkout = Checkout::new();
    checkout.assert_asks_cargo(true, "the first time");
    // It has left its program, and ends before it can say so.
    checkout.write("hangs", "");
    let mut child = checkout.command(&[("RUSTFLAGS", "-C debuginfo=2")]).spawn().expect("it starts");
    let before = checkout.calls();
    while checkout.calls() == before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
    std::fs::remove_file(checkout.home.path("hangs")).expect("it goes");
    checkout.assert_asks_cargo(true, "whatever that one left");
}

#[test]
fn cargo_is_asked_whenever_anything_changed_and_not_otherwise() {
    let checkout = Checkout::new();
    checkout.assert_asks_cargo(true, "the first time");
    checkout.assert_asks_cargo(false, "nothing changed");

    let changes: [(&str, &dyn Fn()); 9] = [
        ("a source", &|| checkout.write(SOURCE, "//")),
        ("the lock", &|| checkout.write("checkout/Cargo.lock", "#")),
        ("a build script", &|| checkout.write("checkout/crates/pool/build.rs", "")),
        ("the commit", &|| checkout.commit()),
        ("cargo's configuration", &|| checkout.write("checkout/.cargo/config.toml", "#")),
        ("no program", &|| std::fs::remove_file(checkout.home.path(PROGRAM)).expect("a program")),
        ("a program of plain cargo's", &|| checkout.replace(PROGRAM, "#!/bin/sh\necho another\n")),
        ("the list of sources", &|| checkout.write("target/release/llorch-pool.d", "llorch-pool: /elsewhere.rs\n")),
        ("this command", &|| {
            // As another toolchain leaves it: the same name, another file.
            let bytes = std::fs::read(checkout.home.path("target/debug/xtask")).expect("this command");
            checkout.replace("target/debug/xtask", bytes);
        }),
    ];
    for (what, change) in changes {
        change();
        checkout.assert_asks_cargo(true, what);
        checkout.assert_asks_cargo(false, what);
    }

    let before = checkout.calls();
    assert_eq!(checkout.build(&[("RUSTFLAGS", "-C debuginfo=2")]).code, 0);
    assert_eq!(checkout.calls(), before + 1, "other flags");
    checkout.assert_asks_cargo(true, "no flags again");

    checkout.write("broken", "");
    checkout.write(SOURCE, "//!");
    let failed = checkout.build(&[]);
    assert!(failed.code == 1 && failed.stderr.contains("exit code 101"), "{failed:?}");
    std::fs::remove_file(checkout.home.path("broken")).expect("it goes");
    checkout.assert_asks_cargo(true, "the last build failed");
    checkout.assert_asks_cargo(false, "it was mended");
    // A program that was damaged where it lies is cargo's to mend.
    let program = checkout.home.path(PROGRAM);
    let time = program.metadata().and_then(|data| data.modified()).expect("a time");
    std::fs::write(&program, "#!/bin/sh\nexit 1\n").expect("a program");
    std::fs::File::options().append(true).open(&program).and_then(|file| file.set_modified(time)).expect("a time");
    checkout.assert_asks_cargo(true, "a damaged program");

    checkout.write("checkout/.cargo/config.toml", "include = [\"other.toml\"]\n");
    checkout.assert_asks_cargo(true, "an included configuration");
    checkout.assert_asks_cargo(true, "nobody knows whether that changed");
    let left: Vec<_> = std::fs::read_dir(checkout.home.path("target/release"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.contains("-built."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_rehearsal_compiles_nothing_to_learn_what_is_in_use() {
    let checkout = Checkout::new();
    let rehearse = || {
        let command = ["models", "prune", "--dry-run"];
        let mut command = checkout.home.prepared(&checkout.home.path("target/debug/xtask"), &command);
        command.env("CARGO", checkout.home.path("cargo")).env("CARGO_MANIFEST_DIR", checkout.root.join("xtask"));
        finish(command.spawn().expect("it starts"))
    };
    let planned = rehearse();
    assert_eq!((planned.code, checkout.calls()), (0, 0), "{planned:?}");
    assert!(planned.stdout.contains("--bin llorch-pool\nspare what a worker of the pool serves"), "{planned:?}");
}
