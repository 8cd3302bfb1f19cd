//! docs/json.md as data, and the comparison with what was printed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::shape::{self, Shape};

/// The block for what every verb may print.
pub const ANY: &str = "any verb";
/// Events that are described there, and not once more with each verb.
const OF_ANY: [&str; 2] = ["plan", "error"];
/// The verb whose events come from every verb that fetches a model first.
const FETCHING: &str = "models download";

/// Verbs as they are typed, `, ` between them, and what they printed in situations that show all that they can print.
pub type Scene = (&'static str, fn() -> Vec<Value>);

/// Events that nothing brings about cheaply: the example is compared by a unit test beside the type.
const BESIDE_THEIR_TYPES: [(&str, &str); 1] = [("ci", "done")];

/// The examples of the page, by the verbs that share them.
pub fn examples() -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs/json.md");
    let text = std::fs::read_to_string(file).expect("docs/json.md is there");
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("\n```json ") {
        let (labels, after) = after.split_once('\n').expect("a fence has a line end");
        let (block, after) = after.split_once("\n```").expect("a fence is closed");
        let values: Vec<Value> =
            block.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
        found.entry(labels.to_owned()).or_default().extend(values);
        rest = after;
    }
    found
}

/// What is printed is on the page, and what is on the page is printed.
#[track_caller]
pub fn check(scenes: &[Scene]) {
    let examples = examples();
    let of =
        |verb: &str| shape::of(&examples.get(verb).map(|values| values.iter().collect::<Vec<_>>()).unwrap_or_default());
    let (any, fetching) = (of(ANY), of(FETCHING));
    let mut found = Vec::new();
    for (verb, play) in scenes {
        let lines = play();
        let seen = shape::of(&lines.iter().collect::<Vec<_>>());
        let shown = of(verb);
        let empty = Shape::new();
        for (event, seen) in &seen {
            let shown = match shown.get(event) {
                _ if OF_ANY.contains(&event.as_str()) => any.get(event),
                None => fetching.get(event),
                own => own,
            };
            let shown = shown.unwrap_or(&empty);
            let new = shape::beyond(seen, shown).into_iter().map(|what| format!("{verb}: not on the page: {what}"));
            found.extend(new);
        }
        let is_compared =
            |event: &str| (*verb == ANY || !OF_ANY.contains(&event)) && !BESIDE_THEIR_TYPES.contains(&(*verb, event));
        for (event, shown) in shown.iter().filter(|(event, _)| is_compared(event)) {
            let seen = seen.get(event).unwrap_or(&empty);
            let gone = shape::beyond_presence(shown, seen);
            found.extend(gone.into_iter().map(|what| format!("{verb}: on the page, and not printed: {what}")));
        }
        println!("# {verb}");
        lines.iter().for_each(|line| println!("{line}"));
    }
    assert!(found.is_empty(), "docs/json.md is not what the command prints:\n{}", found.join("\n"));
}

/// Standard output, one JSON value a line.
#[track_caller]
pub fn lines(stdout: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    stdout.lines().map(parse).collect()
}
