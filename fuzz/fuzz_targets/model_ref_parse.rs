//! Arbitrary text as the name of a model. What must hold is `checks/model_ref_parse.rs`'s.

#![no_main]

#[path = "../checks/model_ref_parse.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::check(bytes));
