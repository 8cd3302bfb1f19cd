//! `POST /v1/inference`: the request as it stands on the wire.
//!
//! Ranges are checked by the worker (`worker/src/validate.rs`), which answers with every bad field at once; this type
//! only carries what a well-formed request says.

use serde::{Deserialize, Serialize};

use crate::identifiers::JobId;

/// The fields of a request, in the order of [`InferenceRequest`]; any other is refused.
pub const FIELDS: &[&str] = &[
    "job_id",
    "prompt",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
    "seed",
    "stream",
    "attempt",
    "orphan_grace_ms",
];
/// Fields that are part of the contract but not built yet: refused, so that nobody believes they work.
pub const RESERVED_FIELDS: &[&str] =
    &["typical_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "n", "response_format"];

/// A generation request. `prompt` and `messages` exclude each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceRequest {
    /// Chosen by the submitter; names the job in every later call.
    pub job_id: JobId,
    /// Raw text to continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A conversation, rendered with the model's own chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Tokens to generate at most, 1 to 32,768.
    pub max_tokens: u32,
    /// 0 is greedy; 0 to 2.
    #[serde(default = "default_temperature")]
    pub temperature: f32,
    /// Nucleus sampling: smallest set of tokens with this probability; above 0, at most 1 (1 is off).
    #[serde(default = "default_one")]
    pub top_p: f32,
    /// The k most likely tokens; 0 is off.
    #[serde(default)]
    pub top_k: u32,
    /// Tokens at least this fraction as likely as the likeliest; 0 (off) to 1.
    #[serde(default)]
    pub min_p: f32,
    /// Divides the logits of tokens already seen; 1 (off) to 2.
    #[serde(default = "default_one")]
    pub repetition_penalty: f32,
    /// At most four strings that end the text and are left out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Makes sampling repeatable; drawn and reported when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Stream of events (true) or one answer (false).
    #[serde(default = "default_true")]
    pub stream: bool,
    /// Fences out older attempts of the same job, from 1.
    #[serde(default = "default_attempt")]
    pub attempt: u32,
    /// How long the job runs on without its client; 0 cancels at once.
    #[serde(default)]
    pub orphan_grace_ms: u64,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

/// The answer to a request with `stream: false`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceAnswer {
    /// The generated text.
    pub text: String,
    /// What the stream's `started` would have said.
    pub started: crate::event::Started,
    /// What the stream's `end` would have said.
    pub end: crate::event::End,
}

fn default_temperature() -> f32 {
    0.7
}

fn default_one() -> f32 {
    1.0
}

fn default_true() -> bool {
    true
}

fn default_attempt() -> u32 {
    1
}

/// Text, as `/tokenize` takes it and `/detokenize` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The text.
    pub content: String,
}

/// Token ids, as `/detokenize` takes them and `/tokenize` gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Ids of the model's vocabulary.
    pub tokens: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::InferenceRequest;

    #[test]
    fn what_is_not_said_has_the_documented_value() {
        let request: InferenceRequest =
            serde_json::from_str(r#"{"job_id":"j1","prompt":"x","max_tokens":4}"#).expect("a request");
        assert_eq!((request.temperature, request.top_p, request.repetition_penalty), (0.7, 1.0, 1.0));
        assert!(request.stream && request.attempt == 1 && request.orphan_grace_ms == 0);
    }
}
