//! Every verb is on the page, and what is said of all of them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::page::{self, ANY, Scene};
use crate::shelf::world;
use crate::support::Home;

/// Verbs that take minutes of a quiet machine: their examples are compared with their types, by unit tests beside those.
const BESIDE_THEIR_TYPES: [&str; 2] = ["bench build", "bench command, bench models, bench remote, bench submodules"];
/// What is on the page beside verbs.
const OTHERS: [&str; 5] = [ANY, "--version", "test --coverage", "--remote with several hosts", "build … --fetch"];

const SCENES: &[Scene] = &[
    (ANY, || {
        let home = Home::new();
        let unknown = home.run(&["models", "info", "nothing-like-it", "--json"]);
        let plan = home.run(&["models", "download", "tiny", "--dry-run", "--json"]);
        let without_hint =
            home.run(&["infer", "--stop=1", "--stop=2", "--stop=3", "--stop=4", "--stop=5", "--prompt=x", "--json"]);
        let (shelf, _hub) = world();
        let several = shelf.with("HF_HUB_OFFLINE", "1").run(&["models", "download", "smollm2", "qwen", "--json"]);
        let printed =
            [unknown, plan, without_hint, several].into_iter().flat_map(|outcome| page::lines(&outcome.stdout));
        printed.filter(|line| line["event"] == "error" || line["event"] == "plan").collect()
    }),
    ("--version", || page::lines(&Home::new().run(&["--version", "--json"]).stdout)),
];

#[test]
fn what_every_verb_may_print() {
    page::check(SCENES);
}

#[test]
fn every_failure_has_a_code_and_says_how_the_command_ends() {
    let home = Home::new();
    for (arguments, code, exit_code) in [
        // A typing error, one that is found later, a failure with a close word and one without.
        (&["infer", "--jsn", "--json"][..], "INVALID_PARAMS", 2),
        (&["models", "download", "--json"], "INVALID_PARAMS", 2),
        (&["models", "info", "nothing-like-it", "--json"], "MODEL_NOT_FOUND", 1),
        (&["install", "--rollback", "--prefix", "prefix", "--json"], "FAILED", 1),
        // The pool's own.
        (&["worker", "stop", "w-nobody", "--json"], "WORKER_NOT_FOUND", 1),
    ] {
        let outcome = home.run(arguments);
        let last = outcome.last_event();
        let expected = (&Value::from("error"), &Value::from(code), &Value::from(exit_code));
        assert_eq!((&last["event"], &last["code"], &last["exit_code"]), expected, "{outcome:?}");
        assert_eq!(outcome.code, exit_code, "{outcome:?}");
    }
}

/// Verbs with no verb below them, from the page that is made of `--help`.
fn leaves() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs/cli.md");
    let page = std::fs::read_to_string(page).expect("docs/cli.md is there");
    let titles = page.lines().filter(|line| line.starts_with("##"));
    let verbs: Vec<&str> = titles.filter_map(|line| line.split_once(" cargo xtask ").map(|(_, verb)| verb)).collect();
    let is_leaf = |verb: &&&str| !verbs.iter().any(|other| other.starts_with(&format!("{verb} ")));
    verbs.iter().filter(is_leaf).map(|verb| (*verb).to_owned()).collect()
}

#[test]
fn every_verb_is_on_the_page_and_its_examples_are_checked() {
    let (shown, leaves) = (page::examples(), leaves());
    assert!(leaves.len() > 50, "{leaves:?}");
    let on_page: BTreeSet<&str> = shown.keys().flat_map(|verbs| verbs.split(", ")).collect();
    let missing: Vec<_> = leaves.iter().filter(|verb| !on_page.contains(verb.as_str())).collect();
    assert!(missing.is_empty(), "docs/json.md has no example of {missing:?}");
    let strange: Vec<_> = on_page.iter().filter(|verb| !leaves.contains(**verb) && !OTHERS.contains(verb)).collect();
    assert!(strange.is_empty(), "docs/json.md shows {strange:?}, which are no verbs");
    let modules = [SCENES, crate::build::SCENES, crate::dev::SCENES, crate::git::SCENES, crate::models::SCENES];
    let more = [crate::remote::SCENES, crate::run::SCENES];
    let checked: BTreeSet<&str> = modules.into_iter().chain(more).flatten().map(|(verbs, _)| *verbs).collect();
    let unchecked = shown.keys().map(String::as_str).filter(|verbs| !checked.contains(verbs));
    assert_eq!(unchecked.collect::<Vec<_>>(), BESIDE_THEIR_TYPES, "examples that nobody compares");
}
