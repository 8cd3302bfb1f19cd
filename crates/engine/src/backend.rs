//! What executes programs: the one interface between sequences and hardware.

use architectures::Program;

use crate::engine::SequenceId;
use crate::error::StepError;

/// Which rows of a span get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// None: a chunk of a prompt that is not its last.
    None,
    /// The last row: what decoding needs.
    Last,
    /// Every row: what scoring needs.
    All,
}

/// Consecutive tokens of one sequence, part of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    /// Whose they are; its key-value memory must be reserved.
    pub sequence: SequenceId,
    /// Absolute position of the first, prompt length + n: never a counter of steps.
    pub first_position: usize,
    /// The tokens; never empty.
    pub tokens: &'a [u32],
    /// Which rows are wanted.
    pub outputs: Outputs,
}

/// Executes a program for batches of spans and owns the key-value memory of the sequences.
///
/// What a sequence computes must not depend on the other spans of its step, to the last bit.
pub(crate) trait Backend: Send {
    /// Reserves key-value memory for `positions` positions.
    fn reserve(&mut self, sequence: SequenceId, positions: usize) -> Result<(), StepError>;

    /// Gives the memory of `sequence` back; does nothing for a sequence that has none.
    fn release(&mut self, sequence: SequenceId);

    /// One step. Rows of logits in the order of the spans, each as wide as the vocabulary.
    fn execute(&mut self, spans: &[Span<'_>]) -> Result<Vec<Vec<f32>>, StepError>;

    /// The program in use.
    fn program(&self) -> &Program;
}
