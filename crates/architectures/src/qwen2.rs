//! `qwen2`: Qwen 1.5, 2 and 2.5. The shape of `llama` with biases on query, key and value, rotary pairs as halves.
//!
//! Names and configuration only; there is no program yet.

use crate::configuration::Reader;
use crate::{Architecture, Configuration, ConfigurationError, llama};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen2",
    configuration,
    program: None,
    checkpoint_classes: &["Qwen2ForCausalLM"],
    tensor_names: llama::TENSOR_NAMES,
    ignored_suffixes: llama::COMPUTED,
};

fn configuration(metadata: &gguf::Metadata) -> Result<Configuration, ConfigurationError> {
    Reader::new(metadata, "qwen2").decoder()
}
