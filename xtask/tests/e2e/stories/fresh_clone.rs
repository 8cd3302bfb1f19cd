//! Fresh clone → setup → build → test.

use std::path::Path;

use crate::support::{Clone, MODEL};

#[test]
fn a_fresh_clone_is_set_up_built_and_tested() {
    let clone = Clone::new();
    // It ends with doctor's verdict on this machine, which need not be a good one.
    let setup = clone.run(Path::new("cargo"), &["xtask", "dev", "setup", "--yes"]);
    let doctor = clone.run(Path::new("cargo"), &["xtask", "dev", "doctor"]);
    assert_eq!(setup.code, doctor.code, "{setup:?}\n{doctor:?}");
    assert!(setup.stdout.contains("rust "), "no checks at the end: {setup:?}");
    assert!(clone.path("home/.config/llorch/config.toml").is_file());
    assert!(clone.path("home/.local/share/llorch/models").join(MODEL).join("manifest.json").is_file());

    let built = clone.xtask(&["build", "all", "--debug", "--json"]).events();
    let (done, lines) = built.split_last().expect("events");
    assert_eq!(done["event"], "done");
    let programs: Vec<&str> = lines.iter().filter_map(|line| line["program"].as_str()).collect();
    assert!(programs.contains(&"llorch-worker-cpu") && programs.contains(&"llorch-pool"), "{programs:?}");
    // Each says of itself what was said of it.
    for line in lines {
        let program = std::path::PathBuf::from(line["path"].as_str().expect("a path"));
        let stamp = clone.run(&program, &["--version", "--json"]).last_event();
        assert_eq!(stamp, line["stamp"], "{}", program.display());
    }

    let tested = clone.xtask(&["test", "unit", "--json", "--", "-p", "protocol"]).events();
    let [tier, done] = tested.as_slice() else { panic!("a tier and the end: {tested:?}") };
    assert_eq!((&tier["tier"], &tier["verdict"]), (&"unit".into(), &"passed".into()), "{tier}");
    assert_eq!(done["passed"], serde_json::json!(["unit"]), "{done}");
    // Only nextest writes down what ran.
    if let Some(report) = tier["report"].as_str() {
        let tests = tier["tests"].as_u64().expect("a number");
        assert!(tests > 0 && tier["failed"] == 0, "{tier}");
        assert!(report.starts_with(clone.path("llorch").to_str().expect("a path")), "{report}");
        assert!(std::fs::read_to_string(report).is_ok_and(|text| text.contains("<testcase")), "{report}");
        assert!(tier["slowest"].as_array().is_some_and(|slowest| slowest.len() as u64 == tests.min(10)), "{tier}");
    }
}
