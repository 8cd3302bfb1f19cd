//! The stream conformance kit: the rules of design §4 as a program, run against the address of any worker.
//!
//! [`check`] talks to the worker as a client would, in every way a client may, and returns what was against the rules.
//! The rules for one stream are pure ([`stream::judge`]); what is sent when is in [`scenarios`]. It runs against the fake
//! worker here, and against the real one in that crate's tests.

use std::fmt;
use std::time::Duration;

pub mod client;
pub mod scenarios;
pub mod stream;

use client::Client;

/// What the kit may ask of the worker. Nothing in it depends on a model, except that it must be able to talk.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Text to continue.
    pub prompt: String,
    /// Tokens of a short generation.
    pub tokens_short: u32,
    /// Tokens of a generation that is cancelled or abandoned: must last longer than a few round trips.
    pub tokens_long: u32,
    /// The worker's API key, if it asks for one.
    pub api_key: Option<String>,
    /// Longest time for a stream to move, and for a slot to become free. A ceiling, not a measurement.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prompt: String::from("Once upon a time, in a village by the sea, there lived"),
            tokens_short: 12,
            tokens_long: 400,
            api_key: None,
            patience: Duration::from_secs(60),
        }
    }
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// `/health` and `/v1/ready` answer in their forms, and agree.
    Health,
    /// After the load `/v1/loading/progress` says `ready` and ends.
    Progress,
    /// A stream's headers are those of an event stream that nobody buffers.
    Headers,
    /// Frames are `id:`, `data:` and comments; data is one JSON event.
    Framing,
    /// `started` comes first and once.
    Started,
    /// Exactly one of `end` and `error`, and no other event after it.
    Terminal,
    /// `[DONE]` comes right after the terminal event, the end of the stream right after `[DONE]`.
    Done,
    /// Ids are `<attempt>:<seq>`, from 0, without gaps.
    EventIds,
    /// Token indices count from 0 without gaps.
    TokenIndices,
    /// Every token is whole characters.
    WholeCharacters,
    /// `started` and `end` count the same prompt tokens, and the same prompt always as many.
    PromptTokens,
    /// `end` counts at least the tokens that were sent, and they make sense together.
    TokensOut,
    /// No more tokens than were asked for.
    MaxTokens,
    /// At temperature 0 the same request gives the same text, as a stream or as one answer.
    Repeatable,
    /// `stream: false` gives one JSON answer.
    Unary,
    /// A bad request is 400 and lists every bad field.
    FieldErrors,
    /// A field nobody knows, or one that is reserved, is 400.
    UnknownField,
    /// A refusal does not quote the prompt.
    NoEcho,
    /// DELETE is 204, for a job that runs, has ended, or never was.
    DeleteIdempotent,
    /// A cancelled stream ends with `end` and `CANCELLED`.
    CancelledEnd,
    /// Nobody else's stream changes when one is cancelled.
    OthersUnaffected,
    /// A cancelled or abandoned job frees its slot.
    SlotFreed,
    /// An attempt lower than one already seen is 409 `STALE_ATTEMPT`.
    StaleAttempt,
}

/// Something against the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What was done and what came of it.
    pub detail: String,
}

impl Violation {
    /// A violation.
    #[must_use]
    pub fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.rule, self.detail)
    }
}

/// Why the kit could not judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KitError {
    /// The worker does not answer, or stopped doing so.
    Unreachable {
        /// What was attempted.
        doing: String,
        /// What the client says.
        cause: String,
    },
    /// A long generation ended by itself before it could be cancelled.
    Inconclusive {
        /// Which scenario.
        scenario: &'static str,
    },
}

impl fmt::Display for KitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KitError::Unreachable { doing, cause } => write!(formatter, "failed to {doing}: {cause}"),
            KitError::Inconclusive { scenario } => {
                write!(
                    formatter,
                    "{scenario}: the generation ended by itself first; give another prompt or more tokens"
                )
            }
        }
    }
}

impl std::error::Error for KitError {}

/// Tries everything on a worker that is ready, and returns all violations, in the order of the scenarios.
///
/// # Errors
/// The worker cannot be reached, or a scenario could not be brought about.
pub fn check(base_url: &str, options: &Options) -> Result<Vec<Violation>, KitError> {
    let client = Client::new(base_url, options);
    let mut violations = Vec::new();
    for scenario in scenarios::ALL {
        let mut found = scenario(&client, options)?;
        violations.append(&mut found);
    }
    Ok(violations)
}
