//! Arbitrary bytes of tokens to text, in arbitrary cuts, with a stop string. What must hold is `checks/detokenise.rs`'s.

#![no_main]

#[path = "../checks/detokenise.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::check(bytes));
