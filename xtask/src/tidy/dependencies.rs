//! Rules about what depends on what.

use super::{Checkout, Finding};

/// What each package may depend on, of ours. The same table stands in ARCHITECTURE.md.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("gguf", &[]),
    ("architectures", &["gguf"]),
    ("text", &["gguf"]),
    ("models", &["protocol", "gguf", "architectures"]),
    ("convert", &["models", "gguf", "architectures", "text"]),
    ("engine", &["gguf", "architectures", "text"]),
    ("worker", &["protocol", "engine"]),
    ("pool", &["protocol", "models"]),
    ("orchestrator", &["protocol"]),
    ("xtask", &["protocol", "models", "gguf", "launcher"]),
    ("launcher", &[]),
    ("testkit", &["protocol", "gguf"]),
];
/// What any package may use in its tests.
const IN_TESTS: &str = "testkit";
/// Programs that run on.
const DAEMONS: [&str; 3] = ["worker", "pool", "orchestrator"];
/// Packages that may use an asynchronous runtime.
const ASYNCHRONOUS: [&str; 4] = ["worker", "pool", "orchestrator", "testkit"];
/// The runtime and the server.
const RUNTIME: [&str; 2] = ["tokio", "axum"];
/// Packages that may reach candle.
const CANDLE_USERS: [&str; 2] = ["engine", "worker"];
/// What xtask must never link: minutes of compiling, or a runtime it has no use for.
const NOT_IN_XTASK: [&str; 4] = ["candle-core", "candle-nn", "tokenizers", "tokio"];
/// Crates that xtask links, its own included: 101 when the first version was complete, and a fifth.
const DEPENDENCY_BUDGET: usize = 121;

pub fn candle_stays_in_engine(checkout: &Checkout) -> Vec<Finding> {
    let strangers = checkout.reaches_candle.iter().filter(|name| !CANDLE_USERS.contains(&name.as_str()));
    let reaching = strangers.map(|name| Finding::whole(&manifest(checkout, name), format!("`{name}` reaches candle")));
    let linked = checkout.xtask_links.iter().filter(|name| NOT_IN_XTASK.contains(&name.as_str()));
    let linking = linked.map(|name| Finding::whole("xtask/Cargo.toml", format!("xtask reaches `{name}`")));
    reaching.chain(linking).collect()
}

pub fn checkout_stands_alone(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in checkout.sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        for (number, line) in source.lines() {
            if line.starts_with("[patch") || line.starts_with("[replace") {
                findings.push(Finding::at(source, number, format!("`{line}` replaces released crates")));
            }
        }
    }
    for package in &checkout.packages {
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let is_member = checkout.packages.iter().any(|member| member.manifest == format!("{path}/Cargo.toml"));
            if !is_member {
                let message = format!("`{}` is a path dependency outside the workspace: `{path}`", dependency.name);
                findings.push(Finding::whole(&package.manifest, message));
            }
        }
    }
    findings
}

pub fn daemons_share_protocol_only(checkout: &Checkout) -> Vec<Finding> {
    let is_daemon = |name: &str| DAEMONS.contains(&name);
    let mut findings = Vec::new();
    for package in checkout.packages.iter().filter(|package| is_daemon(&package.name)) {
        for dependency in package.dependencies.iter().filter(|dependency| is_daemon(&dependency.name)) {
            let message = format!("`{}` depends on the daemon `{}`", package.name, dependency.name);
            findings.push(Finding::whole(&package.manifest, message));
        }
    }
    findings
}

pub fn dependencies_follow_the_table(checkout: &Checkout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &checkout.packages {
        let Some((_, allowed)) = DEPENDENCIES.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::whole(&package.manifest, format!("`{}` has no row in the table", package.name)));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let is_ours = dependency.path.is_some();
            let is_allowed = allowed.contains(&name) || (dependency.is_dev && name == IN_TESTS);
            if is_ours && !is_allowed {
                findings
                    .push(Finding::whole(&package.manifest, format!("`{}` may not depend on `{name}`", package.name)));
            }
            if !dependency.is_dev && RUNTIME.contains(&name) && !ASYNCHRONOUS.contains(&package.name.as_str()) {
                findings
                    .push(Finding::whole(&package.manifest, format!("`{}` may not depend on `{name}`", package.name)));
            }
        }
    }
    findings
}

pub fn dependency_budget(checkout: &Checkout) -> Vec<Finding> {
    let count = checkout.xtask_links.len();
    if count <= DEPENDENCY_BUDGET {
        return Vec::new();
    }
    vec![Finding::whole("xtask/Cargo.toml", format!("xtask links {count} crates, its budget is {DEPENDENCY_BUDGET}"))]
}

fn manifest(checkout: &Checkout, name: &str) -> String {
    let found = checkout.packages.iter().find(|package| package.name == name);
    found.map_or_else(|| String::from("Cargo.toml"), |package| package.manifest.clone())
}
