//! The vocabulary of llorch: identifiers, units, and every type that crosses a process boundary.
//!
//! serde and nothing else: no I/O, no clock, no HTTP. What a daemon does with these types lives in its own crate; the
//! page that prints them for people is `docs/protocol.md`, whose examples are parsed by this crate's tests.

pub mod catalog;
pub mod error;
pub mod event;
pub mod identifiers;
pub mod inference;
pub mod pool;
pub mod sse;
pub mod stamp;
pub mod worker;
