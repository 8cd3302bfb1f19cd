//! `test` with a cargo that only writes a report: what is told of a tier, what is skipped, what fails for a lack.

use serde_json::Value;

use crate::support::{Machine, Outcome};

const REPORT: &str = "<testsuites><testsuite name=\"a\"><testcase classname=\"a\" name=\"slow\" time=\"2.5\"/>\
    <testcase classname=\"a\" name=\"quick\" time=\"0.5\"/></testsuite></testsuites>";

/// A checkout whose tests are two, both passing, as nextest would run them.
fn machine() -> Machine {
    let cargo = format!("[ \"$2\" = run ] && echo '{REPORT}' > target/nextest/default/junit.xml; exit 0");
    Machine::healthy()
        .in_checkout("1.95.0")
        .file("work/target/nextest/default/junit.xml", "of an earlier run")
        .program("cargo", &cargo)
}

fn events(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_tier_is_told_with_its_report() {
    let machine = machine();
    let outcome = machine.run(&["test", "unit", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let events = events(&outcome);
    let [tier, done] = events.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&tier["tests"], &tier["failed"], &tier["verdict"]), (&2.into(), &0.into(), &"passed".into()));
    let slowest = serde_json::json!([{"name": "a slow", "seconds": 2.5}, {"name": "a quick", "seconds": 0.5}]);
    assert_eq!((&tier["slowest"], &done["passed"]), (&slowest, &serde_json::json!(["unit"])));
    assert_eq!(machine.read("work/target/tests/unit.xml").trim(), REPORT);
    let outcome = machine.run(&["test", "unit"]);
    let lines: Vec<&str> = outcome.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["slowest tests:", "2.50 s  a slow", "0.50 s  a quick"], "{outcome:?}");
    assert!(lines[3].starts_with("report: ") && lines[3].ends_with("target/tests/unit.xml"), "{outcome:?}");
}

#[test]
fn a_report_of_another_run_is_not_taken_for_this_ones() {
    let machine = machine().program("cargo", "[ \"$2\" = run ] && exit 100; exit 0");
    let outcome = machine.run(&["test", "unit", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let tier = &events(&outcome)[0];
    assert_eq!((&tier["verdict"], &tier["tests"]), (&"failed".into(), &Value::Null), "{tier}");
    assert!(!machine.path("work/target/tests/unit.xml").exists());
}

#[test]
fn without_nextest_tests_run_and_the_lack_of_a_report_is_said() {
    let machine = machine().program("cargo", "[ \"$1\" = nextest ] && exit 101; exit 0");
    let outcome = machine.run(&["test", "unit"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("`cargo test`, which writes no reports"), "{outcome:?}");
    assert!(outcome.stderr.contains("cargo test --locked --no-fail-fast --workspace --lib --bins"), "{outcome:?}");
}

#[test]
fn a_device_that_is_not_here_is_said_and_no_failure() {
    let outcome = machine().run(&["test", "smoke", "--backend", "cuda", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let events = events(&outcome);
    assert_eq!((&events[0]["tier"], &events[0]["verdict"]), (&"smoke".into(), &"skipped".into()));
    assert!(events[0]["reason"].as_str().is_some_and(|reason| reason.contains("CUDA")), "{events:?}");
    assert_eq!(events[1]["passed"], serde_json::json!([]));
    assert!(outcome.stderr.contains("skipped: smoke (there is no CUDA device here)"), "{outcome:?}");
}

#[test]
fn what_could_be_installed_is_missing_on_a_desk_and_a_failure_in_ci() {
    let machine = machine().program("apt-get", "exit 0");
    let outcome = machine.run(&["test", "unit"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("to test everything: sudo apt-get install "), "{outcome:?}");
    let outcome = machine.with("CI", "true").run(&["test", "unit"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("tests need what is not here: "), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: apt-get install "), "{outcome:?}");
}

#[test]
fn what_measures_lines_is_named_or_installed() {
    let outcome = machine().run(&["test", "--coverage"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("`cargo-tarpaulin` is not installed"), "{outcome:?}");
    for (words, said) in [(vec!["test", "--coverage", "unit"], "not a tier"), (vec!["test", "--json"], "which tests?")]
    {
        let refused = machine().run(&words);
        let has_said = [&refused.stdout, &refused.stderr].iter().any(|text| text.contains(said));
        assert!(refused.code == 2 && has_said, "{refused:?}");
    }
    let log = "[ \"$1\" = install ] && echo \"$*\" > log; exit 3";
    let machine = machine().program("cargo", log);
    let outcome = machine.run(&["test", "--coverage", "--yes"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let call = machine.read("work/log");
    assert!(call.starts_with("install cargo-tarpaulin --version 0.37.5 --locked --root "), "{call}");
}

#[test]
fn a_name_that_no_test_has_is_a_mistake() {
    let none = "<testsuites></testsuites>";
    let cargo = format!("[ \"$2\" = run ] && echo '{none}' > target/nextest/default/junit.xml; exit 0");
    let machine = machine().program("cargo", &cargo);
    let outcome = machine.run(&["test", "unit", "--", "nosuchtest"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("no test is called by `nosuchtest`"), "{outcome:?}");
    // Without a name it is a package that has none.
    assert_eq!(machine.run(&["test", "unit"]).code, 0);
}

#[test]
fn a_driver_that_gives_no_answer_is_not_taken_for_no_device() {
    let smi = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18";
    let outcome = machine().program("nvidia-smi", smi).run(&["test", "smoke", "--backend", "cuda"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("Driver/library version mismatch"), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: cargo xtask dev doctor --backend cuda"), "{outcome:?}");
}

#[test]
fn a_plan_says_what_would_be_skipped_and_what_a_lane_calls() {
    let plan = machine().run(&["test", "all", "--backend", "cuda", "--dry-run"]);
    let skipped: Vec<&str> = plan.stdout.lines().filter(|line| line.starts_with("skip ")).collect();
    let none = "(there is no CUDA device here)";
    assert_eq!(skipped, [format!("skip integration {none}"), format!("skip smoke {none}")], "{plan:?}");
    assert!(plan.stdout.contains(" --lib --bins"), "{plan:?}");
}
