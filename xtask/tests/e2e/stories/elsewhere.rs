//! Sent to another host → built there → tested there.

use crate::machines::{Machines, Outcome, is_possible};
use crate::support::root;
use crate::warm::warm_target;

#[test]
fn another_host_builds_and_tests_this_tree() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let target = warm_target();
    let cargo = std::path::PathBuf::from(std::env::var("CARGO").expect("tests are run by cargo"));
    machines.configure(&format!(
        "[hosts.box]\npath = ['{}']\n[hosts.box.env]\nCARGO_TARGET_DIR = '{}'\nCARGO_INCREMENTAL = '0'\n{}",
        cargo.parent().expect("a folder").display(),
        target.path().display(),
        machines.toolchain(),
    ));
    let built = events(&run(&machines, &["build", "worker", "cpu", "--debug", "--json"], &[]));
    assert_eq!((&built[0]["event"], &built[0]["stamp"]["backend"]), (&"built".into(), &"cpu".into()), "{built:?}");
    let tested = events(&run(&machines, &["test", "unit", "--json"], &["--", "-p", "protocol"]));
    let [tier, done] = tested.as_slice() else { panic!("a tier and the end: {tested:?}") };
    assert_eq!((&tier["verdict"], &done["passed"][0]), (&"passed".into(), &"unit".into()), "{tested:?}");
    // It ran over there, in the far user's copy, which the report lies in.
    if let Some(report) = tier["report"].as_str() {
        assert!(report.starts_with(machines.far("").to_str().expect("a path")), "{report}");
    }
    machines.wait_until_empty();
}

/// The words, with what sends them elsewhere before what is the test runner's.
#[track_caller]
fn run(machines: &Machines, words: &[&str], rest: &[&str]) -> Outcome {
    let words = [words, &["--remote", "box", "--sync"], rest].concat();
    let outcome = machines.run_in(root(), &words);
    assert_eq!(outcome.code, 0, "{words:?}\n{}\n{}", outcome.text(), outcome.stderr);
    outcome
}

fn events(outcome: &Outcome) -> Vec<serde_json::Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    outcome.text().lines().map(parse).collect()
}
