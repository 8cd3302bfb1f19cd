//! What a model costs in memory, from its configuration alone, in checked arithmetic.

use crate::{Configuration, Program};

/// What the model will be asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRequest {
    /// Bytes of the tensors in the file, as stored.
    pub weights_bytes: u64,
    /// Sequences at once.
    pub slots: u64,
    /// Positions each of them may use.
    pub context_length: u64,
    /// Tokens of one step at most.
    pub batch_tokens: u64,
}

/// Memory a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, mapped or uploaded once.
    pub weights_bytes: u64,
    /// Keys and values of one position of one sequence, all blocks.
    pub key_value_bytes_per_position: u64,
    /// Keys and values of all slots when full.
    pub key_value_bytes: u64,
    /// Buffers of one step.
    pub buffer_bytes: u64,
}

impl MemoryPlan {
    /// Bytes of one key or value element: slabs hold f32.
    const ELEMENT_BYTES: u64 = 4;

    /// The plan for `request`; `None` where a figure does not fit 64 bits.
    #[must_use]
    pub fn new(configuration: &Configuration, program: &Program, request: MemoryRequest) -> Option<Self> {
        let row = configuration.head_count_kv.checked_mul(configuration.head_length)?;
        let pair = row.checked_mul(2 * Self::ELEMENT_BYTES)?;
        let key_value_bytes_per_position = pair.checked_mul(configuration.block_count)?;
        let positions = request.slots.checked_mul(request.context_length)?;
        Some(Self {
            weights_bytes: request.weights_bytes,
            key_value_bytes_per_position,
            key_value_bytes: key_value_bytes_per_position.checked_mul(positions)?,
            buffer_bytes: program.buffer_elements_per_token().checked_mul(4)?.checked_mul(request.batch_tokens)?,
        })
    }

    /// Everything together; `None` where it does not fit 64 bits.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.weights_bytes.checked_add(self.key_value_bytes)?.checked_add(self.buffer_bytes)
    }
}
