//! The rules for one stream, as a pure function of what was received.

use protocol::event::{DONE, End, Event, EventId, Failure, Started, StopReason, Token};
use protocol::sse::Frame;

use super::{Rule, Violation};

/// One stream as received.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// Attempt that was asked for.
    pub attempt: u64,
    /// Tokens that were asked for.
    pub max_tokens: u64,
    /// Job that was asked for.
    pub job_id: String,
    /// HTTP status.
    pub status: u16,
    /// Header, lowercase.
    pub content_type: String,
    /// Header, lowercase.
    pub cache_control: String,
    /// The bytes.
    pub raw: Vec<u8>,
    /// The frames in them.
    pub frames: Vec<Frame>,
    /// The events, as far as frames are events.
    pub events: Vec<Event>,
    /// Whether the end of the body was reached in good order.
    pub closed: bool,
    /// Why reading ended otherwise.
    pub broken: Option<String>,
}

impl Transcript {
    /// Takes a frame that has come.
    pub fn push(&mut self, frame: Frame) {
        self.events.extend(serde_json::from_str::<Event>(&frame.data));
        self.frames.push(frame);
    }

    /// The first `started`.
    #[must_use]
    pub fn started(&self) -> Option<&Started> {
        self.events.iter().find_map(|event| if let Event::Started(started) = event { Some(started) } else { None })
    }

    /// The first `end`.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.events.iter().find_map(|event| if let Event::End(end) = event { Some(end) } else { None })
    }

    /// The first `error`.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.events.iter().find_map(|event| if let Event::Error(failure) = event { Some(failure) } else { None })
    }

    /// The tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.events.iter().filter_map(|event| if let Event::Token(token) = event { Some(token) } else { None })
    }

    /// The text of all tokens.
    #[must_use]
    pub fn text(&self) -> String {
        self.tokens().map(|token| token.t.as_str()).collect()
    }
}

/// Everything that is wrong with one stream that was read to its end. `scenario` goes into the details.
#[must_use]
pub fn judge(transcript: &Transcript, scenario: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    headers(transcript, &mut found);
    if transcript.status == 200 {
        framing(transcript, &mut found);
        order(transcript, &mut found);
        ids(transcript, &mut found);
        tokens(transcript, &mut found);
        counts(transcript, &mut found);
    }
    for violation in &mut found {
        violation.detail = format!("{scenario}: {}", violation.detail);
    }
    found
}

fn headers(transcript: &Transcript, found: &mut Vec<Violation>) {
    if transcript.status != 200 {
        let body = String::from_utf8_lossy(&transcript.raw);
        found.push(Violation::new(Rule::Headers, format!("status {} instead of a stream: {body}", transcript.status)));
        return;
    }
    let media_type = transcript.content_type.split(';').next().unwrap_or_default().trim();
    if media_type != "text/event-stream" {
        found.push(Violation::new(Rule::Headers, format!("content type `{}`", transcript.content_type)));
    }
    if !transcript.cache_control.contains("no-store") && !transcript.cache_control.contains("no-cache") {
        found.push(Violation::new(Rule::Headers, format!("cache-control `{}`", transcript.cache_control)));
    }
}

fn framing(transcript: &Transcript, found: &mut Vec<Violation>) {
    let text = String::from_utf8_lossy(&transcript.raw);
    let odd = |line: &&str| !line.is_empty() && !["id:", "data:", ":"].iter().any(|field| line.starts_with(field));
    if let Some(line) = text.lines().find(odd) {
        found.push(Violation::new(Rule::Framing, format!("a line that is neither id, data nor comment: `{line}`")));
    }
    let unreadable = |frame: &&Frame| frame.data != DONE && serde_json::from_str::<Event>(&frame.data).is_err();
    let before_done = transcript.frames.iter().take_while(|frame| frame.data != DONE);
    for frame in before_done.filter(unreadable) {
        found.push(Violation::new(Rule::Framing, format!("data that is no event: `{}`", frame.data)));
    }
    if let Some(cause) = &transcript.broken {
        found.push(Violation::new(Rule::Done, format!("the stream broke off: {cause}")));
    }
}

fn order(transcript: &Transcript, found: &mut Vec<Violation>) {
    let events = &transcript.events;
    let started = events.iter().filter(|event| matches!(event, Event::Started(_))).count();
    if started != 1 || !matches!(events.first(), Some(Event::Started(_))) {
        found.push(Violation::new(Rule::Started, format!("{started} `started`, first event {:?}", events.first())));
    }
    if let Some(started) = transcript.started().filter(|started| started.job_id.as_str() != transcript.job_id) {
        found.push(Violation::new(Rule::Started, format!("`started` names job `{}`", started.job_id)));
    }
    if events.iter().any(|event| matches!(event, Event::Queued(_))) {
        found.push(Violation::new(Rule::Started, "a worker sent `queued`, which is the orchestrator's"));
    }
    let terminals = events.iter().filter(|event| event.is_terminal()).count();
    if terminals != 1 {
        found.push(Violation::new(Rule::Terminal, format!("{terminals} terminal events")));
    }
    let first_terminal = events.iter().position(Event::is_terminal);
    if first_terminal.is_some_and(|position| position + 1 != events.len()) {
        found.push(Violation::new(Rule::Terminal, "events after the terminal one"));
    }
    let dones: Vec<usize> =
        transcript.frames.iter().enumerate().filter(|(_, frame)| frame.data == DONE).map(|(index, _)| index).collect();
    match dones.as_slice() {
        [] => found.push(Violation::new(Rule::Done, "no `[DONE]`")),
        [only] if only + 1 == transcript.frames.len() => {}
        _ => found.push(Violation::new(Rule::Done, "frames after `[DONE]`")),
    }
}

fn ids(transcript: &Transcript, found: &mut Vec<Violation>) {
    let is_event = |frame: &&Frame| serde_json::from_str::<Event>(&frame.data).is_ok();
    for (expected, frame) in (0_u64..).zip(transcript.frames.iter().filter(is_event)) {
        let id = frame.id.as_deref().and_then(|id| id.parse::<EventId>().ok());
        let right = id.is_some_and(|id| u64::from(id.attempt) == transcript.attempt && id.sequence == expected);
        if !right {
            let detail = format!("id {:?} where `{}:{expected}` is due", frame.id, transcript.attempt);
            found.push(Violation::new(Rule::EventIds, detail));
            return;
        }
    }
}

fn tokens(transcript: &Transcript, found: &mut Vec<Violation>) {
    let count = transcript.tokens().count() as u64;
    if let Some((expected, token)) = (0_u64..).zip(transcript.tokens()).find(|(expected, token)| token.i != *expected) {
        found.push(Violation::new(Rule::TokenIndices, format!("index {} where {expected} is due", token.i)));
    }
    if let Some(token) = transcript.tokens().find(|token| token.t.contains('\u{fffd}')) {
        found.push(Violation::new(Rule::WholeCharacters, format!("token {} is not whole: {:?}", token.i, token.t)));
    }
    if count > transcript.max_tokens {
        let detail = format!("{count} tokens, {} were asked for", transcript.max_tokens);
        found.push(Violation::new(Rule::MaxTokens, detail));
    }
}

fn counts(transcript: &Transcript, found: &mut Vec<Violation>) {
    let (started, end, sent) = (transcript.started(), transcript.end(), transcript.tokens().count() as u64);
    if let Some(started) = started
        && (started.prompt_tokens == 0 || started.cached_tokens > started.prompt_tokens)
    {
        let detail = format!("{} prompt tokens, {} of them cached", started.prompt_tokens, started.cached_tokens);
        found.push(Violation::new(Rule::PromptTokens, detail));
    }
    let Some(end) = end else { return };
    if let Some(started) = started.filter(|started| started.prompt_tokens != end.prompt_tokens) {
        let detail = format!("`started` counts {} prompt tokens, `end` {}", started.prompt_tokens, end.prompt_tokens);
        found.push(Violation::new(Rule::PromptTokens, detail));
    }
    // Several tokens may make up one event (a character of many bytes), never the other way round.
    if end.tokens_out < sent {
        found
            .push(Violation::new(Rule::TokensOut, format!("`end` counts {} tokens, {sent} were sent", end.tokens_out)));
    }
    if end.tokens_out > transcript.max_tokens {
        let detail = format!("`end` counts {} tokens, {} were asked for", end.tokens_out, transcript.max_tokens);
        found.push(Violation::new(Rule::MaxTokens, detail));
    }
    if end.stop_reason == StopReason::MaxTokens && end.tokens_out != transcript.max_tokens {
        let detail = format!("ended with MAX_TOKENS after {} of {}", end.tokens_out, transcript.max_tokens);
        found.push(Violation::new(Rule::TokensOut, detail));
    }
}
