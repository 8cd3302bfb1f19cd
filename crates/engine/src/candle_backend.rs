//! The first backend: programs executed with candle tensors.
//!
//! Correct before fast. A step packs the rows of all spans into one matrix for everything but attention, which runs span
//! by span over the sequence's own slabs. On the processor each operation treats rows independently, so that a sequence
//! computes the same bits alone or beside others; kernels of other devices choose by the number of rows and promise less.

mod attention;
mod matrix;
mod q4_1;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use architectures::{Activation, BufferId, Operation, Program, RotaryStyle, WeightId};
use candle_core::{D, Device, Tensor};

use self::attention::{HeadShape, Slab};
use self::matrix::Matrix;
use crate::backend::{Backend, Outputs, Span};
use crate::engine::SequenceId;
use crate::error::{LoadError, StepError, reason_of};
use crate::weights::Weights;

/// Weight as the executor needs it.
enum Loaded {
    Matrix(Matrix),
    Vector(Tensor),
}

/// Shape of the key-value slabs, the same in every block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlabShape {
    pub blocks: usize,
    pub heads: usize,
    pub head_length: usize,
}

/// A program with its weights on a device.
pub(crate) struct CandleBackend {
    device: Device,
    program: Program,
    weights: Vec<Loaded>,
    slab_shape: SlabShape,
    slabs: HashMap<SequenceId, Vec<Slab>>,
}

impl CandleBackend {
    /// Loads the weights of `program`; `weight_of` is [`Program::resolve`]'s answer. `on_weight` hears of each weight by
    /// index and may call the load off.
    pub(crate) fn load(
        device: Device,
        program: Program,
        (source, weight_of, slab_shape): (&dyn Weights, &[WeightId], SlabShape),
        on_weight: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Self, LoadError> {
        // A table that is only looked up in stays in the file.
        let multiplied: HashSet<usize> = multiplied(&program).collect();
        let on_device = |error: candle_core::Error| LoadError::Device { reason: reason_of(&error) };
        let mut weights = Vec::with_capacity(program.weights.len());
        for (index, resolved) in weight_of.iter().enumerate() {
            let declared = &program.weights[resolved.0];
            let tensor = source.tensor(&declared.name).ok_or_else(|| LoadError::TensorType {
                name: declared.name.clone(),
                found: "not there any more".to_owned(),
            })?;
            if on_weight(index, tensor.bytes()).is_break() {
                return Err(LoadError::Cancelled);
            }
            let matrix = Matrix::new(tensor, declared.rows, declared.columns)?;
            weights.push(if declared.rows == 1 {
                let vector = matrix.dequantize_row(0);
                Loaded::Vector(Tensor::new(vector.as_slice(), &device).map_err(on_device)?)
            } else if device.is_cpu() || !multiplied.contains(&index) {
                Loaded::Matrix(matrix)
            } else {
                Loaded::Matrix(matrix.copy_to(&device).map_err(on_device)?)
            });
        }
        Ok(Self { device, program, weights, slab_shape, slabs: HashMap::new() })
    }

    fn matrix(&self, id: WeightId) -> Result<&Matrix, StepError> {
        match &self.weights[id.0] {
            Loaded::Matrix(matrix) => Ok(matrix),
            Loaded::Vector(_) => Err(StepError::Backend { reason: "a vector stands where a matrix should".into() }),
        }
    }

    fn vector(&self, id: WeightId) -> Result<&Tensor, StepError> {
        match &self.weights[id.0] {
            Loaded::Vector(vector) => Ok(vector),
            Loaded::Matrix(_) => Err(StepError::Backend { reason: "a matrix stands where a vector should".into() }),
        }
    }

    fn run(&mut self, operation: &Operation, step: &mut Step<'_>) -> Result<(), StepError> {
        match operation {
            Operation::Embed { table, into } => {
                let rows = self.matrix(*table)?.embed(&step.tokens, &self.device)?;
                step.set(*into, rows);
            }
            Operation::RmsNorm { from, scale, epsilon, into } => {
                let rows = candle_nn::ops::rms_norm(&step.get(*from)?.contiguous()?, self.vector(*scale)?, *epsilon)?;
                step.set(*into, rows);
            }
            Operation::Linear { from, matrix, into } => {
                let rows = self.matrix(*matrix)?.multiply(&step.get(*from)?.contiguous()?)?;
                step.set(*into, rows);
            }
            Operation::Rotary { buffer, heads, dimensions, frequency_base, style } => {
                let rotation = step.rotation(*dimensions, *frequency_base, &self.device)?;
                let rows = rotate(step.get(*buffer)?, *heads as usize, &rotation, *style)?;
                step.set(*buffer, rows);
            }
            Operation::Attention { .. } => self.attend(operation, step)?,
            Operation::Gate { activation: Activation::Silu, gate, up, into } => {
                let rows = (step.get(*gate)?.silu()? * step.get(*up)?)?;
                step.set(*into, rows);
            }
            Operation::Residual { from, into } => {
                let rows = (step.get(*into)? + step.get(*from)?)?;
                step.set(*into, rows);
            }
            Operation::SelectOutputs { from, into } => {
                let rows =
                    step.get(*from)?.index_select(&Tensor::new(step.output_rows.as_slice(), &self.device)?, 0)?;
                step.set(*into, rows);
            }
        }
        Ok(())
    }

    fn attend(&mut self, operation: &Operation, step: &mut Step<'_>) -> Result<(), StepError> {
        let Operation::Attention { query, key, value, block, heads, heads_kv, scale, into } = operation else {
            return Ok(());
        };
        let (query, key, value) = (step.get(*query)?, step.get(*key)?, step.get(*value)?);
        let shape = HeadShape { heads: *heads as usize, heads_kv: *heads_kv as usize, scale: *scale };
        let mut attended = Vec::with_capacity(step.spans.len());
        let mut row = 0;
        for span in step.spans {
            let count = span.tokens.len();
            let rows = |tensor: &Tensor| tensor.narrow(0, row, count);
            let slabs = self.slabs.get_mut(&span.sequence);
            let slab = slabs.and_then(|slabs| slabs.get_mut(*block as usize)).ok_or_else(|| StepError::Backend {
                reason: format!("no key-value memory is reserved for sequence {}", span.sequence),
            })?;
            slab.append(span.first_position, &rows(key)?, &rows(value)?)?;
            attended.push(slab.attend(&rows(query)?, span.first_position, shape)?);
            row += count;
        }
        step.set(*into, Tensor::cat(&attended, 0)?);
        Ok(())
    }
}

impl Backend for CandleBackend {
    fn reserve(&mut self, sequence: SequenceId, positions: usize) -> Result<(), StepError> {
        let slab = |_| Slab::new(self.slab_shape.heads, self.slab_shape.head_length, positions, &self.device);
        let slabs: Result<Vec<Slab>, StepError> = (0..self.slab_shape.blocks).map(slab).collect();
        self.slabs.insert(sequence, slabs?);
        Ok(())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.slabs.remove(&sequence);
    }

    fn execute(&mut self, spans: &[Span<'_>]) -> Result<Vec<Vec<f32>>, StepError> {
        let mut step = Step::new(spans, self.program.buffers.len());
        // A clone of the list lets operations borrow the executor; it is some hundred small values, once a step.
        let operations = self.program.operations.clone();
        for operation in &operations {
            if matches!(operation, Operation::SelectOutputs { .. }) && step.output_rows.is_empty() {
                return Ok(Vec::new());
            }
            self.run(operation, &mut step)?;
        }
        Ok(step.get(self.program.logits)?.to_vec2()?)
    }

    fn program(&self) -> &Program {
        &self.program
    }
}

/// Weights that rows are multiplied with, by index.
fn multiplied(program: &Program) -> impl Iterator<Item = usize> {
    program.operations.iter().filter_map(|operation| match operation {
        Operation::Linear { matrix, .. } => Some(matrix.0),
        Operation::Embed { .. }
        | Operation::RmsNorm { .. }
        | Operation::Rotary { .. }
        | Operation::Attention { .. }
        | Operation::Gate { .. }
        | Operation::Residual { .. }
        | Operation::SelectOutputs { .. } => None,
    })
}

/// Cosines and sines, each tokens × (dimensions / 2).
#[derive(Clone)]
struct Rotation {
    cosine: Tensor,
    sine: Tensor,
}

/// State of one step: the packed rows and where the buffers stand.
struct Step<'a> {
    spans: &'a [Span<'a>],
    tokens: Vec<u32>,
    positions: Vec<usize>,
    output_rows: Vec<u32>,
    buffers: Vec<Option<Tensor>>,
    rotations: HashMap<(u64, u32), Rotation>,
}

impl<'a> Step<'a> {
    fn new(spans: &'a [Span<'a>], buffers: usize) -> Self {
        let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
        let positions = spans.iter().flat_map(|span| span.first_position..span.first_position + span.tokens.len());
        let mut output_rows = Vec::new();
        let mut end = 0;
        for span in spans {
            let start = end;
            end += span.tokens.len() as u32;
            match span.outputs {
                Outputs::None => {}
                Outputs::Last => output_rows.push(end - 1),
                Outputs::All => output_rows.extend(start..end),
            }
        }
        let positions = positions.collect();
        Self { spans, tokens, positions, output_rows, buffers: vec![None; buffers], rotations: HashMap::new() }
    }

    fn get(&self, id: BufferId) -> Result<&Tensor, StepError> {
        self.buffers[id.0]
            .as_ref()
            .ok_or_else(|| StepError::Backend { reason: format!("buffer {} is read unset", id.0) })
    }

    fn set(&mut self, id: BufferId, rows: Tensor) {
        self.buffers[id.0] = Some(rows);
    }

    /// Angle of pair i at position p: p · base^(-2i/d) (Su et al., arXiv:2104.09864, section 3.4.2). Computed in f64: an
    /// f32 angle at position 8,000 is off by 2^-11.
    fn rotation(&mut self, dimensions: u64, base: f32, device: &Device) -> Result<Rotation, StepError> {
        let key = (dimensions, base.to_bits());
        if let Some(rotation) = self.rotations.get(&key) {
            return Ok(rotation.clone());
        }
        let pairs = dimensions as usize / 2;
        let frequency = |pair: usize| f64::from(base).powf(-2.0 * pair as f64 / dimensions as f64);
        let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
        let angles = self
            .positions
            .iter()
            .flat_map(|&position| frequencies.iter().map(move |frequency| position as f64 * frequency));
        let (cosine, sine): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let shape = (self.positions.len(), pairs);
        let rotation =
            Rotation { cosine: Tensor::from_vec(cosine, shape, device)?, sine: Tensor::from_vec(sine, shape, device)? };
        self.rotations.insert(key, rotation.clone());
        Ok(rotation)
    }
}

/// Rotates the leading dimensions of each head; `rows` is tokens × (heads · head length).
fn rotate(rows: &Tensor, heads: usize, rotation: &Rotation, style: RotaryStyle) -> Result<Tensor, StepError> {
    let (tokens, width) = rows.dims2()?;
    let head_length = width / heads;
    let rotated_length = rotation.cosine.dim(D::Minus1)? * 2;
    let by_head = rows.reshape((1, tokens, heads, head_length))?.transpose(1, 2)?;
    let head = by_head.narrow(3, 0, rotated_length)?.contiguous()?;
    let turned = match style {
        RotaryStyle::Interleaved => candle_nn::rotary_emb::rope_i(&head, &rotation.cosine, &rotation.sine)?,
        RotaryStyle::Halves => candle_nn::rotary_emb::rope(&head, &rotation.cosine, &rotation.sine)?,
    };
    let whole = if rotated_length == head_length {
        turned
    } else {
        Tensor::cat(&[turned, by_head.narrow(3, rotated_length, head_length - rotated_length)?], 3)?
    };
    Ok(whole.transpose(1, 2)?.contiguous()?.reshape((tokens, width))?)
}
