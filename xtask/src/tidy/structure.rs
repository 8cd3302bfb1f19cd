//! Rules about where things are: who starts what, what is pure, what one file or one list owns.

use super::checkout::Source;
use super::{Checkout, Finding};

/// Files of xtask that may name the worker's program: they build it and install it.
const NAME_THE_WORKER: [&str; 2] = ["xtask/src/binaries.rs", "xtask/src/verbs/install.rs"];
/// Modules that decide and do nothing else: a file, or a folder with all below it. Those of this command are what
/// `test --coverage` counts of it.
pub const PURE: [&str; 21] = [
    "crates/architectures/src/",
    "crates/engine/src/sampling.rs",
    "crates/models/src/fetch/coverage.rs",
    "crates/models/src/fit.rs",
    "crates/models/src/fit/",
    "crates/models/src/runnable.rs",
    "crates/pool/src/ending.rs",
    "crates/pool/src/state.rs",
    "crates/protocol/src/",
    "crates/text/src/",
    "crates/worker/src/lifecycle.rs",
    "xtask/src/git/address.rs",
    "xtask/src/git/names.rs",
    "xtask/src/remote/destination.rs",
    "xtask/src/remote/far.rs",
    "xtask/src/remote/filter.rs",
    "xtask/src/remote/select.rs",
    "xtask/src/tidy/dependencies.rs",
    "xtask/src/verbs/test/coverage/tally.rs",
    "xtask/src/verbs/test/junit.rs",
    "xtask/src/verbs/test/plan.rs",
];
/// What a decision must not name: a runtime, a server, a clock, files, the net, other programs.
const IMPURE: [&str; 10] =
    ["tokio", "axum", "Instant", "SystemTime", "std::fs", "fs_err", "std::net", "ureq", "std::process", "std::thread"];
/// The same behind a brace: `use std::{fs, thread};`.
const IMPURE_IN_GROUPS: [&str; 4] = ["fs", "net", "process", "thread"];
/// Files of the architectures crate that belong to no single architecture.
const NO_ARCHITECTURE: [&str; 4] = ["lib", "configuration", "memory", "program"];
/// Ways to give bytes a name.
const NAMING: [&str; 6] = ["fs::rename(", "File::create", "fs::write(", "fs::copy(", "hard_link(", ".persist("];
/// Where the models crate may do so, and for what.
const NAMES_FILES: [(&str, &str); 3] = [
    ("crates/models/src/files.rs", "`publish` and `write_atomic` themselves"),
    ("crates/models/src/store.rs", "a deleted model's folder moves to the graveyard"),
    ("crates/models/src/fetch/pip.rs", "the lock file of a temporary folder"),
];
/// The one caller of `files::publish`: it has compared size and hash.
const PUBLISHER: &str = "crates/models/src/fetch/session.rs";

pub fn xtask_starts_no_worker(checkout: &Checkout) -> Vec<Finding> {
    let others = checkout
        .rust("xtask/src/")
        .filter(|source| !is_tidy(source) && !NAME_THE_WORKER.contains(&source.path.as_str()));
    lines_with(others, &["\"llorch-worker"], |_| String::from("names the worker's program"))
}

pub fn decisions_are_pure(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in PURE {
        let sources: Vec<&Source> = checkout.rust(place).collect();
        if sources.is_empty() {
            findings.push(Finding::whole(place, "is listed as pure and is not there"));
        }
        let of_place = sources.into_iter().filter(|source| !source.path.ends_with("tidy/dependencies.rs"));
        let of_place: Vec<&Source> = of_place.collect();
        findings.extend(lines_with(of_place.iter().copied(), &IMPURE, |text| format!("a decision names `{text}`")));
        findings.extend(of_place.into_iter().flat_map(grouped_imports));
    }
    findings
}

/// Members of `use std::{…}` that a decision must not name.
fn grouped_imports(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.code() {
        let Some((_, group)) = line.split_once("use std::{") else { continue };
        let members = group.split([',', '}', ';']).map(|member| member.trim().split("::").next().unwrap_or_default());
        let impure = members.filter(|member| IMPURE_IN_GROUPS.contains(member));
        findings.extend(impure.map(|member| Finding::at(source, number, format!("a decision names `std::{member}`"))));
    }
    findings
}

pub fn hardware_features_in_one_file(checkout: &Checkout) -> Vec<Finding> {
    let features = ["feature = \"cuda\"", "feature = \"metal\""];
    let findings = lines_with(checkout.rust("").filter(|source| !is_tidy(source)), &features, |text| {
        format!("`{text}` outside its file")
    });
    let home = findings.iter().map(|finding| finding.path.clone()).find(|path| path.starts_with("crates/engine/src/"));
    findings.into_iter().filter(|finding| Some(&finding.path) != home.as_ref()).collect()
}

pub fn registries_match_folders(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = verbs(checkout);
    findings.extend(architectures(checkout));
    findings.extend(backends(checkout));
    findings
}

pub fn final_names_are_verified(checkout: &Checkout) -> Vec<Finding> {
    let may_name = |source: &&Source| NAMES_FILES.iter().any(|(path, _)| source.path == *path);
    let others = checkout.rust("crates/models/src/").filter(|source| !may_name(source));
    let mut findings = lines_with(others, &NAMING, |text| format!("`{text}…` gives bytes a name"));
    let strangers = checkout.rust("crates/").filter(|source| source.path != PUBLISHER);
    findings.extend(lines_with(strangers, &["files::publish("], |_| {
        String::from("publishes a file that nobody has verified")
    }));
    if checkout.source(PUBLISHER).is_none() {
        findings.push(Finding::whole(PUBLISHER, "is the one place that names verified files, and is not there"));
    }
    findings
}

fn verbs(checkout: &Checkout) -> Vec<Finding> {
    const LIST: &str = "xtask/src/verbs.rs";
    let Some(list) = checkout.source(LIST) else { return vec![Finding::whole(LIST, "is not there")] };
    let modules = modules_of(checkout, "xtask/src/verbs/");
    let unlisted = modules.iter().filter(|module| !list.text.contains(&format!("({module}::")));
    unlisted
        .map(|module| Finding::whole(LIST, format!("`{module}` has a file in xtask/src/verbs and no row in `Verb`")))
        .collect()
}

fn architectures(checkout: &Checkout) -> Vec<Finding> {
    const LIST: &str = "crates/architectures/src/lib.rs";
    let Some(list) = checkout.source(LIST) else { return vec![Finding::whole(LIST, "is not there")] };
    let rows = row_text(list, "const ARCHITECTURES");
    let modules = modules_of(checkout, "crates/architectures/src/");
    let modules = modules.iter().filter(|module| !NO_ARCHITECTURE.contains(&module.as_str()));
    let unlisted = modules.filter(|module| !rows.contains(&format!("{module}::")));
    unlisted
        .map(|module| Finding::whole(LIST, format!("`{module}` has a file and no row in `ARCHITECTURES`")))
        .collect()
}

/// What the engine drives, xtask builds, and the other way round.
fn backends(checkout: &Checkout) -> Vec<Finding> {
    const ENGINE: &str = "crates/engine/src/device.rs";
    const XTASK: &str = "xtask/src/binaries.rs";
    let names = |path: &str, prefix: &str| -> Vec<String> {
        let rows = checkout.source(path).map(|list| row_text(list, "const BACKENDS")).unwrap_or_default();
        let rows = rows.split_once('=').map(|(_, rows)| rows.to_owned()).unwrap_or_default();
        let name = |piece: &str| piece.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        let mut names: Vec<String> = rows.split(prefix).skip(1).map(name).collect();
        names.sort();
        names
    };
    let (engine, xtask) = (names(ENGINE, "BackendKind::"), names(XTASK, "Backend::"));
    if engine == xtask && !engine.is_empty() {
        return Vec::new();
    }
    vec![Finding::whole(ENGINE, format!("`BACKENDS` lists {engine:?}, the one of {XTASK} {xtask:?}"))]
}

/// Names of the files directly in a folder.
fn modules_of(checkout: &Checkout, folder: &str) -> Vec<String> {
    let names = checkout.rust(folder).filter_map(|source| source.path.strip_prefix(folder)?.strip_suffix(".rs"));
    names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
}

/// The statement that begins with `start`, up to its semicolon.
fn row_text(source: &Source, start: &str) -> String {
    let from = source.text.split_once(start).map(|(_, rest)| rest).unwrap_or_default();
    from.split_once("];").map(|(rows, _)| rows.to_owned()).unwrap_or_default()
}

/// Tidy's own files spell out what they forbid.
pub fn is_tidy(source: &Source) -> bool {
    source.path.starts_with("xtask/src/tidy")
}

/// Code lines that hold one of the texts as a word of its own.
fn lines_with<'a>(
    sources: impl Iterator<Item = &'a Source>,
    texts: &[&str],
    message: impl Fn(&str) -> String,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if let Some(text) = texts.iter().find(|text| has_word(line, text)) {
                findings.push(Finding::at(source, number, message(text)));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part =
        |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (line[..start].chars().next_back(), line[start + word.len()..].chars().next());
        let begins = word.starts_with(|first: char| first.is_alphanumeric()) && is_part(before);
        let ends = word.ends_with(|last: char| last.is_alphanumeric()) && is_part(after) && word != "File::create";
        !begins && !ends
    })
}
