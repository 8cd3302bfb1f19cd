//! The command as its users see it: real processes, a home of their own, exit codes, both streams.

mod support;

mod infer;
mod interrupt;
mod models;
mod models_convert;
mod models_crash;
mod models_many;
mod usage;
mod worker;
