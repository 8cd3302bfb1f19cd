//! Tests, rules, and the state of a machine.

use serde_json::Value;
use testkit::hub::{Hub, Repo, sha256_hex};

use crate::machine::Machine;
use crate::page::{self, Scene, lines};
use crate::support::COMMIT;

const REPORT: &str =
    "<testsuites><testsuite name=\"a\"><testcase classname=\"a\" name=\"slow\" time=\"2.5\"/></testsuite></testsuites>";
const MODEL: &[u8] = b"stands for a model";

/// A checkout whose cargo passes one test of every tier, and a hub with the model that tests ask for.
fn checkout() -> (Machine, Hub) {
    let hub = Hub::builder().repo(Repo::new("org/model", COMMIT).large("model.gguf", MODEL.to_vec())).start();
    let catalog = format!(
        "schema = 1\n[[model]]\nid = \"smollm2\"\nrepo = \"org/model\"\nrevision = \"{COMMIT}\"\nfile = \"model.gguf\"\n\
         size_bytes = {}\nsha256 = \"{}\"\nlicense = \"MIT\"\ngated = false\narchitecture = \"llama\"\n\
         tokenizer = \"gpt2/smollm\"\ncontext_length = 128\n",
        MODEL.len(),
        sha256_hex(MODEL),
    );
    let cargo = format!(
        "case $1 in metadata) echo '{{\"packages\":[]}}';; esac\n\
         [ \"$2\" = run ] && echo '{REPORT}' > target/nextest/default/junit.xml; exit 0"
    );
    let machine = Machine::healthy()
        .in_checkout("1.95.0")
        .file("work/target/nextest/default/junit.xml", "of an earlier run")
        .file("work/models.toml", &catalog)
        .program("cargo", &cargo);
    let catalog = machine.path("work/models.toml").display().to_string();
    let endpoint = hub.endpoint();
    (machine.with("LLORCH_CATALOG", &catalog).with("HF_ENDPOINT", &endpoint).with("HF_HUB_OFFLINE", ""), hub)
}

fn run(machine: &Machine, arguments: &[&str]) -> Vec<Value> {
    lines(&machine.run(&[arguments, &["--json"]].concat()).stdout)
}

/// The same checkout, a tarpaulin there that reaches all but one line.
fn with_tarpaulin(machine: Machine) -> Machine {
    let root = machine.path("work").display().to_string();
    let folders = root.trim_start_matches('/').split('/').map(|name| format!("\"{name}\",")).collect::<String>();
    let file = |path: &str, covered: u64| {
        let names = path.split('/').map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
        format!("{{\"path\":[\"/\",{folders}{names}],\"covered\":{covered},\"coverable\":100}}")
    };
    let files = [
        file("crates/models/src/lib.rs", 99),
        file("crates/protocol/src/lib.rs", 100),
        file("crates/gguf/src/lib.rs", 100),
        file("crates/convert/src/lib.rs", 100),
        file("xtask/src/remote/far.rs", 100),
    ];
    let report = format!("{{\"files\":[{}]}}", files.join(","));
    let cargo = format!(
        "while [ $# -gt 0 ]; do case $1 in --output-dir) echo '{report}' > \"$2/tarpaulin-report.json\";; esac; shift; done"
    );
    machine.program("cargo-tarpaulin", "exit 0").program("cargo", &cargo)
}

pub const SCENES: &[Scene] = &[
    ("test unit, test integration, test smoke, test e2e, test all", || {
        let (machine, hub) = checkout();
        let tiers = ["unit", "integration", "e2e", "all"].map(|tier| run(&machine, &["test", tier]));
        let no_device = run(&machine, &["test", "smoke", "--backend", "cuda"]);
        // As it was, without nextest there is no report.
        let machine = machine.program("cargo", "[ \"$1\" = nextest ] && exit 101; exit 0");
        let without_report = run(&machine, &["test", "unit"]);
        drop(hub);
        [tiers.concat(), no_device, without_report].concat()
    }),
    ("test --coverage", || {
        let (machine, hub) = checkout();
        let lines = run(&with_tarpaulin(machine), &["test", "--coverage"]);
        drop(hub);
        lines
    }),
    ("test lane", || {
        let (machine, _hub) = checkout();
        [run(&machine, &["test", "lane"]), run(&machine, &["test", "lane", "cuda-check"])].concat()
    }),
    ("tidy", || {
        let (machine, _hub) = checkout();
        run(&machine.file("work/xtask/src/main.rs", "fn main() {\n    todo!();\n}\n"), &["tidy"])
    }),
    ("ci", || run(&checkout().0, &["ci"])),
    ("dev doctor", || run(&Machine::healthy().without("git"), &["dev", "doctor"])),
    ("dev setup", || {
        let (machine, hub) = checkout();
        let machine = machine.program("git", "exit 1");
        let git = machine.path("bin/git").display().to_string();
        let machine = machine.program("apt-get", &format!("echo 'echo git version 2.50.0' > '{git}'"));
        let first = run(&machine, &["dev", "setup", "--yes"]);
        let second = run(&machine, &["dev", "setup", "--yes"]);
        // The package manager says that it did, and git runs no better for it.
        let machine = machine.program("git", "exit 1").program("apt-get", ":");
        let in_vain = run(&machine, &["dev", "setup", "--yes"]);
        let cut_off = Machine::healthy().in_checkout("1.95.0").program("git", "exit 1").program("apt-get", ":");
        let without_model = run(&cut_off, &["dev", "setup", "--yes"]);
        drop(hub);
        [first, second, in_vain, without_model].concat()
    }),
    ("dev check", || {
        let machine = Machine::healthy()
            .configuration("[remote]\nkeepalive_seconds = 2\n\n[hosts.a]\nssh = 'me@a.lan'\n")
            .with("LLORCH_DATA_DIR", "/data")
            .with("LLORCH_DATA_DIRR", "/data");
        let good = run(&machine, &["dev", "check"]);
        let machine = machine.configuration("[hosts.a]\nssh = '-oProxyCommand=x'\n").with("HF_ENDPOINT", "ftp://x");
        [good, run(&machine, &["dev", "check"])].concat()
    }),
];

#[test]
fn what_is_tested_and_found() {
    page::check(SCENES);
}
