//! One generation: where it stands, what it has said, when it ends.

use std::time::{Duration, Instant};

use text::{Detokenizer, StopMatch, StopMatcher, TokenId, Tokenizer};

use crate::engine::{PREFILL_CHUNK_TOKENS, SequenceId};
use crate::error::StepError;
use crate::sampling::{Sampler, SamplingParameters};

/// What is asked of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationParameters {
    /// How tokens are chosen.
    pub sampling: SamplingParameters,
    /// Tokens to generate at most; above 0.
    pub max_tokens: u32,
    /// Strings that end the text.
    pub stop: Vec<String>,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-generation token.
    EndOfGeneration,
    /// `max_tokens` were generated.
    MaxTokens,
    /// A stop string, with its text.
    Stop(String),
    /// It was cancelled.
    Cancelled,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated, the end-of-generation token not counted.
    pub tokens_out: u64,
    /// From the start to the first token.
    pub prefill_time: Duration,
    /// From the first token to the end.
    pub decode_time: Duration,
}

/// A place in the engine where a [`Probe`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePoint {
    /// Before a step, outside everything that contains a panic; asked once, for the first sequence of the step.
    Step,
    /// Before a step that holds a piece of this sequence's prompt.
    Prefill,
    /// Before a step that decodes this sequence.
    Decode,
    /// Before a token is chosen.
    Sample,
}

/// Watches, and in tests disturbs, the engine from inside: a probe may panic, wait, or change logits.
pub trait Probe: Send {
    /// `sequence` has come to `point`, having generated `tokens_out` tokens.
    fn reach(&self, point: ProbePoint, sequence: SequenceId, tokens_out: u64);

    /// The logits from which the next token will be chosen.
    fn logits(&self, sequence: SequenceId, tokens_out: u64, logits: &mut [f32]) {
        let _ = (sequence, tokens_out, logits);
    }
}

/// State of a generation between steps.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    prompt: Vec<TokenId>,
    /// Absolute position of the next token that is fed.
    position: usize,
    /// Chosen but not yet fed.
    next: Option<TokenId>,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    stop_texts: Vec<String>,
    max_tokens: u64,
    tokens_out: u64,
    started: Instant,
    first_token: Option<Instant>,
}

/// What a chosen token leads to.
pub(crate) struct Accepted {
    pub text: String,
    pub finished: Option<FinishReason>,
}

impl Sequence {
    pub(crate) fn new(id: SequenceId, prompt: Vec<TokenId>, parameters: GenerationParameters) -> Self {
        Self {
            id,
            position: 0,
            next: None,
            sampler: Sampler::new(parameters.sampling, &prompt),
            prompt,
            detokenizer: Detokenizer::new(),
            stops: StopMatcher::new(parameters.stop.clone()),
            stop_texts: parameters.stop,
            max_tokens: u64::from(parameters.max_tokens),
            tokens_out: 0,
            started: Instant::now(),
            first_token: None,
        }
    }

    /// Positions it can come to.
    pub(crate) fn positions(&self) -> usize {
        self.prompt.len().saturating_add(usize::try_from(self.max_tokens).unwrap_or(usize::MAX))
    }

    pub(crate) fn is_decoding(&self) -> bool {
        self.position >= self.prompt.len()
    }

    pub(crate) fn tokens_out(&self) -> u64 {
        self.tokens_out
    }

    /// The next tokens to feed and the position of the first: a chunk of the prompt, or the token chosen last. Chunks
    /// are cut at the same places whatever else the step holds.
    pub(crate) fn upcoming(&self) -> (usize, &[TokenId]) {
        match &self.next {
            Some(token) => (self.position, std::slice::from_ref(token)),
            None => {
                let end = self.prompt.len().min(self.position + PREFILL_CHUNK_TOKENS);
                (self.position, &self.prompt[self.position..end])
            }
        }
    }

    /// Whether feeding [`Sequence::upcoming`] makes logits that are wanted.
    pub(crate) fn wants_logits(&self) -> bool {
        let (position, tokens) = self.upcoming();
        position + tokens.len() >= self.prompt.len()
    }

    /// The upcoming tokens were fed.
    pub(crate) fn advance(&mut self) {
        let count = self.upcoming().1.len();
        self.position += count;
        self.next = None;
    }

    /// Chooses the next token and says what text it completes.
    pub(crate) fn accept(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Accepted, StepError> {
        let token = self
            .sampler
            .sample(logits)
            .map_err(|error| StepError::Numeric { what: error.0, position: self.position.saturating_sub(1) })?;
        self.first_token.get_or_insert_with(Instant::now);
        if tokenizer.is_end_of_generation(token) {
            let held = self.detokenizer.finish();
            return Ok(self.end(held, FinishReason::EndOfGeneration));
        }
        self.tokens_out += 1;
        let mut text = self.detokenizer.push(tokenizer.bytes_of(token));
        if self.tokens_out >= self.max_tokens {
            text.push_str(&self.detokenizer.finish());
            return Ok(self.end(text, FinishReason::MaxTokens));
        }
        self.next = Some(token);
        Ok(match self.stops.push(&text) {
            StopMatch::Continue(text) => Accepted { text, finished: None },
            StopMatch::Stopped { text, index } => self.stopped(text, index),
        })
    }

    /// The last piece of text: held-back text leaves, unless a stop string is completed by it.
    fn end(&mut self, text: String, reason: FinishReason) -> Accepted {
        match self.stops.push(&text) {
            StopMatch::Continue(text) => Accepted { text: text + &self.stops.finish(), finished: Some(reason) },
            StopMatch::Stopped { text, index } => self.stopped(text, index),
        }
    }

    fn stopped(&self, text: String, index: usize) -> Accepted {
        let stop = self.stop_texts.get(index).cloned().unwrap_or_default();
        Accepted { text, finished: Some(FinishReason::Stop(stop)) }
    }

    /// The figures of a generation that ends now.
    pub(crate) fn finish(&self, reason: FinishReason) -> Finished {
        let now = Instant::now();
        let first_token = self.first_token.unwrap_or(now);
        Finished {
            reason,
            prompt_tokens: self.prompt.len() as u64,
            tokens_out: self.tokens_out,
            prefill_time: first_token - self.started,
            decode_time: now - first_token,
        }
    }
}
