//! Arbitrary text as a catalog. What must hold is `checks/catalog_toml.rs`'s.

#![no_main]

#[path = "../checks/catalog_toml.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::check(bytes));
