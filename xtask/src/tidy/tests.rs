//! The rules on this checkout, where they must find nothing, and on planted violations, where they must find each.

use super::checkout::{Checkout, Dependency, Package};
use super::{check, run};
use crate::workspace;

#[test]
fn tidy_is_clean() {
    let root = workspace::find().expect("tests run in a checkout");
    let findings = run(&root).expect("the checkout can be read");
    let lines: Vec<String> = findings.iter().map(|(rule, finding)| format!("{finding} ({})", rule.name)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Names of the rules that break when these files lie in a checkout, each once.
fn broken(files: &[(&str, &str)]) -> Vec<&'static str> {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    let checkout = Checkout::read_texts(folder.path()).expect("texts");
    names(&checkout)
}

fn names(checkout: &Checkout) -> Vec<&'static str> {
    let mut names: Vec<&str> = check(checkout).into_iter().map(|(rule, _)| rule.name).collect();
    names.dedup();
    // An empty checkout lacks every file that a rule expects.
    let missing = ["decisions_are_pure", "registries_match_folders", "final_names_are_verified"];
    names.retain(|name| !missing.contains(name));
    names
}

#[test]
fn planted_texts_are_found() {
    let finds = |path: &str, text: &str, rule: &str| {
        let text = if path.ends_with(".rs") && rule != "files_say_what_they_are" {
            format!("//! x\n{text}\n")
        } else {
            text.to_owned()
        };
        assert_eq!(broken(&[(path, &text)]), [rule], "{path}: {text}");
    };
    finds("crates/x/src/a.rs", "fn a() {}", "files_say_what_they_are");
    finds("crates/x/src/a/mod.rs", "", "no_mod_rs");
    finds("crates/x/src/a.rs", &"\n".repeat(801), "files_have_a_limit");
    finds("crates/x/src/main.rs", &"\n".repeat(61), "files_have_a_limit");
    finds("crates/x/src/a.rs", "#[ignore]", "forbidden_texts");
    finds("docs/a.md", "see /work/main", "forbidden_texts");
    finds("xtask/src/a.rs", "const OPTION: &str = \"StrictHostKeyChecking=no\";", "forbidden_texts");
    finds("crates/x/src/a.rs", "let c = gguf_file::Content::read(f);", "forbidden_texts");
    finds("crates/x/src/a.rs", "fn a() { std::process::Command::new(\"x\"); }", "processes_start_in_one_place");
    finds("crates/x/src/a.rs", "#[derive(Debug, Serialize)]\n#[serde(x)]\npub struct A;", "serde_stays_at_the_edge");
    finds("xtask/src/a.rs", "let program = \"llorch-worker-cpu\";", "xtask_starts_no_worker");
    finds("crates/engine/Cargo.toml", "[patch.crates-io]", "checkout_stands_alone");
    finds("crates/worker/src/a.rs", "#[cfg(feature = \"cuda\")]", "hardware_features_in_one_file");
}

#[test]
fn what_is_allowed_is_not_found() {
    let silent = |path: &str, text: &str| {
        assert_eq!(broken(&[(path, &format!("//! x\n{text}\n"))]), Vec::<&str>::new(), "{text}")
    };
    silent("crates/engine/src/device.rs", "#[cfg(feature = \"cuda\")]\n#[cfg(feature = \"metal\")]");
    silent("crates/pool/src/process.rs", "Command::new(x);");
    silent("crates/x/src/a.rs", "#[derive(Serialize)]\nstruct RawA;");
    silent("crates/x/src/a.rs", "#[cfg(test)]\nmod tests { fn a() { Command::new(1); } }");
    silent("xtask/src/binaries.rs", "\"llorch-worker\"");
}

#[test]
fn rules_about_certain_files_find_what_breaks_them() {
    let finds = |path: &str, text: &str, rule: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, format!("//! x\n{text}\n")).expect("a file");
        let checkout = Checkout::read_texts(folder.path()).expect("texts");
        let hit = check(&checkout).into_iter().any(|(found, finding)| found.name == rule && finding.line == Some(2));
        assert!(hit, "{rule} does not find `{text}`");
    };
    finds("crates/engine/src/sampling.rs", "use std::time::Instant;", "decisions_are_pure");
    finds("crates/pool/src/state.rs", "use std::fs;", "decisions_are_pure");
    finds("crates/pool/src/state.rs", "use std::{fmt, thread};", "decisions_are_pure");
    finds("crates/models/src/fetch/hub.rs", "std::fs::rename(a, b)?;", "final_names_are_verified");
    finds("crates/models/src/fetch/hub.rs", "File::create_new(a)?;", "final_names_are_verified");
    finds("crates/models/src/store.rs", "files::publish(a, b, c)?;", "final_names_are_verified");
}

#[test]
fn files_without_a_row_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("xtask/src/verbs.rs", "//! x\nenum Verb { A(a::Args) }\n");
    write("xtask/src/verbs/a.rs", "//! x\n");
    write("xtask/src/verbs/b.rs", "//! x\n");
    write("crates/architectures/src/lib.rs", "//! x\npub const ARCHITECTURES: &[A] = &[llama::A];\n");
    write("crates/architectures/src/llama.rs", "//! x\n");
    write("crates/architectures/src/qwen.rs", "//! x\n");
    write(
        "crates/engine/src/device.rs",
        "//! x\npub const BACKENDS: &[BackendKind] = &[BackendKind::Cpu, BackendKind::Cuda];\n",
    );
    write("xtask/src/binaries.rs", "//! x\npub const BACKENDS: [Backend; 1] = [Backend::Cpu];\n");
    let findings = check(&Checkout::read_texts(folder.path()).expect("texts"));
    let found = findings.iter().filter(|(rule, _)| rule.name == "registries_match_folders");
    let messages: Vec<&str> = found.map(|(_, finding)| finding.message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].contains("`b`") && messages[1].contains("`qwen`") && messages[2].contains("Cuda"));
}

#[test]
fn dependencies_off_the_table_are_found() {
    let package = |name: &str, dependencies: &[(&str, bool)]| Package {
        name: name.to_owned(),
        manifest: format!("crates/{name}/Cargo.toml"),
        dependencies: dependencies
            .iter()
            .map(|(name, is_dev)| {
                let path = Some(format!("crates/{name}")).filter(|_| !["tokio", "axum"].contains(name));
                Dependency { name: (*name).to_owned(), is_dev: *is_dev, path }
            })
            .collect(),
    };
    let all = ["protocol", "engine", "testkit", "pool", "gguf"].map(|name| package(name, &[]));
    let with = |extra: Package| {
        let mut packages: Vec<Package> = all.iter().map(|known| package(&known.name, &[])).collect();
        packages.retain(|known| known.name != extra.name);
        packages.push(extra);
        names(&Checkout { packages, ..Checkout::default() })
    };
    assert_eq!(
        with(package("worker", &[("protocol", false), ("engine", false), ("testkit", true), ("tokio", false)])),
        Vec::<&str>::new()
    );
    assert_eq!(
        with(package("worker", &[("pool", false)])),
        ["daemons_share_protocol_only", "dependencies_follow_the_table"]
    );
    assert_eq!(with(package("gguf", &[("tokio", false)])), ["dependencies_follow_the_table"]);
    assert_eq!(with(package("newcomer", &[])), ["dependencies_follow_the_table"]);
    assert_eq!(
        with(package("pool", &[("outside", false)])),
        ["checkout_stands_alone", "dependencies_follow_the_table"]
    );
    let reaching = |reaches_candle: &[&str], links: &[&str]| {
        let text = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        names(&Checkout { reaches_candle: text(reaches_candle), xtask_links: text(links), ..Checkout::default() })
    };
    assert_eq!(reaching(&["engine", "worker"], &["clap"]), Vec::<&str>::new());
    assert_eq!(reaching(&["pool"], &[]), ["candle_stays_in_engine"]);
    assert_eq!(reaching(&[], &["tokio"]), ["candle_stays_in_engine"]);
    assert_eq!(reaching(&[], &["x"; 200]), ["dependency_budget"]);
}
