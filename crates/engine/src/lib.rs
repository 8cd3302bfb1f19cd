//! Runs language models: weights from a file, programs from `architectures`, text from `text`, tokens out.
//!
//! The only crate that names candle, and candle's types stay inside [`candle_backend`](self). Synchronous: whoever uses
//! an [`Engine`] owns a thread for it and calls [`Engine::step`] in a loop. No HTTP, no tokio, no catalog.

mod backend;
mod candle_backend;
mod device;
mod engine;
mod error;
mod frontend;
mod model;
mod sampling;
mod sequence;
mod weights;

pub use backend::Outputs;
pub use device::{BACKENDS, BackendKind};
pub use engine::{Engine, Output, SequenceId, StartError};
pub use error::{LoadError, StepError};
pub use frontend::{Frontend, PromptError};
pub use model::{LoadOptions, LoadProgress, ModelDescription, planned_memory_bytes};
pub use sampling::{NotFinite, Sampler, SamplingParameters};
pub use sequence::{FinishReason, Finished, GenerationParameters, Probe, ProbePoint};
pub use text::{ChatMessage, TokenId};
