//! The examples of every help page, run: as they stand where they only look, as a plan where they would change something.
//! Those of `models` are carried out against a hub by another test (`cli/models_examples.rs`).

use std::path::Path;

use crate::support::{Machines, Outcome, is_possible};
use crate::verbs::{walk, words};

/// Verbs that only look: what they say is their whole effect.
const LOOK: [&str; 8] = [
    "dev doctor",
    "dev check",
    "git status",
    "git log",
    "git branches",
    "remote hosts list",
    "completions",
    "docs --check",
];

/// Examples whose answer depends on what is here: the beginning, the exit code, what is said.
const OTHERWISE: [(&str, u8, &str); 13] = [
    // Something may be amiss with the machine that tests; its lines have tests of their own.
    ("dev doctor", 1, "failed"),
    ("build orchestrator", 2, "is not built yet"),
    ("build worker cpu --with-candle", 2, "git submodules update candle"),
    ("git pull", 1, "follows nothing"),
    // The checkout of a CI is often that of a commit.
    ("git pull", 1, "no branch is checked out"),
    ("git sync", 1, "to sync with"),
    ("git sync", 1, "no branch"),
    ("git submodules branch candle", 1, "is not here"),
    ("git submodules reset candle", 1, "is not here"),
    ("install --rollback", 1, "nothing to go back to"),
    ("uninstall", 1, "nothing is installed"),
    ("docs --check", 1, "out of date"),
    ("remote hosts add workstation", 2, "has a profile"),
];

#[test]
fn every_page_has_two_examples_and_each_of_them_is_one() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("exit 0");
    let profile =
        |name: &str| format!("[hosts.{name}]\nrepo = 'src/llorch'\npath = ['{}']\n", machines.path("bin").display());
    machines.configure(&(profile("workstation") + &profile("mac")));
    let (mut pages, mut examples) = (0, Vec::new());
    walk(&machines, &[], &mut |page| {
        pages += 1;
        assert!(page.examples.len() >= 2, "`{}` has {} examples", page.verb, page.examples.len());
        examples.extend(page.examples);
    });
    examples.sort();
    examples.dedup();
    examples.retain(|example| !example.starts_with("cargo xtask models "));
    assert!(pages >= 50 && examples.len() >= 90, "{pages} pages, {} examples", examples.len());
    let folder = tempfile::tempdir().expect("a folder");
    let failures: Vec<String> =
        examples.iter().filter_map(|example| fault(&machines, folder.path(), example)).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    println!("{} examples of {pages} pages", examples.len());
}

/// Whether it said so, on either stream: for people or for machines.
fn says(outcome: &Outcome, words: &str) -> bool {
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    [&stdout, outcome.stderr.as_str()].iter().any(|text| text.to_lowercase().contains(words))
}

/// What is wrong with an example.
fn fault(machines: &Machines, folder: &Path, example: &str) -> Option<String> {
    let mut arguments = words(example, folder);
    let command = arguments.join(" ");
    let is_plan = arguments.iter().any(|word| word == "--dry-run");
    if !is_plan && !LOOK.iter().any(|verb| command.starts_with(verb)) {
        let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
        arguments.insert(end, String::from("--dry-run"));
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout");
    let outcome = machines.run_in(checkout, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let is_otherwise = OTHERWISE.iter().any(|(start, code, said)| {
        command.starts_with(start) && outcome.code == i32::from(*code) && says(&outcome, said)
    });
    (outcome.code != 0 && !is_otherwise).then(|| format!("{example}: {outcome:?}"))
}
