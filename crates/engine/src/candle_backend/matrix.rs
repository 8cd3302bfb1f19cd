//! Matrices that stay in the mapped file, multiplied where they lie.
//!
//! candle would copy every tensor and, for some types, repack it into a second copy whose sums depend on how many rows
//! are multiplied at once. Here a product goes row by row through the block type's dot product: one copy, and the same
//! bits whatever the batch.

use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, matmul,
};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape};
use gguf::TensorType;
use half::{bf16, f16};

use super::q4_1::BlockQ4_1;
use crate::error::LoadError;
use crate::weights::Tensor;

/// A matrix of the model file: rows × columns, row-major, in blocks along the columns.
pub(super) struct Matrix {
    tensor: Tensor,
    rows: usize,
    columns: usize,
    kernel: Kernel,
}

/// The functions of one block type.
#[derive(Clone, Copy)]
struct Kernel {
    multiply: fn(&Matrix, tokens: usize, input: &[f32], output: &mut [f32]) -> candle_core::Result<()>,
    dequantize_row: fn(&Matrix, row: usize, output: &mut [f32]),
    block_elements: usize,
    block_bytes: usize,
    alignment: usize,
}

impl Kernel {
    fn of<T: GgmlType>() -> Self {
        Self {
            multiply: |matrix, tokens, input, output| {
                matmul((tokens, matrix.columns, matrix.rows), input, matrix.blocks::<T>(), output)
            },
            dequantize_row: |matrix, row, output| {
                let blocks = matrix.columns / T::BLCK_SIZE;
                T::to_float(&matrix.blocks::<T>()[row * blocks..(row + 1) * blocks], output);
            },
            block_elements: T::BLCK_SIZE,
            block_bytes: size_of::<T>(),
            alignment: align_of::<T>(),
        }
    }

    /// The kernel for a tensor type. A type without one is named in the error.
    fn find(tensor_type: TensorType) -> Option<Self> {
        // Not every type that exists has a kernel: the rest is unsupported, and says so at load.
        #[expect(clippy::wildcard_enum_match_arm)]
        match tensor_type {
            TensorType::F32 => Some(Self::of::<f32>()),
            TensorType::F16 => Some(Self::of::<f16>()),
            TensorType::BF16 => Some(Self::of::<bf16>()),
            TensorType::Q4_0 => Some(Self::of::<BlockQ4_0>()),
            TensorType::Q4_1 => Some(Self::of::<BlockQ4_1>()),
            TensorType::Q5_0 => Some(Self::of::<BlockQ5_0>()),
            TensorType::Q5_1 => Some(Self::of::<BlockQ5_1>()),
            TensorType::Q8_0 => Some(Self::of::<BlockQ8_0>()),
            TensorType::Q2K => Some(Self::of::<BlockQ2K>()),
            TensorType::Q3K => Some(Self::of::<BlockQ3K>()),
            TensorType::Q4K => Some(Self::of::<BlockQ4K>()),
            TensorType::Q5K => Some(Self::of::<BlockQ5K>()),
            TensorType::Q6K => Some(Self::of::<BlockQ6K>()),
            _ => None,
        }
    }
}

impl Matrix {
    /// Checks once what every later access relies on: kernel, sizes, alignment.
    pub(super) fn new(tensor: Tensor, rows: u64, columns: u64) -> Result<Self, LoadError> {
        let unsupported = |found: String| LoadError::TensorType { name: tensor.name.clone(), found };
        let kernel =
            Kernel::find(tensor.tensor_type).ok_or_else(|| unsupported(tensor.tensor_type.name().into_owned()))?;
        let sizes = usize::try_from(rows).ok().zip(usize::try_from(columns).ok());
        let (rows, columns) = sizes.ok_or_else(|| unsupported("larger than the address space".to_owned()))?;
        let blocks = (columns / kernel.block_elements).checked_mul(rows);
        let expected = blocks.and_then(|blocks| blocks.checked_mul(kernel.block_bytes));
        if columns % kernel.block_elements != 0 || expected != Some(tensor.bytes().len()) {
            return Err(unsupported(format!(
                "{} bytes of {} for {rows} × {columns}",
                tensor.bytes().len(),
                tensor.tensor_type.name()
            )));
        }
        if !tensor.bytes().as_ptr().addr().is_multiple_of(kernel.alignment) {
            return Err(unsupported(format!("not aligned to {} bytes in its file", kernel.alignment)));
        }
        Ok(Self { tensor, rows, columns, kernel })
    }

    fn blocks<T: GgmlType>(&self) -> &[T] {
        let bytes = self.tensor.bytes();
        // SAFETY: `new` checked that the bytes are a whole number of `T`-sized blocks and aligned for `T`, and a kernel
        // for `T` is chosen only for tensors of that type. Every block type is `repr(C)` plain data without padding or
        // invalid bit patterns. The mapping is read-only and lives as long as `self.tensor`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) }
    }

    /// One row as f32.
    pub(super) fn dequantize_row(&self, row: usize) -> Vec<f32> {
        let mut output = vec![0.0; self.columns];
        (self.kernel.dequantize_row)(self, row, &mut output);
        output
    }

    /// The rows of `tokens`, as tokens × columns.
    pub(super) fn embed(&self, tokens: &[u32], device: &Device) -> candle_core::Result<candle_core::Tensor> {
        let mut output = Vec::with_capacity(tokens.len() * self.columns);
        for &token in tokens {
            if token as usize >= self.rows {
                candle_core::bail!("token {token} is outside the vocabulary of {}", self.rows);
            }
            output.extend(self.dequantize_row(token as usize));
        }
        candle_core::Tensor::from_vec(output, (tokens.len(), self.columns), device)
    }
}

impl CustomOp1 for Matrix {
    fn name(&self) -> &'static str {
        "mapped-matrix"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the input of a linear operation must be contiguous");
        };
        if width != self.columns {
            candle_core::bail!("the input has {width} columns, `{}` has {}", self.tensor.name, self.columns);
        }
        let mut output = vec![0.0; tokens * self.rows];
        (self.kernel.multiply)(self, tokens, &storage.as_slice::<f32>()?[start..end], &mut output)?;
        Ok((CpuStorage::F32(output), Shape::from((tokens, self.rows))))
    }
}
