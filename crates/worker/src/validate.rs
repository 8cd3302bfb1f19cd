//! A body of `POST /v1/inference` to a request that can be run: every bad field is named, none is echoed.

use protocol::error::{FieldError, FieldErrors};
use protocol::identifiers::JobId;
use protocol::inference::{FIELDS, InferenceRequest, Message, RESERVED_FIELDS};
use serde_json::{Map, Value};

/// Largest prompt, in bytes; a token is at least one byte, so no context of this decade holds more.
pub(crate) const PROMPT_LIMIT_BYTES: usize = 1 << 20;
/// Longest stop string, in characters.
const STOP_LIMIT_CHARACTERS: usize = 100;
/// Bad fields that are listed; a request with more is not one that somebody mends field by field.
const ERRORS_LIMIT: usize = 32;
/// Messages of a conversation.
const MESSAGES_LIMIT: usize = 1_000;
/// Longest grace of an orphaned job: five minutes.
const ORPHAN_GRACE_LIMIT_MS: u64 = 300_000;

/// Reads fields and keeps what is wrong with them.
struct Fields {
    object: Map<String, Value>,
    errors: Vec<FieldError>,
}

/// The request in `body`, or every field that is wrong with it.
pub(crate) fn request(body: &[u8]) -> Result<InferenceRequest, FieldErrors> {
    let single =
        |field: &str, constraint: &str, message: &str| FieldErrors { errors: vec![error(field, constraint, message)] };
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(single("", "type", "the body must be a JSON object")),
        Err(parse) => return Err(single("", "json", &format!("the body is not JSON: {}", position(&parse)))),
    };
    let mut fields = Fields { object, errors: Vec::new() };
    fields.check_names();
    let request = InferenceRequest {
        job_id: fields.job_id(),
        prompt: fields.prompt(),
        messages: fields.messages(),
        max_tokens: fields.required_integer("max_tokens", 1, 32_768) as u32,
        temperature: fields.number("temperature", (0.0, 2.0), 0.7),
        top_p: fields.number("top_p", (f64::from(f32::MIN_POSITIVE), 1.0), 1.0),
        top_k: fields.integer("top_k", (0, u64::from(u32::MAX)), 0) as u32,
        min_p: fields.number("min_p", (0.0, 1.0), 0.0),
        repetition_penalty: fields.number("repetition_penalty", (1.0, 2.0), 1.0),
        stop: fields.stop(),
        seed: fields.optional_integer("seed", 0, u64::MAX),
        stream: fields.boolean("stream", true),
        attempt: fields.integer("attempt", (1, u64::from(u32::MAX)), 1) as u32,
        orphan_grace_ms: fields.integer("orphan_grace_ms", (0, ORPHAN_GRACE_LIMIT_MS), 0),
    };
    fields.check_exclusive(&request);
    if fields.errors.is_empty() { Ok(request) } else { Err(FieldErrors { errors: fields.errors }) }
}

/// Where the JSON breaks, without quoting it.
fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// A name of the client's as it is listed: cut, so that a prompt sent as a key is not echoed.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

fn error(field: &str, constraint: &str, message: &str) -> FieldError {
    FieldError { field: field.to_owned(), constraint: constraint.to_owned(), message: message.to_owned() }
}

impl Fields {
    fn fail(&mut self, field: &str, constraint: &str, message: impl AsRef<str>) {
        match self.errors.len() {
            ..ERRORS_LIMIT => self.errors.push(error(field, constraint, message.as_ref())),
            ERRORS_LIMIT => self.errors.push(error("", "length", "more fields are bad than are listed")),
            _ => {}
        }
    }

    fn check_names(&mut self) {
        let unknown: Vec<String> = self.object.keys().filter(|key| !FIELDS.contains(&key.as_str())).cloned().collect();
        for name in unknown {
            let shown = shown(&name);
            if RESERVED_FIELDS.contains(&name.as_str()) {
                self.fail(&shown, "unsupported", "this field is reserved and not supported yet");
            } else {
                self.fail(&shown, "unknown", format!("known fields: {}", FIELDS.join(", ")));
            }
        }
    }

    /// The value of a field; null counts as absent.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    fn job_id(&mut self) -> JobId {
        let parsed = match self.take("job_id") {
            None => Err(("required", "a job id is needed".to_owned())),
            Some(Value::String(text)) => text.parse::<JobId>().map_err(|error| ("format", error.reason.to_owned())),
            Some(_) => Err(("type", "must be a string".to_owned())),
        };
        parsed.unwrap_or_else(|(constraint, message)| {
            self.fail("job_id", constraint, message);
            placeholder()
        })
    }

    fn prompt(&mut self) -> Option<String> {
        match self.take("prompt")? {
            Value::String(text) if text.is_empty() => self.fail("prompt", "length", "must not be empty"),
            Value::String(text) if text.len() > PROMPT_LIMIT_BYTES => {
                self.fail("prompt", "length", format!("must be at most {PROMPT_LIMIT_BYTES} bytes"));
            }
            Value::String(text) => return Some(text),
            _ => self.fail("prompt", "type", "must be a string"),
        }
        // Present, though bad: it must not be reported as missing too.
        Some(String::new())
    }

    fn messages(&mut self) -> Option<Vec<Message>> {
        let value = self.take("messages")?;
        let Value::Array(items) = value else {
            self.fail("messages", "type", "must be a list of {role, content}");
            return Some(Vec::new());
        };
        if items.is_empty() || items.len() > MESSAGES_LIMIT {
            self.fail("messages", "length", format!("must hold 1 to {MESSAGES_LIMIT} messages"));
            return Some(Vec::new());
        }
        let mut messages = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            for key in item.as_object().into_iter().flat_map(Map::keys) {
                if !["role", "content"].contains(&key.as_str()) {
                    self.fail(&format!("messages[{index}].{}", shown(key)), "unknown", "known fields: role, content");
                }
            }
            let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
            match (text("role"), text("content")) {
                (Some(role), Some(content)) if !role.is_empty() => messages.push(Message { role, content }),
                _ => self.fail(&format!("messages[{index}]"), "type", "must be {role, content}, both strings"),
            }
        }
        if messages.iter().map(|message| message.content.len()).sum::<usize>() > PROMPT_LIMIT_BYTES {
            self.fail("messages", "length", format!("must be at most {PROMPT_LIMIT_BYTES} bytes together"));
        }
        Some(messages)
    }

    fn check_exclusive(&mut self, request: &InferenceRequest) {
        match (&request.prompt, &request.messages) {
            (Some(_), Some(_)) => self.fail("messages", "exclusive", "send `prompt` or `messages`, not both"),
            (None, None) => self.fail("prompt", "required", "send `prompt` or `messages`"),
            _ => {}
        }
    }

    fn number(&mut self, field: &str, (low, high): (f64, f64), default: f32) -> f32 {
        let value = match self.take(field) {
            None => return default,
            Some(value) => value.as_f64(),
        };
        match value {
            Some(value) if (low..=high).contains(&value) => value as f32,
            Some(_) => {
                let low = if low > 0.0 && low < 1e-9 { "above 0".to_owned() } else { format!("at least {low}") };
                self.fail(field, "range", format!("must be {low} and at most {high}"));
                default
            }
            None => {
                self.fail(field, "type", "must be a number");
                default
            }
        }
    }

    fn optional_integer(&mut self, field: &str, low: u64, high: u64) -> Option<u64> {
        let value = self.take(field)?;
        match value.as_u64() {
            Some(value) if (low..=high).contains(&value) => return Some(value),
            _ if value.is_number() => self.fail(field, "range", format!("must be a whole number from {low} to {high}")),
            _ => self.fail(field, "type", "must be a whole number"),
        }
        None
    }

    fn integer(&mut self, field: &str, (low, high): (u64, u64), default: u64) -> u64 {
        self.optional_integer(field, low, high).unwrap_or(default)
    }

    fn required_integer(&mut self, field: &str, low: u64, high: u64) -> u64 {
        if self.object.get(field).is_none_or(Value::is_null) {
            self.fail(field, "required", format!("a whole number from {low} to {high} is needed"));
            return low;
        }
        self.integer(field, (low, high), low)
    }

    fn boolean(&mut self, field: &str, default: bool) -> bool {
        match self.take(field) {
            None => default,
            Some(Value::Bool(value)) => value,
            Some(_) => {
                self.fail(field, "type", "must be true or false");
                default
            }
        }
    }

    fn stop(&mut self) -> Vec<String> {
        let items = match self.take("stop") {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.fail("stop", "type", "must be a list of strings");
                return Vec::new();
            }
        };
        if items.len() > 4 {
            self.fail("stop", "length", "must hold at most 4 strings");
        }
        let mut stops = Vec::new();
        for (index, item) in items.into_iter().enumerate().take(5) {
            match item {
                Value::String(text) if (1..=STOP_LIMIT_CHARACTERS).contains(&text.chars().count()) => stops.push(text),
                _ => {
                    let message = format!("must be a string of 1 to {STOP_LIMIT_CHARACTERS} characters");
                    self.fail(&format!("stop[{index}]"), "length", message);
                }
            }
        }
        stops
    }
}

/// Stands where a job id was bad; the request is refused anyway.
fn placeholder() -> JobId {
    "invalid".parse().unwrap_or_else(|_| unreachable!("a plain word is an id"))
}

#[cfg(test)]
mod tests {
    use super::request;

    fn fields(body: &str) -> Vec<(String, String)> {
        let errors = request(body.as_bytes()).expect_err(body).errors;
        errors.into_iter().map(|error| (error.field, error.constraint)).collect()
    }

    #[test]
    fn a_minimal_request_has_the_documented_defaults() {
        let request = request(br#"{"job_id":"j1","prompt":"Hi","max_tokens":5,"seed":null}"#).expect("a request");
        assert_eq!((request.temperature, request.top_p, request.top_k), (0.7, 1.0, 0));
        assert_eq!((request.min_p, request.repetition_penalty, request.attempt), (0.0, 1.0, 1));
        assert!(request.stream && request.stop.is_empty() && request.seed.is_none() && request.orphan_grace_ms == 0);
    }

    #[test]
    fn every_bad_field_is_listed_and_no_text_echoed() {
        let body = r#"{"job_id":"../x","prompt":7,"messages":[{"role":"user"}],"max_tokens":0,"temperature":2.1,
            "top_p":0,"top_k":-1,"min_p":"x","repetition_penalty":0.5,"stop":["a","b","c","d",""],"seed":1.5,
            "stream":"yes","attempt":0,"orphan_grace_ms":1e9,"logprobs":true,"SECRET PROMPT":1}"#;
        let errors = request(body.as_bytes()).expect_err("bad");
        let mut names: Vec<&str> = errors.errors.iter().map(|error| error.field.as_str()).collect();
        names.sort_unstable();
        let expected = [
            "SECRET PROMPT",
            "attempt",
            "job_id",
            "logprobs",
            "max_tokens",
            "messages",
            "messages[0]",
            "min_p",
            "orphan_grace_ms",
            "prompt",
            "repetition_penalty",
            "seed",
            "stop",
            "stop[4]",
            "stream",
            "temperature",
            "top_k",
            "top_p",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_list_of_bad_fields_is_bounded() {
        let many = |count: usize, text: &str| vec![text; count].join(",");
        let messages = format!(r#"{{"job_id":"j","max_tokens":1,"messages":[{}]}}"#, many(100_000, "0"));
        assert_eq!(fields(&messages), [("messages".to_owned(), "length".to_owned())]);
        let some = format!(r#"{{"job_id":"j","max_tokens":1,"messages":[{}]}}"#, many(1_000, "0"));
        assert_eq!(fields(&some).len(), 33);
        let keys: Vec<String> = (0..1_000).map(|key| format!(r#""k{key}":1"#)).collect();
        assert_eq!(fields(&format!("{{{}}}", keys.join(","))).len(), 33);
    }

    #[test]
    fn a_message_has_no_other_fields() {
        let body = r#"{"job_id":"j","max_tokens":1,"messages":[{"role":"user","content":"x","name":"y"}]}"#;
        assert_eq!(fields(body), [("messages[0].name".to_owned(), "unknown".to_owned())]);
    }

    #[test]
    fn boundaries() {
        let with = |field: &str| format!(r#"{{"job_id":"j","prompt":"x","max_tokens":1,{field}}}"#);
        for good in [
            r#""temperature":0"#,
            r#""temperature":2"#,
            r#""temperature":-0.0"#,
            r#""top_p":1e-30"#,
            r#""min_p":1"#,
            r#""repetition_penalty":2"#,
            r#""seed":18446744073709551615"#,
            r#""top_k":4294967295"#,
        ] {
            request(with(good).as_bytes()).expect(good);
        }
        for (bad, constraint) in [
            (r#""temperature":2.0001"#, "range"),
            (r#""temperature":-0.1"#, "range"),
            (r#""seed":-1"#, "range"),
            (r#""top_k":4294967296"#, "range"),
            (r#""min_p":1.01"#, "range"),
            (r#""stop":"x""#, "type"),
        ] {
            assert_eq!(fields(&with(bad))[0].1, constraint, "{bad}");
        }
        assert_eq!(fields(r#"{"job_id":"j","max_tokens":1}"#), [("prompt".to_owned(), "required".to_owned())]);
        assert_eq!(fields(r#"{"job_id":"j","max_tokens":1e400,"prompt":"x"}"#)[0].1, "json");
        assert_eq!(fields("[1]")[0].1, "type");
        assert_eq!(fields("{")[0].1, "json");
    }
}
