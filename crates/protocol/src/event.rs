//! The events of a generation stream and their ids.
//!
//! Order: `started` → `token`* (with `metrics` and `narration` between) → exactly one of `end` | `error` → `[DONE]`.
//! Framing is [`crate::sse`]; who may cancel what is docs/protocol.md.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::identifiers::{Digest, JobId};

/// The literal that closes every stream.
pub const DONE: &str = "[DONE]";

/// One `data:` line of a generation stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The job waits (orchestrator only).
    Queued(Queued),
    /// The job holds a slot; nothing was generated yet.
    Started(Started),
    /// One piece of text.
    Token(Token),
    /// Figures so far.
    Metrics(Metrics),
    /// A sentence for people.
    Narration(Narration),
    /// The generation is complete, or was cancelled.
    End(End),
    /// The generation failed.
    Error(Failure),
}

impl Event {
    /// Whether the stream holds nothing but `[DONE]` after this event.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Event::End(_) | Event::Error(_))
    }
}

/// Fields of `queued`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    /// The job.
    pub job_id: JobId,
    /// Jobs ahead of it.
    pub queue_position: u64,
    /// Why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is expected to start, from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_start_ms: Option<u64>,
}

/// Fields of `started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The job.
    pub job_id: JobId,
    /// Id of the model that answers.
    pub model: String,
    /// SHA-256 of the model file, where known.
    pub model_digest: Option<Digest>,
    /// The seed in use: the request's, or the one that was drawn.
    pub seed: u64,
    /// Milliseconds since 1970, for display only.
    pub started_at: u64,
    /// Tokens of the prompt, chat template included.
    pub prompt_tokens: u64,
    /// Prompt tokens taken from a cache.
    pub cached_tokens: u64,
}

/// Fields of `token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Text, whole characters only.
    pub t: String,
    /// Index of the event among the job's token events, from 0.
    pub i: u64,
}

/// Fields of `metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Tokens generated so far.
    pub tokens_out: u64,
    /// Decode rate so far.
    pub tokens_per_sec: f64,
    /// Time between the request and its slot.
    pub queue_ms: u64,
    /// Time from slot to first token.
    pub prefill_ms: u64,
    /// Memory held by the process.
    pub memory_bytes: u64,
}

/// Fields of `narration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narration {
    /// Who speaks.
    pub actor: String,
    /// What it does.
    pub action: String,
    /// The sentence.
    pub human: String,
}

/// Fields of `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Tokens generated.
    pub tokens_out: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Time spent decoding.
    pub decode_time_ms: u64,
    /// Time spent on the prompt.
    pub prefill_time_ms: u64,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// The stop string that was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StopReason {
    /// The model produced an end-of-generation token.
    Eos,
    /// `max_tokens` were generated.
    MaxTokens,
    /// One of the request's stop strings appeared.
    StopSequence,
    /// The client went away, or asked for it.
    Cancelled,
}

/// Fields of `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The machine's word for it.
    pub code: ErrorCode,
    /// The people's words.
    pub message: String,
    /// Whether the same request may succeed elsewhere or later.
    pub retriable: bool,
    /// Tokens generated before it happened.
    pub tokens_out: u64,
}

/// The `id:` of an event, `<attempt>:<seq>`; seq starts at 0 with each attempt and has no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Attempt of the job, from 1.
    pub attempt: u32,
    /// Position in the attempt's stream, from 0.
    pub sequence: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.attempt, self.sequence)
    }
}

/// The text is not `<attempt>:<seq>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event id is not of the form `<attempt>:<seq>`")]
pub struct EventIdError;

impl FromStr for EventId {
    type Err = EventIdError;
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let (attempt, sequence) = text.split_once(':').ok_or(EventIdError)?;
        // `u64::from_str` takes a leading `+`, the format does not.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
            return Err(EventIdError);
        }
        Ok(Self {
            attempt: attempt.parse().map_err(|_| EventIdError)?,
            sequence: sequence.parse().map_err(|_| EventIdError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventId};

    #[test]
    fn an_event_id_is_two_plain_numbers() {
        let id: EventId = "3:41".parse().expect("an id");
        assert_eq!((id.attempt, id.sequence, id.to_string().as_str()), (3, 41, "3:41"));
        for text in ["", ":", "1", "1:", ":1", "+1:2", "1:-2", "1:2:3", "1: 2", "4294967296:0", "a:b"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_stream_ends_with_one_of_two_events() {
        let event = |text: &str| serde_json::from_str::<Event>(text).expect("an event");
        assert!(
            event(r#"{"type":"error","code":"NUMERIC","message":"m","retriable":false,"tokens_out":1}"#).is_terminal()
        );
        assert!(!event(r#"{"type":"token","t":"a","i":0}"#).is_terminal());
    }
}
