//! Our rules as code: the seven invariants of ARCHITECTURE.md, and the habits of STYLE.md that a program can check.
//!
//! Each rule is one function with a row in [`RULES`]; the row's name stands in the output. A rule looks at a [`Checkout`]
//! and says what breaks it. `cargo xtask tidy` prints that, and the test `tidy_is_clean` fails on it.

mod checkout;
mod dependencies;
mod structure;
mod texts;

use std::fmt;
use std::path::Path;

use checkout::Source;
pub use checkout::{Checkout, packages};
pub use structure::PURE;

use crate::failure::Failure;

/// One rule.
pub struct Rule {
    /// What the output calls it.
    pub name: &'static str,
    /// Which invariant of ARCHITECTURE.md it checks, if one.
    pub invariant: Option<u8>,
    /// What to do when it is broken.
    pub hint: &'static str,
    check: fn(&Checkout) -> Vec<Finding>,
}

/// Where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path within the checkout.
    pub path: String,
    /// Line, from 1; absent where the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Every rule.
pub const RULES: &[Rule] = &[
    Rule {
        name: "candle_stays_in_engine",
        invariant: Some(1),
        hint: "talk to the engine crate instead; only engine and worker may reach candle, and xtask reaches no runtime at all",
        check: dependencies::candle_stays_in_engine,
    },
    Rule {
        name: "checkout_stands_alone",
        invariant: Some(2),
        hint: "a missing submodule would stop `cargo xtask` from starting: depend on a released version",
        check: dependencies::checkout_stands_alone,
    },
    Rule {
        name: "daemons_share_protocol_only",
        invariant: Some(3),
        hint: "move what both need into `protocol`",
        check: dependencies::daemons_share_protocol_only,
    },
    Rule {
        name: "dependencies_follow_the_table",
        invariant: Some(3),
        hint: "the table is DEPENDENCIES in xtask/src/tidy/dependencies.rs and in ARCHITECTURE.md: change both, with the reason",
        check: dependencies::dependencies_follow_the_table,
    },
    Rule {
        name: "xtask_starts_no_worker",
        invariant: Some(4),
        hint: "call `llorch-pool`, the one owner of worker processes",
        check: structure::xtask_starts_no_worker,
    },
    Rule {
        name: "decisions_are_pure",
        invariant: Some(4),
        hint: "pass the time, the text or the answer in as a value",
        check: structure::decisions_are_pure,
    },
    Rule {
        name: "hardware_features_in_one_file",
        invariant: Some(5),
        hint: "crates/engine/src/device.rs is the file",
        check: structure::hardware_features_in_one_file,
    },
    Rule {
        name: "registries_match_folders",
        invariant: Some(6),
        hint: "adding one = one new file and one row in its list",
        check: structure::registries_match_folders,
    },
    Rule {
        name: "final_names_are_verified",
        invariant: Some(7),
        hint: "verified files get their names by `files::publish`, called in crates/models/src/fetch/session.rs",
        check: structure::final_names_are_verified,
    },
    Rule {
        name: "dependency_budget",
        invariant: None,
        hint: "every crate delays the first `cargo xtask` of a fresh clone; raise DEPENDENCY_BUDGET only with a reason",
        check: dependencies::dependency_budget,
    },
    Rule {
        name: "files_say_what_they_are",
        invariant: None,
        hint: "open it with `//!`: what lives here, and what does not",
        check: texts::files_say_what_they_are,
    },
    Rule {
        name: "files_have_a_limit",
        invariant: None,
        hint: "split it by meaning; 400 lines is the aim, 800 the wall, 60 for a main.rs",
        check: texts::files_have_a_limit,
    },
    Rule { name: "no_mod_rs", invariant: None, hint: "`foo/mod.rs` is `foo.rs` here", check: texts::no_mod_rs },
    Rule {
        name: "forbidden_texts",
        invariant: None,
        hint: "the list with the reasons is FORBIDDEN in xtask/src/tidy/texts.rs",
        check: texts::forbidden_texts,
    },
    Rule {
        name: "processes_start_in_one_place",
        invariant: None,
        hint: "use xshell for what is done now and duct for children that are kept",
        check: texts::processes_start_in_one_place,
    },
    Rule {
        name: "serde_stays_at_the_edge",
        invariant: None,
        hint: "derive it on a private `Raw…` or event type, or move the type to `protocol`",
        check: texts::serde_stays_at_the_edge,
    },
];

/// Everything that breaks a rule, in the order of the rules.
pub fn check(checkout: &Checkout) -> Vec<(&'static Rule, Finding)> {
    let findings = RULES.iter().flat_map(|rule| (rule.check)(checkout).into_iter().map(move |finding| (rule, finding)));
    findings.collect()
}

/// Reads the checkout at `root` and checks it.
pub fn run(root: &Path) -> Result<Vec<(&'static Rule, Finding)>, Failure> {
    Ok(check(&Checkout::read(root)?))
}

impl Finding {
    fn at(source: &Source, line: usize, message: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line: Some(line), message: message.into() }
    }

    fn whole(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.path, self.message),
            None => write!(formatter, "{}: {}", self.path, self.message),
        }
    }
}

#[cfg(test)]
mod tests;
