//! When a build may be left out. What starts it, and what is started, is `main.rs`.

pub mod environment;
pub mod freshness;
