//! Causal attention of one span over the key-value slab of its sequence.

use candle_core::{D, DType, Device, Tensor};

use crate::error::StepError;

/// Keys and values of one sequence in one block: heads × capacity × head length, f32.
pub(super) struct Slab {
    keys: Tensor,
    values: Tensor,
}

/// How the heads of a query share those of the slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub heads_kv: usize,
    /// Factor of the scores.
    pub scale: f32,
}

impl Slab {
    /// Room for `capacity` positions, written later.
    pub(super) fn new(heads: usize, head_length: usize, capacity: usize, device: &Device) -> Result<Self, StepError> {
        let zeros = || Tensor::zeros((heads, capacity, head_length), DType::F32, device);
        Ok(Self { keys: zeros()?, values: zeros()? })
    }

    /// Writes the rows of a span, tokens × (heads · head length), at its absolute positions.
    pub(super) fn append(&mut self, position: usize, keys: &Tensor, values: &Tensor) -> Result<(), StepError> {
        let (heads, capacity, head_length) = self.keys.dims3()?;
        let count = keys.dim(0)?;
        if position + count > capacity {
            let reason = format!("position {} is past the {capacity} that were reserved", position + count);
            return Err(StepError::Backend { reason });
        }
        let by_head = |rows: &Tensor| rows.reshape((count, heads, head_length))?.transpose(0, 1)?.contiguous();
        self.keys.slice_set(&by_head(keys)?, 1, position)?;
        self.values.slice_set(&by_head(values)?, 1, position)?;
        Ok(())
    }

    /// Softmax(query·keyᵀ·scale)·value, each row seeing the positions up to its own. `query` is tokens × (heads · head
    /// length) and so is the result. The heads of a group share their keys as further rows of one matrix product.
    pub(super) fn attend(&self, query: &Tensor, position: usize, shape: HeadShape) -> Result<Tensor, StepError> {
        let HeadShape { heads, heads_kv, scale } = shape;
        let (count, width) = query.dims2()?;
        let head_length = width / heads;
        let group = heads / heads_kv;
        let length = position + count;
        let query = query.reshape((count, heads, head_length))?.transpose(0, 1)?;
        let query = query.contiguous()?.reshape((heads_kv, group * count, head_length))?;
        let keys = self.keys.narrow(1, 0, length)?;
        let scores = (query.matmul(&keys.transpose(1, 2)?)? * f64::from(scale))?;
        let scores = if count == 1 {
            scores
        } else {
            scores.broadcast_add(&causal_mask(position, count, group, query.device())?)?
        };
        let attended = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&self.values.narrow(1, 0, length)?)?;
        let attended = attended.reshape((heads, count, head_length))?.transpose(0, 1)?.contiguous()?;
        Ok(attended.flatten_from(D::Minus2)?)
    }
}

/// 0 where a row may look, -infinity after its own position: 1 × (group · count) × (position + count).
fn causal_mask(position: usize, count: usize, group: usize, device: &Device) -> Result<Tensor, StepError> {
    let length = position + count;
    let row = |row: usize| (0..length).map(move |column| if column > position + row { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..group).flat_map(|_| (0..count).flat_map(row)).collect();
    Ok(Tensor::from_vec(mask, (1, group * count, length), device)?)
}
