//! Matrices that stay in the mapped file, multiplied where they lie.
//!
//! candle would copy every tensor and, for some types, repack it into a second copy whose sums depend on how many rows
//! are multiplied at once. Here a product goes row by row through the block type's dot product: one copy, and the same
//! bits whatever the batch. On a device that is not the processor there is no such choice: [`Matrix::copy_to`] hands the
//! blocks to candle's own kernels there.

use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, matmul,
};
use candle_core::quantized::{GgmlDType, GgmlType, QMatMul, QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Module as _, Shape};
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
    /// Its copy on a device, if products are computed there.
    on_device: Option<QMatMul>,
}

/// The functions of one block type.
#[derive(Clone, Copy)]
struct Kernel {
    multiply: fn(&Matrix, tokens: usize, input: &[f32], output: &mut [f32]) -> candle_core::Result<()>,
    dequantize_row: fn(&Matrix, row: usize, output: &mut [f32]),
    /// What candle calls the type.
    dtype: GgmlDType,
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
            dtype: T::DTYPE,
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
        Ok(Self { tensor, rows, columns, kernel, on_device: None })
    }

    /// The same matrix, multiplied on `device` from now on. Blocks are copied as they are; candle widens f16 and bf16 to
    /// f32 there, which takes twice their size.
    ///
    /// # Errors
    /// The device has no room, or no kernel for the type.
    pub(super) fn copy_to(mut self, device: &Device) -> candle_core::Result<Self> {
        let blocks = QStorage::from_data(self.tensor.bytes().into(), device, self.kernel.dtype)?;
        self.on_device = Some(QMatMul::from_qtensor(QTensor::new(blocks, (self.rows, self.columns))?)?);
        Ok(self)
    }

    /// `input`, tokens × columns, times the transposed matrix: tokens × rows.
    pub(super) fn multiply(&self, input: &candle_core::Tensor) -> candle_core::Result<candle_core::Tensor> {
        match &self.on_device {
            Some(copy) => copy.forward(input),
            None => input.apply_op1_no_bwd(self),
        }
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use gguf::Gguf;
    use testkit::tiny_model::{TinyLlama, WeightType};

    use super::Matrix;
    use crate::weights::Weights;

    /// The path of devices on the one device there is here: candle's own product of the same blocks.
    #[test]
    fn a_copy_on_a_device_multiplies_alike() {
        const NAME: &str = "blk.0.ffn_up.weight";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiny.gguf");
        for weights in [WeightType::F32, WeightType::Q8_0, WeightType::Q4_1] {
            TinyLlama { weights, ..TinyLlama::default() }.write(&path).expect("a model");
            let file = Gguf::open(&path).expect("a sound file");
            let shape = file.tensor(NAME).expect("a tensor").shape.clone();
            let matrix =
                || Matrix::new(Weights::tensor(&file, NAME).expect("a tensor"), shape[1], shape[0]).expect("a matrix");
            let columns = matrix().columns;
            let input: Vec<f32> = (0..3 * columns).map(|index| (index as f32 * 0.37).sin()).collect();
            let input = Tensor::from_vec(input, (3, columns), &Device::Cpu).expect("an input");
            let copied = matrix().copy_to(&Device::Cpu).expect("a copy").multiply(&input).expect("a product");
            let mapped = matrix().multiply(&input).expect("a product");
            let (copied, mapped) = (values(&copied), values(&mapped));
            let largest = mapped.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert!(largest > 0.0 && copied.len() == mapped.len());
            let apart = copied.iter().zip(&mapped).fold(0.0_f32, |most, (one, other)| most.max((one - other).abs()));
            assert!(apart < 0.02 * largest, "{weights:?}: {apart} of {largest}");
        }
    }

    fn values(product: &Tensor) -> Vec<f32> {
        product.flatten_all().and_then(|all| all.to_vec1()).expect("numbers")
    }
}
