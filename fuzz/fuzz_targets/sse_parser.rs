//! Arbitrary bytes as server-sent events, in arbitrary cuts. What must hold is `checks/sse_parser.rs`'s.

#![no_main]

#[path = "../checks/sse_parser.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::check(bytes));
