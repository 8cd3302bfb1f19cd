//! The sentence this project is known by, from its README, against a real sshd: sent, built, brought back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::{Machines, is_possible};

const LINE: &str = "cargo xtask build worker cpu --remote box --sync";

#[test]
fn the_readmes_line_builds_a_worker_on_another_host() {
    if !is_possible() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    assert!(readme.contains(LINE), "the README does not say `{LINE}`");
    let machines = Machines::new();
    // The far target folder holds what was compiled here already, so that the test compiles this project alone.
    let target = warm_target();
    let cargo = PathBuf::from(std::env::var("CARGO").expect("tests are run by cargo"));
    let cargo = cargo.parent().expect("a folder").display().to_string();
    machines.configure(&format!(
        "[hosts.box]\npath = ['{cargo}']\n[hosts.box.env]\nCARGO_TARGET_DIR = '{}'\nCARGO_INCREMENTAL = '0'\n{}",
        target.path().display(),
        machines.toolchain(),
    ));
    let words: Vec<&str> = LINE.split(' ').skip(2).chain(["--debug", "--fetch", "--json"]).collect();
    let outcome = machines.run_in(root, &words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let event: serde_json::Value = serde_json::from_str(outcome.text().lines().next().expect("a line")).expect("JSON");
    assert_eq!((&event["event"], &event["stamp"]["backend"]), (&"fetched".into(), &"cpu".into()), "{event}");
    // What came back says of itself what the other host says of it; and both say what this side's tree is.
    let here = duct::cmd("git", ["rev-parse", "HEAD"]).dir(root).read().expect("a commit");
    assert!(event["stamp"]["commit"].as_str().expect("a commit").starts_with(here.trim()), "{event}");
    let program = PathBuf::from(event["path"].as_str().expect("a path"));
    let said = duct::cmd(&program, ["--version", "--json"]).read().expect("it runs here too");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).expect("a stamp"), event["stamp"]);
    std::fs::remove_file(program).expect("a file");
}

/// A copy of this test's own target folder, made of hard links: what cargo replaces there is replaced in the copy alone.
fn warm_target() -> tempfile::TempDir {
    let profile = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().expect("target/<profile>");
    let copy = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for name in ["deps", "build", ".fingerprint"] {
        link_all(&profile.join(name), &copy.path().join("debug").join(name));
    }
    copy
}

fn link_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => link_all(&source, &target),
            // Small files are written in place by cargo, so they are copied; so is what is on another file system.
            Ok(_) if entry.metadata().is_ok_and(|data| data.size() < 64 * 1024) => copy_with_time(&source, &target),
            Ok(_) => std::fs::hard_link(&source, &target).unwrap_or_else(|_| copy_with_time(&source, &target)),
            Err(_) => {}
        }
    }
}

/// Cargo goes by the time of files.
fn copy_with_time(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a copy");
    let time = std::fs::metadata(from).and_then(|data| data.modified()).expect("a time");
    std::fs::File::options().write(true).open(to).and_then(|file| file.set_modified(time)).expect("a time");
}
