//! Model architectures: how a configuration is read, which program it becomes, what its tensors are called, what it costs.
//!
//! Everything here is a pure function of a model's metadata. No tensor is touched, no device named; the crate that
//! executes a [`Program`] is `engine`. To add an architecture: one file beside `llama.rs`, one row in [`ARCHITECTURES`].

mod configuration;
mod gpt2;
mod granite;
mod llama;
mod memory;
mod phi3;
mod program;
mod qwen2;

pub use configuration::{Configuration, ConfigurationError, RotaryEmbedding};
pub use memory::{MemoryPlan, MemoryRequest};
pub use program::{Activation, Buffer, BufferId, Operation, Program, ProgramError, RotaryStyle, Weight, WeightId};

/// Every architecture this build knows, in the order they are listed to people.
///
/// Those without a program can be converted and described; they cannot be run yet.
pub const ARCHITECTURES: &[Architecture] =
    &[llama::ARCHITECTURE, gpt2::ARCHITECTURE, qwen2::ARCHITECTURE, phi3::ARCHITECTURE, granite::ARCHITECTURE];

/// What sets one architecture apart: data and pure functions.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// The value of `general.architecture`.
    pub name: &'static str,
    /// Reads and cross-checks the configuration.
    pub configuration: fn(&gguf::Metadata) -> Result<Configuration, ConfigurationError>,
    /// The computation of one step; `None` where it is not written yet.
    pub program: Option<fn(&Configuration) -> Program>,
    /// Entries of `architectures` in a checkpoint's `config.json` that are converted to this architecture.
    pub checkpoint_classes: &'static [&'static str],
    /// Checkpoint tensor name → GGUF tensor name; `{}` stands for the block number on both sides.
    pub tensor_names: &'static [(&'static str, &'static str)],
    /// Ends of checkpoint tensor names that are left out: masks and tables that are computed, not trained.
    pub ignored_suffixes: &'static [&'static str],
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

    /// The same, if it can be run.
    ///
    /// # Errors
    /// As [`Architecture::of`], or [`ConfigurationError::NotRunnable`].
    pub fn runnable(metadata: &gguf::Metadata) -> Result<&'static Architecture, ConfigurationError> {
        let known = Architecture::of(metadata)?;
        let without = || ConfigurationError::NotRunnable { name: known.name.to_owned() };
        known.program.map(|_| known).ok_or_else(without)
    }

    /// The architecture that a checkpoint of this class (an entry of `architectures` in its `config.json`) becomes.
    #[must_use]
    pub fn of_checkpoint(class: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|architecture| architecture.checkpoint_classes.contains(&class))
    }

    /// The program for `configuration`.
    ///
    /// # Errors
    /// [`ConfigurationError::NotRunnable`]: the architecture has none yet.
    pub fn program_for(&self, configuration: &Configuration) -> Result<Program, ConfigurationError> {
        let program = self.program.ok_or_else(|| ConfigurationError::NotRunnable { name: self.name.to_owned() })?;
        Ok(program(configuration))
    }

    /// Whether a checkpoint's tensor has no place in a GGUF file and is no loss.
    #[must_use]
    pub fn ignores(&self, checkpoint_name: &str) -> bool {
        self.ignored_suffixes.iter().any(|suffix| checkpoint_name.ends_with(suffix))
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

/// Names of all architectures that can be run, for error texts.
#[must_use]
pub fn architecture_names() -> String {
    let runnable = ARCHITECTURES.iter().filter(|architecture| architecture.program.is_some());
    runnable.map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}

/// Classes of checkpoints that can be converted, for error texts.
#[must_use]
pub fn checkpoint_classes() -> String {
    ARCHITECTURES
        .iter()
        .flat_map(|architecture| architecture.checkpoint_classes)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}
