//! The sentence this project is known by, from its README, against a real sshd: sent, built, brought back.

use std::path::{Path, PathBuf};

use crate::support::{Machines, is_possible};
use crate::warm::warm_target;

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
