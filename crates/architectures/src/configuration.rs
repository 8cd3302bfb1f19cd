//! Hyperparameters of a model, read from GGUF metadata and checked against each other before anything is sized by them.

use gguf::{Metadata, MetadataError};

/// Why a file's metadata is not a configuration this build can run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigurationError {
    /// `general.architecture` is not in the list.
    #[error("architecture `{name}` is not supported (supported: {})", crate::architecture_names())]
    UnknownArchitecture {
        /// The name in the file, cut to 64 characters.
        name: String,
    },
    /// The architecture can be converted and described, but has no program yet.
    #[error("architecture `{name}` is known, but cannot be run yet (supported: {})", crate::architecture_names())]
    NotRunnable {
        /// Its name.
        name: String,
    },
    /// A key is missing or has another type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A value asks for something that no program here computes.
    #[error("`{key}` is `{value}`, which this build does not compute")]
    Unsupported {
        /// The metadata key.
        key: String,
        /// Its value, cut to 64 characters.
        value: String,
    },
    /// A value is outside what any model of this architecture has.
    #[error("`{key}` is {value}, which is outside {range}")]
    OutOfRange {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        range: String,
    },
    /// Two values contradict each other.
    #[error("`{first}` is {first_value}, which does not fit `{second}` = {second_value}: {rule}")]
    Conflict {
        /// One key.
        first: String,
        /// Its value.
        first_value: u64,
        /// The other key.
        second: String,
        /// Its value.
        second_value: u64,
        /// What should hold.
        rule: &'static str,
    },
}

/// Rotary position embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryEmbedding {
    /// Leading dimensions of a head that are rotated; even.
    pub dimensions: u64,
    /// Base of the geometric series of frequencies (theta).
    pub frequency_base: f32,
}

/// Hyperparameters that every decoder-only architecture of this crate has. Counts are of elements, never bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Rows of the embedding table.
    pub vocab_size: u64,
    /// Positions the model was trained for.
    pub context_length: u64,
    /// Width of the residual stream.
    pub embedding_length: u64,
    /// Number of transformer blocks.
    pub block_count: u64,
    /// Width of the feed-forward layer.
    pub feed_forward_length: u64,
    /// Query heads.
    pub head_count: u64,
    /// Key and value heads; divides `head_count`.
    pub head_count_kv: u64,
    /// Width of one head.
    pub head_length: u64,
    /// Position embedding.
    pub rotary: RotaryEmbedding,
    /// Added to the mean square (where the norm is centred: to the variance) before its root is taken.
    pub rms_epsilon: f32,
}

/// Upper bounds of what is taken for a model; far above every published one, far below what overflows an allocation.
mod limit {
    pub const BLOCKS: u64 = 1_024;
    pub const WIDTH: u64 = 1 << 18;
    pub const HEADS: u64 = 4_096;
    pub const CONTEXT: u64 = 1 << 26;
    pub const VOCABULARY: u64 = 1 << 24;
}

/// Typed reads of `<architecture>.<key>` with the range each value must lie in.
pub(crate) struct Reader<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(metadata: &'a Metadata, architecture: &'static str) -> Self {
        Self { metadata, architecture }
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn in_range(&self, key: &str, value: u64, limit: u64) -> Result<u64, ConfigurationError> {
        if (1..=limit).contains(&value) {
            return Ok(value);
        }
        Err(ConfigurationError::OutOfRange {
            key: self.key(key),
            value: value.to_string(),
            range: format!("1 to {limit}"),
        })
    }

    fn count(&self, key: &str, limit: u64) -> Result<u64, ConfigurationError> {
        self.in_range(key, self.metadata.u64(&self.key(key))?, limit)
    }

    fn count_or(&self, key: &str, limit: u64, default: u64) -> Result<u64, ConfigurationError> {
        match self.metadata.opt_u64(&self.key(key))? {
            Some(value) => self.in_range(key, value, limit),
            None => Ok(default),
        }
    }

    fn positive(&self, key: &str, value: f32) -> Result<f32, ConfigurationError> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        let range = "finite numbers above 0".to_owned();
        Err(ConfigurationError::OutOfRange { key: self.key(key), value: value.to_string(), range })
    }

    fn conflict(
        &self,
        first: (&str, u64),
        second: (&str, u64),
        rule: &'static str,
    ) -> Result<Configuration, ConfigurationError> {
        Err(ConfigurationError::Conflict {
            first: self.key(first.0),
            first_value: first.1,
            second: self.key(second.0),
            second_value: second.1,
            rule,
        })
    }

    /// Refuses rotary embeddings whose frequencies are scaled: computed without, they are only almost right.
    pub(crate) fn refuse_scaled_rotary(&self) -> Result<(), ConfigurationError> {
        let key = self.key("rope.scaling.type");
        match self.metadata.opt_str(&key)? {
            None | Some("none") => Ok(()),
            Some(value) => Err(ConfigurationError::Unsupported { key, value: value.chars().take(64).collect() }),
        }
    }

    /// The keys every llama-like architecture has, cross-checked.
    pub(crate) fn decoder(&self) -> Result<Configuration, ConfigurationError> {
        self.decoder_with_epsilon("attention.layer_norm_rms_epsilon")
    }

    /// The same for norms whose epsilon has another key.
    pub(crate) fn decoder_with_epsilon(&self, epsilon: &str) -> Result<Configuration, ConfigurationError> {
        let embedding_length = self.count("embedding_length", limit::WIDTH)?;
        let head_count = self.count("attention.head_count", limit::HEADS)?;
        let head_count_kv = self.count_or("attention.head_count_kv", limit::HEADS, head_count)?;
        if head_count % head_count_kv != 0 {
            let (first, second) = (("attention.head_count", head_count), ("attention.head_count_kv", head_count_kv));
            return self.conflict(first, second, "the first must be a multiple of the second");
        }
        let head_length = match self.metadata.opt_u64(&self.key("attention.key_length"))? {
            Some(length) => self.in_range("attention.key_length", length, limit::WIDTH)?,
            None if embedding_length % head_count == 0 => embedding_length / head_count,
            None => {
                let (first, second) = (("embedding_length", embedding_length), ("attention.head_count", head_count));
                return self.conflict(first, second, "the first must be a multiple of the second");
            }
        };
        let rotary_dimensions = self.count_or("rope.dimension_count", limit::WIDTH, head_length)?;
        if rotary_dimensions > head_length || rotary_dimensions % 2 != 0 {
            let (first, second) = (("rope.dimension_count", rotary_dimensions), ("attention.key_length", head_length));
            return self.conflict(first, second, "the first must be even and at most the second");
        }
        // 10,000 is the default of the paper (arXiv:2104.09864) and of every loader; older files leave the key out.
        let frequency_base = self.metadata.opt_f32(&self.key("rope.freq_base"))?.unwrap_or(10_000.0);
        Ok(Configuration {
            vocab_size: self.vocab_size()?,
            context_length: self.count("context_length", limit::CONTEXT)?,
            embedding_length,
            block_count: self.count("block_count", limit::BLOCKS)?,
            feed_forward_length: self.count("feed_forward_length", limit::WIDTH)?,
            head_count,
            head_count_kv,
            head_length,
            rotary: RotaryEmbedding {
                dimensions: rotary_dimensions,
                frequency_base: self.positive("rope.freq_base", frequency_base)?,
            },
            rms_epsilon: self.positive(epsilon, self.metadata.f32(&self.key(epsilon))?)?,
        })
    }

    /// Length of the token list; `<architecture>.vocab_size`, where present, must agree.
    fn vocab_size(&self) -> Result<u64, ConfigurationError> {
        let tokens = self.metadata.string_array("tokenizer.ggml.tokens")?.len() as u64;
        let tokens = self.in_range("vocab_size", tokens, limit::VOCABULARY)?;
        match self.metadata.opt_u64(&self.key("vocab_size"))? {
            Some(size) if size != tokens => Err(ConfigurationError::Conflict {
                first: self.key("vocab_size"),
                first_value: size,
                second: "tokenizer.ggml.tokens".to_owned(),
                second_value: tokens,
                rule: "the list must have that many entries",
            }),
            _ => Ok(tokens),
        }
    }
}
