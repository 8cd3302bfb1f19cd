//! Help, versions, usage errors, plans.

use crate::support::Home;

#[test]
fn help_is_no_error_and_has_examples() {
    let home = Home::new();
    for arguments in
        [&["--help"][..], &["infer", "--help"], &["models", "download", "--help"], &["worker", "start", "--help"]]
    {
        let outcome = home.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.stdout.contains("Examples:\n  llorch "), "{outcome:?}");
        assert!(!outcome.stdout.contains("cargo xtask"), "{outcome:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_exit_code_2() {
    let home = Home::new();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["infer"],
        &["infer", "--prompt", "a", "--message", "b"],
        &["infer", "--prompt", "a", "--temperature", "3"],
        &["infer", "--prompt", "a", "--top-p", "0"],
        &["infer", "--prompt", "a", "--max-tokens", "0"],
        &["infer", "--prompt", "a", "--worker", "ftp://x"],
        &["models", "download"],
        &["models", "download", "tiny", "other", "--from", "x"],
        &["worker", "start", "abacus", "--model", "tiny"],
        &["worker", "stop"],
        &["worker", "logs", "../../etc"],
        &["models", "list", "-v", "-q"],
        // Outside a checkout.
        &["build", "pool"],
        &["test", "unit"],
        &["ci"],
    ] {
        let outcome = home.run(arguments);
        let is_the_catalogs = arguments.contains(&"other");
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:?}");
        assert!(
            outcome.stdout.is_empty() && !outcome.stderr.is_empty(),
            "{arguments:?} {is_the_catalogs}: {outcome:?}"
        );
    }
}

#[test]
fn usage_errors_are_events_too() {
    let outcome = Home::new().run(&["infer", "--json"]);
    assert_eq!(outcome.code, 2);
    let event = outcome.last_event();
    assert_eq!(
        (&event["event"], &event["code"], &event["exit_code"]),
        (&"error".into(), &"INVALID_PARAMS".into(), &2.into())
    );
}

#[test]
fn the_version_is_a_stamp() {
    let stamp = Home::new().run(&["--version", "--json"]).last_event();
    assert_eq!(stamp["program"], "llorch");
    assert!(stamp.get("backend").is_none() && stamp["version"].is_string() && stamp["commit"].is_string());
    assert_eq!(Home::new().run(&["--version"]).code, 0);
}

#[test]
fn plans_are_printed_and_not_carried_out() {
    let home = Home::new();
    let outcome = home.run_in_checkout(&["infer", "--prompt", "x", "--model", "tiny", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(
        lines[0].contains("--release --workspace --bin llorch-worker") && lines[0].contains("LLORCH_BUILD_COMMIT=")
    );
    assert!(lines[1].contains("--release --workspace --bin llorch-pool"));
    assert_eq!(
        lines[2..],
        [
            "ensure model tiny",
            "llorch-pool worker spawn cpu --model tiny --attached --grace 5 --json",
            "POST /v1/inference"
        ]
    );

    let outcome = home.run(&["models", "download", "tiny", "--dry-run", "--json"]);
    assert_eq!(outcome.last_event()["event"], "plan");
    let outcome = home.run_in_checkout(&["ci", "--dry-run"]);
    assert_eq!(outcome.stdout.lines().count(), 7, "{outcome:?}");
    let outcome = home.run_in_checkout(&["install", "--prefix", "p", "--backend", "cpu", "--dry-run"]);
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains("/p/bin/llorch")).count(), 4, "{outcome:?}");
    for made in ["p", ".local"] {
        assert!(!home.path(made).exists(), "{made} was made");
    }
}
