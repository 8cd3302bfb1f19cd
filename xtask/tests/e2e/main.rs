//! What users do, from a fresh clone to tokens, with the parts they have: cargo, git, ssh, the real model.
//!
//! All of it is the tier `e2e`, `cargo xtask test e2e`. The name of the module `stories` is what keeps it out of the others
//! (`.config/nextest.toml`, `xtask/src/verbs/test/plan.rs`).

#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "its other users are the tests of single verbs")]
mod home;
#[path = "../remote/support.rs"]
#[allow(dead_code, reason = "its other users are the tests of other hosts")]
mod machines;
#[path = "../remote/warm.rs"]
mod warm;

mod support;

mod stories;
