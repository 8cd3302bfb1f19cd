//! The examples of `models --help` and of every verb below it, run as they stand: against a hub that has small models under
//! the names that the examples use.

use crate::shelf::{GGUF_MODELS, world};
use crate::support::Home;

/// The verbs that a help lists.
fn verbs(help: &str) -> Vec<String> {
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|verb| verb != "help").collect()
}

/// The examples of a help.
fn examples(help: &str) -> Vec<String> {
    let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("no examples: {help}"));
    examples.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_example_of_every_verb_does_what_it_says() {
    let (home, _hub) = world();
    let verbs = verbs(&home.run(&["models", "--help"]).stdout);
    assert!(verbs.len() >= 11, "{verbs:?}");
    let mut run = 0;
    for verb in &verbs {
        let help = home.run(&["models", verb, "--help"]);
        let examples = examples(&help.stdout);
        assert!(!examples.is_empty(), "`models {verb}` has no example");
        for example in examples {
            prepare(&home, &example);
            let words: Vec<&str> = example.split_whitespace().collect();
            assert_eq!(words[..3], ["llorch", "models", verb.as_str()], "{example}");
            let mut arguments = words[1..].to_vec();
            let asks = ["delete", "prune"].contains(&verb.as_str());
            if asks && !arguments.contains(&"--yes") && !arguments.contains(&"--dry-run") {
                // There is no terminal here: it says so, and with the answer it goes on.
                assert_eq!(home.run(&arguments).code, 2, "{example}");
                arguments.push("--yes");
            }
            let outcome = home.run(&arguments);
            assert_eq!(outcome.code, 0, "{example}: {outcome:?}");
            run += 1;
        }
    }
    assert!(run >= 2 * verbs.len(), "{run} examples of {} verbs", verbs.len());
}

/// What an example expects to be here.
fn prepare(home: &Home, example: &str) {
    if example.contains("lock --check") {
        assert_eq!(home.run(&["models", "lock"]).code, 0);
    }
    for id in GGUF_MODELS.into_iter().filter(|id| example.split_whitespace().any(|word| word == *id)) {
        if ["delete", "verify", "info"].iter().any(|verb| example.contains(verb)) {
            assert_eq!(home.run(&["models", "download", id]).code, 0);
        }
    }
}
