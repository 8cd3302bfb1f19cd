//! Arbitrary bytes as a request for inference. What must hold is `checks/job_request_json.rs`'s.

#![no_main]

#[path = "../checks/job_request_json.rs"]
mod promises;
// The worker itself would bring the whole engine into every build of a fuzz target.
#[allow(dead_code, reason = "limits that the worker uses elsewhere")]
#[path = "../../crates/worker/src/validate.rs"]
mod validate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::check(bytes));
