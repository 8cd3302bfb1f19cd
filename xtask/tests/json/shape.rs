//! The shape of JSON values: which keys there are, what stands behind them, and which are not always there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What stands at a path, in any of the values; `absent` where an object lacks the key that others have.
pub type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// A key that an object of another kind lacks.
pub const ABSENT: &str = "absent";
/// Paths below which the keys are data: a name each.
const FREE: [&str; 2] = [".header.provenance", ".now.packages"];
/// What another program said, whatever that is.
const FOREIGN: &str = "(host).line";

/// The shape of all these values together.
pub fn of(values: &[&Value]) -> BTreeMap<String, Shape> {
    let mut by_event: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for value in values {
        let event = match (value.get("event").and_then(Value::as_str), value.get("host")) {
            (Some(event), _) => event,
            (None, Some(_)) => "(host)",
            (None, None) => "(document)",
        };
        by_event.entry(event.to_owned()).or_default().push(value);
    }
    let shape = |(event, values): (String, Vec<&Value>)| {
        let mut shape = Shape::new();
        describe(&event, &values, &mut shape);
        (event, shape)
    };
    by_event.into_iter().map(shape).collect()
}

fn describe(path: &str, values: &[&Value], shape: &mut Shape) {
    let kinds = values.iter().map(|value| kind(value));
    shape.entry(path.to_owned()).or_default().extend(kinds);
    if path == FOREIGN {
        shape.insert(path.to_owned(), BTreeSet::from(["anything"]));
        return;
    }
    let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
    if !items.is_empty() {
        describe(&format!("{path}[]"), &items, shape);
    }
    let objects: Vec<_> = values.iter().filter_map(|value| value.as_object()).collect();
    if FREE.iter().any(|free| path.ends_with(free)) {
        let all: Vec<&Value> = objects.iter().flat_map(|object| object.values()).collect();
        return describe(&format!("{path}.*"), &all, shape);
    }
    let keys: BTreeSet<&String> = objects.iter().flat_map(|object| object.keys()).collect();
    for key in keys {
        let below = format!("{path}.{key}");
        let present: Vec<&Value> = objects.iter().filter_map(|object| object.get(key)).collect();
        if present.len() < objects.len() {
            shape.entry(below.clone()).or_default().insert(ABSENT);
        }
        describe(&below, &present, shape);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What `seen` has and `shown` does not: in a line each.
pub fn beyond(seen: &Shape, shown: &Shape) -> Vec<String> {
    let mut found = Vec::new();
    for (path, kinds) in seen {
        match shown.get(path) {
            None => found.push(format!("`{path}` ({})", words(kinds))),
            Some(known) => {
                let new: BTreeSet<&str> = kinds.difference(known).copied().collect();
                if !new.is_empty() {
                    found.push(format!("`{path}` is {} and not only {}", words(&new), words(known)));
                }
            }
        }
    }
    found
}

/// The same, but that a key may always be there.
pub fn beyond_presence(shown: &Shape, seen: &Shape) -> Vec<String> {
    let always = |(path, kinds): (&String, &BTreeSet<&'static str>)| {
        (path.clone(), kinds.iter().copied().filter(|kind| *kind != ABSENT).collect())
    };
    beyond(&shown.iter().map(always).collect(), seen)
}

fn words(kinds: &BTreeSet<&str>) -> String {
    kinds.iter().copied().collect::<Vec<_>>().join(", ")
}

#[test]
fn what_appears_goes_or_changes_is_a_difference() {
    let shape = |text: &str| of(&[&serde_json::from_str(text).expect("JSON")]).remove("x").expect("an event");
    let page = shape(r#"{"event":"x","a":[{"b":1},{"b":null,"c":"t"}]}"#);
    for (line, differs) in [
        (r#"{"event":"x","a":[{"b":2}]}"#, false),
        (r#"{"event":"x","a":[{"b":2,"d":1}]}"#, true),
        (r#"{"event":"x","a":[{"b":2.5}]}"#, true),
        (r#"{"event":"x","a":[{"c":"t"},{"b":1}]}"#, true),
        (r#"{"event":"x","a":{"b":2}}"#, true),
    ] {
        assert_eq!(!beyond(&shape(line), &page).is_empty(), differs, "{line}");
    }
    assert_eq!(beyond_presence(&page, &shape(r#"{"event":"x","a":[]}"#)).len(), 3);
}
