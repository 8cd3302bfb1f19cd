//! An architecture written once, as data: a short list of operations over named buffers and named weights.
//!
//! A backend executes the list for a batch of spans (ARCHITECTURE.md, "engine"). Here a program can be built, printed,
//! checked against the tensors of a file before anything is allocated, and counted. Nothing here computes.

use std::fmt;

/// A per-token row of f32 that operations read and write. Index into [`Program::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A tensor of the model file. Index into [`Program::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub usize);

/// Declaration of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// Name for people.
    pub name: &'static str,
    /// Elements a token.
    pub width: u64,
}

/// Declaration of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Tensor name in the GGUF file.
    pub name: String,
    /// Length of one row: the input width of a matrix, the length of a vector.
    pub columns: u64,
    /// Number of rows: the output width of a matrix, 1 for a vector.
    pub rows: u64,
    /// The block it belongs to, for progress; `None` for embedding and head.
    pub block: Option<u64>,
    /// Taken instead when the file has no tensor of that name (tied embeddings).
    pub fallback: Option<WeightId>,
}

/// Which elements of a head form a rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Elements 2i and 2i+1 (llama in GGUF).
    Interleaved,
    /// Elements i and i + d/2 (NeoX).
    Halves,
}

/// A gated activation: `function(gate) * up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
}

/// One operation. `from` and `into` are buffers with a row a token of the batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// `into` = row `token id` of `table`.
    Embed {
        /// Embedding table, vocabulary × width.
        table: WeightId,
        /// Result.
        into: BufferId,
    },
    /// `into` = `from` / sqrt(mean(`from`²) + epsilon) · `scale`.
    RmsNorm {
        /// Input.
        from: BufferId,
        /// Scale vector.
        scale: WeightId,
        /// Added to the mean square.
        epsilon: f32,
        /// Result; may be `from`.
        into: BufferId,
    },
    /// `into` = `matrix` · `from`.
    Linear {
        /// Input.
        from: BufferId,
        /// Matrix, output width × input width.
        matrix: WeightId,
        /// Result.
        into: BufferId,
    },
    /// Rotates each head of `buffer` by its token's absolute position, in place.
    Rotary {
        /// Heads side by side.
        buffer: BufferId,
        /// Number of heads in the buffer.
        heads: u64,
        /// Leading elements of each head that are rotated.
        dimensions: u64,
        /// Base of the frequencies.
        frequency_base: f32,
        /// Pairing.
        style: RotaryStyle,
    },
    /// Appends `key` and `value` to the sequence's slab of `block`, then `into` = causal softmax(query·keyᵀ·scale)·value.
    Attention {
        /// Query heads side by side.
        query: BufferId,
        /// Key heads side by side, already rotated.
        key: BufferId,
        /// Value heads side by side.
        value: BufferId,
        /// Which slab.
        block: u64,
        /// Query heads.
        heads: u64,
        /// Key and value heads.
        heads_kv: u64,
        /// Factor of the scores, usually 1/sqrt(head length).
        scale: f32,
        /// Result, heads side by side.
        into: BufferId,
    },
    /// `into` = activation(`gate`) · `up`.
    Gate {
        /// The function.
        activation: Activation,
        /// Its argument.
        gate: BufferId,
        /// Factor.
        up: BufferId,
        /// Result.
        into: BufferId,
    },
    /// `into` = `into` + `from`.
    Residual {
        /// What is added.
        from: BufferId,
        /// The stream.
        into: BufferId,
    },
    /// Keeps only the rows whose logits the batch asks for; every later operation sees those alone.
    SelectOutputs {
        /// All rows.
        from: BufferId,
        /// The wanted rows.
        into: BufferId,
    },
}

/// Why a file's tensors do not fit a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A weight has no tensor.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor `{name}` has the shape {found:?}, but the configuration implies {expected:?} (row length first)")]
    Shape {
        /// The tensor.
        name: String,
        /// Dimensions in the file.
        found: Vec<u64>,
        /// Dimensions the program needs.
        expected: Vec<u64>,
    },
}

/// The computation of one step of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Buffers, each a row of f32 a token.
    pub buffers: Vec<Buffer>,
    /// Weights, each a tensor of the file.
    pub weights: Vec<Weight>,
    /// What is done, in order.
    pub operations: Vec<Operation>,
    /// Holds the logits, one row an output, at the end.
    pub logits: BufferId,
}

impl Program {
    /// The tensor each weight is taken from, in the order of [`Program::weights`], after comparing every shape with the
    /// file's. `shape_of` gives the dimensions of a tensor, row length first.
    ///
    /// # Errors
    /// The first tensor that is missing or has another shape.
    pub fn resolve(&self, shape_of: impl Fn(&str) -> Option<Vec<u64>>) -> Result<Vec<WeightId>, ProgramError> {
        self.weights.iter().enumerate().map(|(index, _)| self.resolve_one(WeightId(index), &shape_of)).collect()
    }

    fn resolve_one(
        &self,
        id: WeightId,
        shape_of: &impl Fn(&str) -> Option<Vec<u64>>,
    ) -> Result<WeightId, ProgramError> {
        let weight = &self.weights[id.0];
        let Some(found) = shape_of(&weight.name) else {
            return match weight.fallback {
                Some(fallback) => self.resolve_one(fallback, shape_of),
                None => Err(ProgramError::Missing { name: weight.name.clone() }),
            };
        };
        let expected = if weight.rows == 1 { vec![weight.columns] } else { vec![weight.columns, weight.rows] };
        // Dimensions of 1 at the end say nothing.
        let significant = found.len() - found.iter().rev().take_while(|&&dimension| dimension == 1).count();
        if found[..significant.max(1)] != expected[..] {
            return Err(ProgramError::Shape { name: weight.name.clone(), found, expected });
        }
        Ok(id)
    }

    /// Multiplications with a weight that one token costs, outputs included.
    #[must_use]
    pub fn multiplications_per_token(&self) -> u64 {
        let of = |operation: &Operation| match operation {
            Operation::Linear { matrix, .. } => {
                let weight = &self.weights[matrix.0];
                weight.rows.saturating_mul(weight.columns)
            }
            Operation::Embed { .. }
            | Operation::RmsNorm { .. }
            | Operation::Rotary { .. }
            | Operation::Attention { .. }
            | Operation::Gate { .. }
            | Operation::Residual { .. }
            | Operation::SelectOutputs { .. } => 0,
        };
        self.operations.iter().map(of).fold(0, u64::saturating_add)
    }

    /// f32 elements of all buffers together, a token.
    #[must_use]
    pub fn buffer_elements_per_token(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.width).fold(0, u64::saturating_add)
    }

    fn buffer(&self, id: BufferId) -> &str {
        self.buffers[id.0].name
    }

    fn weight(&self, id: WeightId) -> &str {
        &self.weights[id.0].name
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in &self.operations {
            match operation {
                Operation::Embed { table, into } => {
                    writeln!(out, "{} = embed {}", self.buffer(*into), self.weight(*table))?;
                }
                Operation::RmsNorm { from, scale, epsilon, into } => {
                    let (into, from, scale) = (self.buffer(*into), self.buffer(*from), self.weight(*scale));
                    writeln!(out, "{into} = rms_norm {from} {scale} epsilon={epsilon:e}")?;
                }
                Operation::Linear { from, matrix, into } => {
                    writeln!(out, "{} = linear {} {}", self.buffer(*into), self.buffer(*from), self.weight(*matrix))?;
                }
                Operation::Rotary { buffer, heads, dimensions, frequency_base, style } => {
                    let name = self.buffer(*buffer);
                    writeln!(
                        out,
                        "{name} = rotary {name} heads={heads} dimensions={dimensions} base={frequency_base} {style:?}"
                    )?;
                }
                Operation::Attention { query, key, value, block, heads, heads_kv, scale, into } => {
                    let (query, key, value) = (self.buffer(*query), self.buffer(*key), self.buffer(*value));
                    let into = self.buffer(*into);
                    writeln!(
                        out,
                        "{into} = attention {query} {key} {value} block={block} heads={heads}/{heads_kv} scale={scale}"
                    )?;
                }
                Operation::Gate { activation, gate, up, into } => {
                    let (gate, up, into) = (self.buffer(*gate), self.buffer(*up), self.buffer(*into));
                    writeln!(out, "{into} = {activation:?}({gate}) * {up}")?;
                }
                Operation::Residual { from, into } => {
                    writeln!(out, "{} += {}", self.buffer(*into), self.buffer(*from))?;
                }
                Operation::SelectOutputs { from, into } => {
                    writeln!(out, "{} = outputs of {}", self.buffer(*into), self.buffer(*from))?;
                }
            }
        }
        writeln!(out, "logits: {}", self.buffer(self.logits))
    }
}
