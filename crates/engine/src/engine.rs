//! The engine: sequences on one side, a backend on the other, one step at a time.
//!
//! A step decodes every sequence that is ready and takes in one chunk of the oldest unfinished prompt, so that a long
//! prompt never stops the others for longer than a chunk. A panic is contained: inside the backend it fails the
//! sequences of that step, while a token is chosen it fails that sequence, and either way the next step works, because
//! weights are never written and key-value memory goes with its sequence.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use text::TokenId;

use crate::backend::{Backend, Outputs, Span};
use crate::error::{LoadError, StepError};
use crate::frontend::Frontend;
use crate::model::{self, LoadOptions, LoadProgress, ModelDescription};
use crate::sequence::{FinishReason, Finished, GenerationParameters, Probe, ProbePoint, Sequence};

/// Prompt tokens of one step. A cancel waits for a chunk to end: 32 tokens of a 135M model are about 0.2 s on two cores.
pub(crate) const PREFILL_CHUNK_TOKENS: usize = 32;

/// Names a sequence of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a step did to a sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A token was generated; its text, empty while a character or a possible stop string is incomplete.
    Token(String),
    /// The sequence is over and its memory free.
    Finished(Finished),
    /// The sequence failed and its memory is free.
    Failed {
        /// Why.
        error: StepError,
        /// Tokens generated before.
        tokens_out: u64,
    },
}

/// Why a sequence cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// All slots are taken.
    #[error("all {slots} slots are busy")]
    NoSlot {
        /// Sequences at once.
        slots: u32,
    },
    /// The prompt is empty or does not fit; the caller should have asked [`Frontend::check_length`].
    #[error("the prompt does not fit the context")]
    Length,
    /// Key-value memory cannot be had.
    #[error(transparent)]
    Memory(#[from] StepError),
}

/// A loaded model and the sequences it works on.
pub struct Engine {
    backend: Box<dyn Backend>,
    frontend: Arc<Frontend>,
    description: ModelDescription,
    slots: u32,
    sequences: Vec<Sequence>,
    next_id: u64,
    probe: Option<Box<dyn Probe>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a model. `progress` hears of every block and may call the load off.
    ///
    /// # Errors
    /// The file, its configuration, its tokenizer or the device; see [`LoadError`].
    pub fn load(
        options: &LoadOptions,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, LoadError> {
        let loaded = model::load(options, progress)?;
        Ok(Self {
            backend: Box::new(loaded.backend),
            frontend: Arc::new(loaded.frontend),
            description: loaded.description,
            slots: options.slots,
            sequences: Vec::new(),
            next_id: 0,
            probe: None,
        })
    }

    /// Sets the probe that every later step asks.
    pub fn set_probe(&mut self, probe: Box<dyn Probe>) {
        self.probe = Some(probe);
    }

    /// What is loaded.
    #[must_use]
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// The tokenizer side, for other threads.
    #[must_use]
    pub fn frontend(&self) -> Arc<Frontend> {
        Arc::clone(&self.frontend)
    }

    /// Sequences that run.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.sequences.len()
    }

    /// Takes a slot for a prompt and reserves its key-value memory.
    ///
    /// # Errors
    /// No slot is free, or the prompt does not fit.
    pub fn start(&mut self, prompt: Vec<TokenId>, parameters: GenerationParameters) -> Result<SequenceId, StartError> {
        if self.sequences.len() >= self.slots as usize {
            return Err(StartError::NoSlot { slots: self.slots });
        }
        if prompt.is_empty() || self.frontend.check_length(&prompt, parameters.max_tokens).is_err() {
            return Err(StartError::Length);
        }
        let id = self.new_id();
        let sequence = Sequence::new(id, prompt, parameters);
        self.backend.reserve(id, sequence.positions())?;
        self.sequences.push(sequence);
        Ok(id)
    }

    fn new_id(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    /// Ends a sequence now and frees its slot; `None` if it is not running any more.
    pub fn cancel(&mut self, id: SequenceId) -> Option<Finished> {
        let finished = self.sequence(id)?.finish(FinishReason::Cancelled);
        self.remove(id);
        Some(finished)
    }

    fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.iter().find(|sequence| sequence.id == id)
    }

    fn remove(&mut self, id: SequenceId) {
        self.sequences.retain(|sequence| sequence.id != id);
        self.backend.release(id);
    }

    /// One step for the sequences that `is_ready` lets through; what came of it, in the order it happened.
    pub fn step(&mut self, is_ready: &dyn Fn(SequenceId) -> bool) -> Vec<(SequenceId, Output)> {
        let chosen = self.choose(is_ready);
        if chosen.is_empty() {
            return Vec::new();
        }
        if let (Some(probe), Some(first)) = (&self.probe, chosen.first()) {
            probe.reach(ProbePoint::Step, *first, 0);
        }
        let computed = catch_unwind(AssertUnwindSafe(|| self.compute(&chosen)));
        let rows = match computed {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return self.fail(&chosen, &error),
            Err(panic) => return self.fail(&chosen, &StepError::Panic { reason: panic_text(panic.as_ref()) }),
        };
        let mut rows = rows.into_iter();
        let mut outputs = Vec::new();
        for id in chosen {
            let Some(index) = self.sequences.iter().position(|sequence| sequence.id == id) else { continue };
            let row = if self.sequences[index].wants_logits() { rows.next() } else { None };
            self.sequences[index].advance();
            if let Some(row) = row {
                self.accept(index, row, &mut outputs);
            }
        }
        outputs
    }

    /// Decoding sequences that are ready, and the first that still has prompt.
    fn choose(&self, is_ready: &dyn Fn(SequenceId) -> bool) -> Vec<SequenceId> {
        let mut prefilling = 0;
        let mut is_chosen = |sequence: &&Sequence| {
            if !is_ready(sequence.id) {
                return false;
            }
            prefilling += usize::from(!sequence.is_decoding());
            sequence.is_decoding() || prefilling == 1
        };
        self.sequences.iter().filter(|sequence| is_chosen(sequence)).map(|sequence| sequence.id).collect()
    }

    fn compute(&mut self, chosen: &[SequenceId]) -> Result<Vec<Vec<f32>>, StepError> {
        let mut spans = Vec::with_capacity(chosen.len());
        for sequence in self.sequences.iter().filter(|sequence| chosen.contains(&sequence.id)) {
            if let Some(probe) = &self.probe {
                let point = if sequence.is_decoding() { ProbePoint::Decode } else { ProbePoint::Prefill };
                probe.reach(point, sequence.id, sequence.tokens_out());
            }
            let (first_position, tokens) = sequence.upcoming();
            let outputs = if sequence.wants_logits() { Outputs::Last } else { Outputs::None };
            spans.push(Span { sequence: sequence.id, first_position, tokens, outputs });
        }
        self.backend.execute(&spans)
    }

    fn accept(&mut self, index: usize, mut logits: Vec<f32>, outputs: &mut Vec<(SequenceId, Output)>) {
        let Self { sequences, frontend, probe, .. } = self;
        let sequence = &mut sequences[index];
        let (id, before) = (sequence.id, sequence.tokens_out());
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            if let Some(probe) = probe {
                probe.reach(ProbePoint::Sample, id, before);
                probe.logits(id, before, &mut logits);
            }
            sequence.accept(&mut logits, &frontend.tokenizer)
        }));
        let accepted = accepted.unwrap_or_else(|panic| Err(StepError::Panic { reason: panic_text(panic.as_ref()) }));
        match accepted {
            Err(error) => outputs.extend(self.fail(&[id], &error)),
            Ok(accepted) => {
                outputs.push((id, Output::Token(accepted.text)));
                if let Some(reason) = accepted.finished {
                    let finished = self.sequences[index].finish(reason);
                    self.remove(id);
                    outputs.push((id, Output::Finished(finished)));
                }
            }
        }
    }

    fn fail(&mut self, ids: &[SequenceId], error: &StepError) -> Vec<(SequenceId, Output)> {
        let mut outputs = Vec::with_capacity(ids.len());
        for &id in ids {
            let tokens_out = self.sequence(id).map_or(0, Sequence::tokens_out);
            self.remove(id);
            outputs.push((id, Output::Failed { error: error.clone(), tokens_out }));
        }
        outputs
    }

    /// Natural logarithm of the probability of each token but the first, given those before it.
    ///
    /// # Errors
    /// The text does not fit the context, or a step failed.
    pub fn log_probabilities(&mut self, tokens: &[TokenId]) -> Result<Vec<f64>, StartError> {
        if tokens.is_empty() || tokens.len() as u64 > self.frontend.context_length() {
            return Err(StartError::Length);
        }
        let id = self.new_id();
        self.backend.reserve(id, tokens.len())?;
        let scores = self.score(id, tokens);
        self.backend.release(id);
        Ok(scores?)
    }

    fn score(&mut self, sequence: SequenceId, tokens: &[TokenId]) -> Result<Vec<f64>, StepError> {
        let mut scores = Vec::with_capacity(tokens.len());
        for (chunk, start) in tokens.chunks(PREFILL_CHUNK_TOKENS).zip((0..).step_by(PREFILL_CHUNK_TOKENS)) {
            let span = Span { sequence, first_position: start, tokens: chunk, outputs: Outputs::All };
            let rows = self.backend.execute(&[span])?;
            for (row, next) in rows.iter().zip(&tokens[start + 1..]) {
                scores.push(log_softmax(row, *next));
            }
        }
        Ok(scores)
    }

    /// The program in use, printed.
    #[must_use]
    pub fn program_text(&self) -> String {
        self.backend.program().to_string()
    }
}

fn log_softmax(logits: &[f32], token: TokenId) -> f64 {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - peak).exp()).sum();
    logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit - peak) - sum.ln())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
