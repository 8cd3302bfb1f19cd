//! docs/protocol.md against the types: every example is what the code reads and writes.

use std::collections::BTreeSet;
use std::path::Path;

use protocol::error::{ErrorBody, FieldErrors};
use protocol::event::Event;
use protocol::inference::{Content, InferenceAnswer, InferenceRequest, Tokens};
use protocol::pool::{DeviceList, ErrorEvent, LogsEvent, SpawnEvent, StopEvent, WorkerList};
use protocol::stamp::Stamp;
use protocol::worker::{Callback, Health, LoadingProgress, Ready};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads a type and writes it again.
type RoundTrip = fn(&str) -> Result<Value, String>;

/// Every type that crosses a process, and the variants of which the page must show one each.
const TYPES: &[(&str, RoundTrip, &[&str])] = &[
    ("Event", round_trip::<Event>, &["queued", "started", "token", "metrics", "narration", "end", "error"]),
    ("Health", round_trip::<Health>, &[]),
    ("Ready", round_trip::<Ready>, &[]),
    ("LoadingProgress", round_trip::<LoadingProgress>, &["loading_to_vram", "ready", "error"]),
    ("InferenceRequest", round_trip::<InferenceRequest>, &[]),
    ("InferenceAnswer", round_trip::<InferenceAnswer>, &[]),
    ("FieldErrors", round_trip::<FieldErrors>, &[]),
    ("Content", round_trip::<Content>, &[]),
    ("Tokens", round_trip::<Tokens>, &[]),
    ("Callback", round_trip::<Callback>, &[]),
    ("WorkerList", round_trip::<WorkerList>, &[]),
    ("SpawnEvent", round_trip::<SpawnEvent>, &["starting", "loading", "ready", "done", "error"]),
    ("StopEvent", round_trip::<StopEvent>, &["stopped", "done", "error"]),
    ("LogsEvent", round_trip::<LogsEvent>, &["line", "done", "error"]),
    ("DeviceList", round_trip::<DeviceList>, &[]),
    ("ErrorEvent", round_trip::<ErrorEvent>, &["error"]),
    ("Stamp", round_trip::<Stamp>, &[]),
    ("CatalogEntry", round_trip::<protocol::catalog::CatalogEntry>, &[]),
    ("ErrorBody", round_trip::<ErrorBody>, &[]),
];

fn round_trip<T: Serialize + DeserializeOwned>(text: &str) -> Result<Value, String> {
    let value: T = serde_json::from_str(text).map_err(|error| error.to_string())?;
    serde_json::to_value(&value).map_err(|error| error.to_string())
}

/// An example of the page: the name of its type, how that is read, and the text.
struct Example {
    name: String,
    round_trip: RoundTrip,
    text: String,
    shown: Value,
}

fn examples() -> Vec<Example> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(path).expect("docs/protocol.md is there");
    let mut examples = Vec::new();
    let mut rest = page.as_str();
    while let Some((_, after)) = rest.split_once("\n```json ") {
        let (name, after) = after.split_once('\n').expect("a fence has a line end");
        let (text, after) = after.split_once("\n```").expect("a fence is closed");
        let (_, round_trip, _) = TYPES.iter().find(|(known, ..)| *known == name).expect(name);
        let shown = serde_json::from_str(text).expect(text);
        examples.push(Example { name: name.to_owned(), round_trip: *round_trip, text: text.to_owned(), shown });
        rest = after;
    }
    examples
}

/// The same value with a field that no version knows in every object, those in lists included.
fn with_unknown_fields(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().map(|(key, value)| (key.clone(), with_unknown_fields(value)));
            let unknown = (String::from("field_of_the_future"), serde_json::json!({ "x": [1, "y"] }));
            Value::Object(known.chain([unknown]).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(with_unknown_fields).collect()),
        plain => plain.clone(),
    }
}

/// Numbers as they are after a trip through 32-bit floats: 0.7 is exact in neither width.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => Value::from(number.as_f64().map(|number| number as f32)),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        plain => plain,
    }
}

#[test]
fn every_example_is_read_and_written_as_it_stands() {
    for Example { name, round_trip, text, shown } in examples() {
        assert_eq!(rounded(round_trip(&text).expect(&text)), rounded(shown), "{name}");
    }
}

#[test]
fn unknown_fields_are_ignored_on_read() {
    for Example { name, round_trip, shown, .. } in examples() {
        let mut future = with_unknown_fields(&shown);
        // Where a key names a variant, another key is no field; where facts are free, it is one more fact.
        for pointer in ["/source", "/mirrors", "/error/details"] {
            if let (Some(changed), Some(kept)) = (future.pointer_mut(pointer), shown.pointer(pointer)) {
                *changed = kept.clone();
            }
        }
        let read = round_trip(&future.to_string()).unwrap_or_else(|error| panic!("{name}: {error}: {future}"));
        assert_eq!(rounded(read), rounded(shown), "{name}");
    }
}

#[test]
fn every_type_and_every_variant_has_an_example() {
    let tag_of = |value: &Value| {
        let tag = ["type", "stage", "event"].iter().find_map(|tag| value.get(tag)?.as_str());
        tag.unwrap_or_default().to_owned()
    };
    let shown: BTreeSet<(String, String)> =
        examples().into_iter().map(|example| (example.name, tag_of(&example.shown))).collect();
    for (name, _, variants) in TYPES {
        let wanted: &[&str] = if variants.is_empty() { &[""] } else { variants };
        for variant in wanted {
            let pair = ((*name).to_owned(), (*variant).to_owned());
            assert!(shown.contains(&pair), "docs/protocol.md has no example of {name} {variant}");
        }
    }
}
