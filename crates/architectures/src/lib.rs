//! Model architectures: how a configuration is read, which program it becomes, what its tensors are called, what it costs.
//!
//! Everything here is a pure function of a model's metadata. No tensor is touched, no device named; the crate that
//! executes a [`Program`] is `engine`. To add an architecture: one file beside `llama.rs`, one row in [`ARCHITECTURES`].

mod configuration;
mod llama;
mod memory;
mod program;

pub use configuration::{Configuration, ConfigurationError, RotaryEmbedding};
pub use memory::{MemoryPlan, MemoryRequest};
pub use program::{Activation, Buffer, BufferId, Operation, Program, ProgramError, RotaryStyle, Weight, WeightId};

/// Every architecture this build knows, in the order they are listed to people.
pub const ARCHITECTURES: &[Architecture] = &[llama::ARCHITECTURE];

/// What sets one architecture apart: data and pure functions.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// The value of `general.architecture`.
    pub name: &'static str,
    /// Reads and cross-checks the configuration.
    pub configuration: fn(&gguf::Metadata) -> Result<Configuration, ConfigurationError>,
    /// The computation of one step.
    pub program: fn(&Configuration) -> Program,
    /// Checkpoint tensor name → GGUF tensor name; `{}` stands for the block number on both sides.
    pub tensor_names: &'static [(&'static str, &'static str)],
}

impl Architecture {
    /// The architecture of a GGUF file, from its `general.architecture`.
    ///
    /// # Errors
    /// The key is missing, or names an architecture that is not in [`ARCHITECTURES`].
    pub fn of(metadata: &gguf::Metadata) -> Result<&'static Architecture, ConfigurationError> {
        let name = metadata.str("general.architecture")?;
        let known = ARCHITECTURES.iter().find(|architecture| architecture.name == name);
        known.ok_or_else(|| ConfigurationError::UnknownArchitecture { name: name.chars().take(64).collect() })
    }

    /// The GGUF name of a checkpoint's tensor; `None` for tensors that have no counterpart.
    #[must_use]
    pub fn gguf_tensor_name(&self, checkpoint_name: &str) -> Option<String> {
        self.tensor_names.iter().find_map(|(from, to)| rename(checkpoint_name, from, to))
    }
}

/// `to` with the number that stands for `{}` in `from`, if `name` has that form.
fn rename(name: &str, from: &str, to: &str) -> Option<String> {
    let Some((head, tail)) = from.split_once("{}") else {
        return (name == from).then(|| to.to_owned());
    };
    let number = name.strip_prefix(head)?.strip_suffix(tail)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| to.replace("{}", number))
}

/// Names of all known architectures, for error texts.
#[must_use]
pub fn architecture_names() -> String {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}
