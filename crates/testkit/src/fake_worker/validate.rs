//! The fake worker's check of a request: every bad field at once, values never echoed.

use protocol::error::FieldError;
use protocol::inference::{FIELDS, InferenceRequest, RESERVED_FIELDS};
use serde_json::{Map, Value};

use super::{Misbehaviour, Script};

/// The request, or everything that is wrong with it.
///
/// # Errors
/// At least one field error.
pub fn validate(script: &Script, body: &[u8]) -> Result<InferenceRequest, Vec<FieldError>> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(vec![error("", "type", "a JSON object")]);
    };
    let mut errors = unknown_fields(script, &fields);
    errors.extend(bad_fields(&fields));
    if script.commits(Misbehaviour::FirstBadFieldOnly) {
        errors.truncate(1);
    }
    if script.commits(Misbehaviour::EchoPrompt) {
        for bad in &mut errors {
            bad.message.push_str(&format!(" (prompt: {})", fields.get("prompt").unwrap_or(&Value::Null)));
        }
    }
    if errors.is_empty() {
        serde_json::from_value(Value::Object(fields)).map_err(|_| vec![error("", "type", "fields of the right types")])
    } else {
        Err(errors)
    }
}

fn unknown_fields(script: &Script, fields: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in fields.keys() {
        if RESERVED_FIELDS.contains(&name.as_str()) {
            errors.push(error(name, "unsupported", "leave it out: not supported yet"));
        } else if !FIELDS.contains(&name.as_str()) && !script.commits(Misbehaviour::AcceptUnknownField) {
            errors.push(error(name, "unknown", "leave it out"));
        }
    }
    errors
}

fn bad_fields(fields: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let job_id = fields.get("job_id").and_then(Value::as_str);
    if job_id.is_none_or(|id| id.parse::<protocol::identifiers::JobId>().is_err()) {
        errors.push(error("job_id", "required", "an identifier"));
    }
    match (fields.contains_key("prompt"), fields.contains_key("messages")) {
        (true, true) => errors.push(error("messages", "exclusive", "either `prompt` or `messages`")),
        (false, false) => errors.push(error("prompt", "required", "either `prompt` or `messages`")),
        (true, false) | (false, true) => {}
    }
    let ranges = [
        ("max_tokens", 1.0, 32_768.0),
        ("temperature", 0.0, 2.0),
        ("top_p", f64::MIN_POSITIVE, 1.0),
        ("min_p", 0.0, 1.0),
        ("repetition_penalty", 1.0, 2.0),
        ("attempt", 1.0, f64::from(u32::MAX)),
    ];
    for (name, least, most) in ranges {
        match fields.get(name) {
            None if name == "max_tokens" => errors.push(error(name, "required", "1 to 32768")),
            None => {}
            Some(value) if value.as_f64().is_some_and(|number| (least..=most).contains(&number)) => {}
            Some(Value::Number(_)) => errors.push(error(name, "range", &format!("{least} to {most}"))),
            Some(_) => errors.push(error(name, "type", "a number")),
        }
    }
    if fields.get("stop").and_then(Value::as_array).is_some_and(|stop| stop.len() > 4) {
        errors.push(error("stop", "length", "at most four strings"));
    }
    errors
}

fn error(field: &str, constraint: &str, message: &str) -> FieldError {
    FieldError { field: field.to_owned(), constraint: constraint.to_owned(), message: message.to_owned() }
}
