//! One process, one model, one device: HTTP and server-sent events around `engine`.
//!
//! Knows no catalog, no other worker, no queue beyond its own slots. The socket is bound first, then the callback goes
//! out, then the model loads; see docs/protocol.md for every call.

pub mod arguments;
mod callback;
mod engine_thread;
mod extract;
mod failure;
mod guard;
mod job_stream;
mod jobs;
mod lifecycle;
mod loading;
mod metrics;
mod routes;
mod server;
mod settings;
mod shared;
mod validate;

pub use server::{Worker, run};
pub use settings::Settings;

/// What this binary was built for: the first backend of the engine that is in it.
#[must_use]
pub fn built_for() -> Option<protocol::identifiers::Backend> {
    let first = engine::BACKENDS.first()?;
    protocol::identifiers::Backend::ALL.into_iter().find(|backend| backend.name() == first.name())
}

/// Cargo features this binary was built with, for its stamp: each backend but the processor's is one.
#[must_use]
pub fn features() -> Vec<String> {
    let of_devices = engine::BACKENDS.iter().filter(|kind| **kind != engine::BackendKind::Cpu);
    of_devices.map(ToString::to_string).collect()
}

/// The engine's probe, so that tests of this crate can disturb a worker from inside.
pub use engine::{Probe, ProbePoint, SequenceId};
