//! Rules about texts: how files begin, how long they are, what must not be written.

use super::checkout::Source;
use super::structure::is_tidy;
use super::{Checkout, Finding};

/// No file is longer.
const LINES_MAX: usize = 800;
/// A main.rs is a table of contents.
const MAIN_LINES_MAX: usize = 60;
/// Files above [`LINES_MAX`], with the length they may not exceed. This list may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

/// Texts that must not be written, the files they may stand in, and why.
const FORBIDDEN: &[Forbidden] = &[
    Forbidden { text: "StrictHostKeyChecking=no", except: &[], why: "host keys are the user's: known_hosts decides" },
    Forbidden { text: "gguf_file::Content::read", except: &[], why: "it trusts the file; ours is crates/gguf" },
    Forbidden { text: "#[ignore", except: &[], why: "a test that cannot run says why" },
    Forbidden { text: "huggingface.co", except: HUB_NAMES, why: "hosts are settings" },
    Forbidden { text: "pypi.org", except: &[], why: "pip knows its index" },
    Forbidden { text: "pythonhosted.org", except: &[], why: "pip knows its index" },
    Forbidden { text: "crates.io", except: &[], why: "cargo knows its registry" },
    Forbidden { text: "/work/", except: &[], why: "a path of one machine" },
    Forbidden { text: "/root/", except: &[], why: "a path of one machine" },
    Forbidden { text: "/home/", except: &[], why: "a path of one machine" },
];

/// Where the hub's name stands: the setting's default, and what the reference converter writes into metadata.
const HUB_NAMES: &[&str] = &["crates/models/src/fetch/settings.rs", "crates/convert/src/checkpoint/general.rs"];

struct Forbidden {
    text: &'static str,
    except: &'static [&'static str],
    why: &'static str,
}

/// Files that start processes. Each says why, in an attribute.
const START_PROCESSES: [&str; 5] = [
    "crates/launcher/src/process.rs",
    "crates/models/src/process.rs",
    "crates/pool/src/process.rs",
    "crates/testkit/src/bin/fake_worker.rs",
    "crates/testkit/src/fake_worker.rs",
];

/// Files outside `protocol` with public types that are read or written, and what they are. This list may only shrink.
const PUBLIC_SERDE: [(&str, &str); 3] = [
    ("crates/models/src/store/manifest.rs", "the file format of a model's manifest"),
    ("crates/pool/src/launch.rs", "the pipe between a pool command and its own supervisor"),
    ("crates/testkit/src/fake_worker.rs", "the script of a fake"),
];

pub fn files_say_what_they_are(checkout: &Checkout) -> Vec<Finding> {
    let silent = checkout.rust("").filter(|source| !source.text.starts_with("//!"));
    silent.map(|source| Finding::at(source, 1, "does not open with `//!`")).collect()
}

pub fn files_have_a_limit(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in checkout.rust("") {
        let lines = source.text.lines().count();
        let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path).map(|(_, limit)| *limit);
        let limit = match listed {
            Some(limit) => limit,
            None if source.path.ends_with("src/main.rs") => MAIN_LINES_MAX,
            None => LINES_MAX,
        };
        if lines > limit {
            findings.push(Finding::whole(&source.path, format!("has {lines} lines, its limit is {limit}")));
        }
    }
    findings
}

pub fn no_mod_rs(checkout: &Checkout) -> Vec<Finding> {
    let old = checkout.rust("").filter(|source| source.path.ends_with("/mod.rs"));
    old.map(|source| Finding::whole(&source.path, "is a mod.rs")).collect()
}

pub fn forbidden_texts(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in checkout.sources.iter().filter(|source| !is_tidy(source)) {
        for (number, line) in source.lines() {
            for forbidden in FORBIDDEN {
                if line.contains(forbidden.text) && !forbidden.except.contains(&source.path.as_str()) {
                    let message = format!("`{}` is not written here: {}", forbidden.text, forbidden.why);
                    findings.push(Finding::at(source, number, message));
                }
            }
        }
    }
    findings
}

pub fn processes_start_in_one_place(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_listed = |source: &&Source| START_PROCESSES.contains(&source.path.as_str());
    for source in
        checkout.rust("").filter(|source| !is_listed(source) && !is_tidy(source) && !source.path.contains("/tests/"))
    {
        for (number, line) in source.code().filter(|(_, line)| line.contains("Command::new(")) {
            findings.push(Finding::at(source, number, format!("`{}` starts a process", line.trim())));
        }
    }
    findings
}

pub fn serde_stays_at_the_edge(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_exempt = |source: &&Source| {
        source.path.starts_with("crates/protocol/") || PUBLIC_SERDE.iter().any(|(path, _)| source.path == *path)
    };
    for source in checkout.rust("").filter(|source| !is_exempt(source)) {
        let mut is_derived = false;
        for (number, line) in source.code() {
            let line = line.trim_start();
            if line.starts_with("#[derive(") {
                is_derived = line.contains("Serialize") || line.contains("Deserialize");
            } else if !line.starts_with("#[") && !line.is_empty() {
                if is_derived && (line.starts_with("pub struct ") || line.starts_with("pub enum ")) {
                    findings.push(Finding::at(source, number, format!("`{line}` is public and derives serde")));
                }
                is_derived = false;
            }
        }
    }
    findings
}
