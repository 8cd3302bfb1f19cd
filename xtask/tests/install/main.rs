//! Installing, upgrading, going back and uninstalling, in prefixes of their own. Cargo is a script that hands out programs
//! that are there, so that nothing is built.

#[expect(dead_code, reason = "homes as the tests of the command have them")]
#[path = "../cli/support.rs"]
mod support;

#[expect(dead_code, reason = "faults as the tests of the command have them")]
#[path = "../cli/outside.rs"]
mod outside;

mod prefix;

mod completions;
mod killed;
mod lifecycle;
mod places;
