//! Where the real model lies that tests run on: SmolLM2-135M-Instruct Q4_1, from the model store.
//!
//! Tests do not download. `cargo xtask test` puts the model into the store first and says where that is; a bare
//! `cargo test` finds it if it has ever been fetched.

use std::path::PathBuf;

/// Names the model file directly.
pub const MODEL_VARIABLE: &str = "LLORCH_TEST_MODEL";

const MEMBER: &str = "llorch/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// The model file.
///
/// # Panics
/// It is not there; the text says how to get it. A test that needs it must not pass without.
#[must_use]
pub fn path() -> PathBuf {
    let candidate = std::env::var_os(MODEL_VARIABLE).map(PathBuf::from).unwrap_or_else(|| {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        data.or(home).unwrap_or_default().join(MEMBER)
    });
    assert!(
        candidate.is_file(),
        "{} is not there; run `cargo xtask models download smollm2`, or set {MODEL_VARIABLE}",
        candidate.display()
    );
    candidate
}
