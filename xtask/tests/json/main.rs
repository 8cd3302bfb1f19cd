//! docs/json.md against the command: what it prints with `--json` has the shape of the page's examples, and the page shows
//! nothing that is not printed. Whether what is printed is true is for the tests of each verb.

#[expect(dead_code, reason = "homes as the tests of the command have them")]
#[path = "../cli/support.rs"]
mod support;

#[expect(dead_code, reason = "machines as the tests of `dev` have them")]
#[path = "../dev/support.rs"]
mod machine;

#[expect(dead_code, reason = "checkouts as the tests of `git` have them")]
#[path = "../git/support.rs"]
mod world;

#[expect(dead_code, reason = "hosts as the tests of `--remote` have them")]
#[path = "../remote/support.rs"]
mod far;

#[expect(dead_code, reason = "a cargo that builds nothing, as the tests of `install` have it")]
#[path = "../install/prefix.rs"]
mod prefix;

#[path = "../cli/shelf.rs"]
mod shelf;

mod page;
mod shape;

mod build;
mod dev;
mod every;
mod git;
mod models;
mod remote;
mod run;
