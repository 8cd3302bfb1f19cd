//! What is handed to others: archives of the programs, and the flake for whoever has Nix.

#[expect(dead_code, reason = "homes as the tests of the command have them")]
#[path = "../cli/support.rs"]
mod support;

#[expect(dead_code, reason = "a cargo that builds nothing, as the tests of `install` have it")]
#[path = "../install/prefix.rs"]
mod prefix;

mod dist;
mod nix;
