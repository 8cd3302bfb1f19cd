//! The command as its users see it: real processes, a home of their own, exit codes, both streams.

mod outside;
mod shelf;
mod support;

mod build;
mod build_again;
mod infer;
mod interrupt;
mod launcher;
mod models;
mod models_convert;
mod models_crash;
mod models_disk;
mod models_examples;
mod models_many;
mod models_offline;
mod models_wrong;
mod usage;
mod worker;
