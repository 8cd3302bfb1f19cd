//! Whether a model fits a device and the disk, and why not: a pure decision from the model's shape. No file, no device is
//! touched here; reading a header, also from afar, is `fetch::peek`'s.

mod checkpoint;

use protocol::identifiers::Backend;
use protocol::pool::Device;

pub(crate) use checkpoint::{Configuration, elements};

use crate::disk::with_margin;

/// Bytes of one key or value element: workers hold f32 (ARCHITECTURE.md).
const ELEMENT_BYTES: u64 = 4;
/// Tokens of one step, as the engine takes them from a prompt.
const STEP_TOKENS: u64 = 32;
/// What a worker takes beside the model: program, tokenizer, threads, HTTP.
const PROCESS_BYTES: u64 = 128 << 20;
/// What a graphics driver takes for its context and kernels.
const DRIVER_BYTES: u64 = 512 << 20;

/// The figures of a model that decide what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of its tensors, as they will be loaded.
    pub weights_bytes: u64,
    /// Blocks (layers).
    pub block_count: u64,
    /// Key-value heads of a block.
    pub head_count_kv: u64,
    /// Elements of a key.
    pub key_length: u64,
    /// Elements of a value.
    pub value_length: u64,
    /// Width of the residual stream.
    pub embedding_length: u64,
    /// Width of the feed-forward part.
    pub feed_forward_length: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// Positions it was made for.
    pub context_length: u64,
}

/// What the model will be asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FitRequest {
    /// Positions of each sequence; what the model was made for if none are named.
    pub context_length: Option<u64>,
    /// Sequences at once.
    pub slots: u64,
}

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Weights.
    pub weights_bytes: u64,
    /// Keys and values of all slots when full.
    pub key_value_bytes: u64,
    /// The same for one position of all slots.
    pub key_value_bytes_per_position: u64,
    /// Buffers of one step, estimated from above.
    pub buffer_bytes: u64,
    /// Positions of each sequence.
    pub context_length: u64,
    /// Sequences at once.
    pub slots: u64,
}

/// Space on disk that is needed and that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskNeeds {
    /// Bytes that are still to be written.
    pub missing_bytes: u64,
    /// Bytes that can be written.
    pub free_bytes: u64,
}

/// The answer for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFit {
    /// The device.
    pub device: Device,
    /// Everything together, its own overhead included.
    pub needed_bytes: u64,
    /// Whether it fits now.
    pub fits: bool,
    /// Why not, and what would; a lowercase fragment.
    pub reason: Option<String>,
}

/// The answer for the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFit {
    /// Bytes that are still to be written, margin included.
    pub needed_bytes: u64,
    /// Bytes that can be written.
    pub free_bytes: u64,
    /// Whether it fits.
    pub fits: bool,
    /// Why not; a lowercase fragment.
    pub reason: Option<String>,
}

/// Why a model's needs cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The model's own file does not say.
    #[error("the model does not say its {what}")]
    Unsaid {
        /// Which figure.
        what: String,
    },
    /// More than can be counted.
    #[error("{slots} sequences of {context_length} positions take more memory than can be counted")]
    TooMuch {
        /// Sequences.
        slots: u64,
        /// Positions of each.
        context_length: u64,
    },
    /// Longer than the model was made for.
    #[error("the model was made for {limit} positions, not for {asked}")]
    TooLong {
        /// What it was made for.
        limit: u64,
        /// What was asked for.
        asked: u64,
    },
}

impl Shape {
    /// The shape of a model from its GGUF header.
    ///
    /// # Errors
    /// A figure is missing.
    pub fn of_header(header: &gguf::Header) -> Result<Self, FitError> {
        let metadata = &header.metadata;
        let unsaid = |what: &str| FitError::Unsaid { what: what.to_owned() };
        let architecture = metadata.str("general.architecture").map_err(|_| unsaid("architecture"))?;
        let optional = |key: &str| metadata.opt_u64(&format!("{architecture}.{key}")).ok().flatten();
        let required = |key: &str| optional(key).ok_or_else(|| unsaid(key));
        let embedding_length = required("embedding_length")?;
        let head_count = required("attention.head_count")?;
        let head_length = embedding_length / head_count.max(1);
        let tokens = metadata.opt_string_array("tokenizer.ggml.tokens").ok().flatten();
        let weights_bytes = header.tensors.iter().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.size_bytes));
        Ok(Self {
            weights_bytes,
            block_count: required("block_count")?,
            // A list where blocks differ: the most any of them has.
            head_count_kv: optional("attention.head_count_kv")
                .or_else(|| {
                    let each =
                        metadata.opt_u32_array(&format!("{architecture}.attention.head_count_kv")).ok().flatten();
                    each.and_then(|each| each.iter().max().map(|most| u64::from(*most)))
                })
                .unwrap_or(head_count),
            key_length: optional("attention.key_length").unwrap_or(head_length),
            value_length: optional("attention.value_length").unwrap_or(head_length),
            embedding_length,
            feed_forward_length: optional("feed_forward_length").unwrap_or(embedding_length.saturating_mul(4)),
            vocab_size: optional("vocab_size").or(tokens.map(|tokens| tokens.len() as u64)).unwrap_or(0),
            context_length: required("context_length")?,
        })
    }
}

/// What a model of that shape takes for that request, in checked arithmetic.
///
/// # Errors
/// See [`FitError`].
pub fn needs(shape: &Shape, request: FitRequest) -> Result<Needs, FitError> {
    let context_length = request.context_length.unwrap_or(shape.context_length);
    if context_length > shape.context_length {
        return Err(FitError::TooLong { limit: shape.context_length, asked: context_length });
    }
    let slots = request.slots;
    let counted = || {
        let pair = shape.key_length.checked_add(shape.value_length)?;
        let block = pair.checked_mul(shape.head_count_kv)?.checked_mul(ELEMENT_BYTES)?;
        let per_position = block.checked_mul(shape.block_count)?.checked_mul(slots)?;
        // Residual, norm, query, key, value, attention and output rows; two of the feed-forward part and their product.
        let width = shape.embedding_length.checked_mul(8)?.checked_add(shape.feed_forward_length.checked_mul(3)?)?;
        let rows = width.checked_mul(STEP_TOKENS)?.checked_add(shape.vocab_size.checked_mul(slots.max(1))?)?;
        Some(Needs {
            weights_bytes: shape.weights_bytes,
            key_value_bytes: per_position.checked_mul(context_length)?,
            key_value_bytes_per_position: per_position,
            buffer_bytes: rows.checked_mul(ELEMENT_BYTES)?,
            context_length,
            slots,
        })
    };
    counted().ok_or(FitError::TooMuch { slots, context_length })
}

impl Needs {
    /// Everything together on a device of that kind.
    #[must_use]
    pub fn total_bytes(&self, backend: Backend) -> u64 {
        self.fixed_bytes(backend).saturating_add(self.key_value_bytes)
    }

    /// What does not depend on the number of positions.
    fn fixed_bytes(&self, backend: Backend) -> u64 {
        let driver_bytes = match backend {
            Backend::Cpu => 0,
            Backend::Cuda | Backend::Metal => DRIVER_BYTES,
        };
        let parts = [self.weights_bytes, self.buffer_bytes, PROCESS_BYTES, driver_bytes];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// The most positions for which there is room in `bytes`.
    fn positions_within(&self, bytes: u64, backend: Backend) -> u64 {
        let left = bytes.saturating_sub(self.fixed_bytes(backend));
        left.checked_div(self.key_value_bytes_per_position).unwrap_or(0)
    }
}

/// Whether it fits a device now, and if not, why not and what would.
#[must_use]
pub fn on_device(needs: &Needs, device: &Device) -> DeviceFit {
    let needed_bytes = needs.total_bytes(device.backend);
    let (available, total) = (device.memory_bytes_available, device.memory_bytes_total);
    let fits = needed_bytes <= available;
    let positions = needs.positions_within(available, device.backend);
    let reason = (!fits).then(|| {
        let short = needed_bytes.saturating_sub(available);
        let mut reason = format!("{} more are needed than are free", megabytes(short));
        if needs.fixed_bytes(device.backend) > total {
            reason = format!("without any context it takes more than the device has ({})", megabytes(total));
        } else if positions > 0 {
            reason.push_str(&format!("; `--context {positions}` fits"));
        } else if needed_bytes <= total {
            reason.push_str("; it fits when other programs give theirs back");
        }
        reason
    });
    DeviceFit { device: device.clone(), needed_bytes, fits, reason }
}

/// Whether the disk has room for what is still to be written.
#[must_use]
pub fn on_disk(disk: DiskNeeds) -> DiskFit {
    let needed_bytes = with_margin(disk.missing_bytes);
    let fits = needed_bytes <= disk.free_bytes;
    let short = needed_bytes.saturating_sub(disk.free_bytes);
    let reason = (!fits).then(|| format!("{} more are needed than are free", megabytes(short)));
    DiskFit { needed_bytes, free_bytes: disk.free_bytes, fits, reason }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use protocol::identifiers::Backend;
    use protocol::pool::Device;

    use super::{DiskNeeds, FitError, FitRequest, Shape, needs, on_device, on_disk};

    /// Llama 3 8B at four bits and a half.
    const SHAPE: Shape = Shape {
        weights_bytes: 4_900_000_000,
        block_count: 32,
        head_count_kv: 8,
        key_length: 128,
        value_length: 128,
        embedding_length: 4096,
        feed_forward_length: 14_336,
        vocab_size: 128_256,
        context_length: 8192,
    };

    fn device(backend: Backend, available: u64, total: u64) -> Device {
        Device {
            backend,
            device: 0,
            name: "test".to_owned(),
            memory_bytes_total: total,
            memory_bytes_available: available,
            threads: None,
            features: Vec::new(),
        }
    }

    #[test]
    fn keys_and_values_are_what_the_engine_reserves() {
        let one = needs(&SHAPE, FitRequest { context_length: None, slots: 1 }).expect("needs");
        // 2 · 8 · 128 · 32 elements of four bytes a position.
        assert_eq!(one.key_value_bytes_per_position, 262_144);
        assert_eq!(one.key_value_bytes, 262_144 * 8192);
        let four = needs(&SHAPE, FitRequest { context_length: Some(100), slots: 4 }).expect("needs");
        assert_eq!(four.key_value_bytes, 262_144 * 100 * 4);
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        let needs = needs(&SHAPE, FitRequest { context_length: None, slots: 1 }).expect("needs");
        let fit = |available, total| on_device(&needs, &device(Backend::Cpu, available, total));
        assert!(fit(8_000_000_000, 16_000_000_000).fits);
        let tight = fit(6_000_000_000, 16_000_000_000);
        let reason = tight.reason.expect("a reason");
        let offered: u64 =
            reason.split(['`', ' ']).find_map(|word| word.parse().ok().filter(|n| *n < 8192)).expect("a context");
        let smaller = super::needs(&SHAPE, FitRequest { context_length: Some(offered), slots: 1 }).expect("needs");
        assert!(on_device(&smaller, &device(Backend::Cpu, 6_000_000_000, 16_000_000_000)).fits, "{reason}");
        assert!(fit(1_000_000_000, 16_000_000_000).reason.expect("a reason").contains("give theirs back"));
        assert!(fit(1_000_000_000, 2_000_000_000).reason.expect("a reason").contains("without any context"));
        // A driver takes its part.
        let exact = needs.total_bytes(Backend::Cpu);
        assert!(on_device(&needs, &device(Backend::Cpu, exact, exact)).fits);
        assert!(!on_device(&needs, &device(Backend::Cuda, exact, exact)).fits);
    }

    #[test]
    fn absurd_requests_are_errors_not_overflows() {
        let ask = |context_length, slots| needs(&SHAPE, FitRequest { context_length, slots });
        assert_eq!(ask(Some(8193), 1), Err(FitError::TooLong { limit: 8192, asked: 8193 }));
        assert!(matches!(ask(None, u64::MAX), Err(FitError::TooMuch { .. })));
        let huge = Shape { block_count: u64::MAX, ..SHAPE };
        assert!(needs(&huge, FitRequest { context_length: None, slots: 1 }).is_err());
    }

    #[test]
    fn the_disk_needs_its_margin() {
        assert!(on_disk(DiskNeeds { missing_bytes: 100, free_bytes: 105 }).fits);
        assert!(on_disk(DiskNeeds { missing_bytes: 100, free_bytes: 104 }).reason.is_some());
    }
}
