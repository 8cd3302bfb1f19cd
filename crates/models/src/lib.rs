//! Models on this machine: the catalog file, the store, fetching, verifying, and what a model's file says about itself.
//!
//! Synchronous on purpose: no async runtime, progress goes to an observer, cancellation is a flag. What is printed and
//! how is the caller's; running models is `pool`'s and `worker`'s.

pub mod environment;
pub mod places;

pub mod catalog;
pub mod reference;
pub mod runnable;
pub mod store;

pub mod fetch;
pub mod fit;
pub mod hub_cache;
pub mod info;
pub mod lock;
pub mod verify;

pub mod disk;
mod files;
mod hashing;
mod process;
