//! Building, packing, installing, and the pages and scripts that are generated.

use serde_json::Value;

use crate::machine::Machine;
use crate::page::{self, Scene, lines};
use crate::prefix::{build, home, on_prefix};
use crate::support::Home;

/// What a verb prints in this checkout, its programs made by a cargo that compiles nothing.
fn in_checkout(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let outcome = home.run_in_checkout(&[arguments, &["--json"]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    lines(&outcome.stdout)
}

fn into(home: &Home, name: &str) -> String {
    home.path(name).display().to_string()
}

pub const SCENES: &[Scene] = &[
    ("build worker, build pool, build all", || {
        let home = home("one");
        let one = [in_checkout(&home, &["build", "worker", "cpu"]), in_checkout(&home, &["build", "pool"])].concat();
        // The machine may have a compiler for devices, whose worker this cargo does not have: then it fails in the end.
        [one, lines(&home.run_in_checkout(&["build", "all", "--json"]).stdout)].concat()
    }),
    ("build orchestrator", || lines(&home("one").run_in_checkout(&["build", "orchestrator", "--json"]).stdout)),
    ("dist", || {
        let home = home("one");
        in_checkout(&home, &["dist", "--backend", "cpu", "--into", &into(&home, "packed")])
    }),
    ("install", || {
        let home = home("one");
        let prefix = into(&home, "prefix");
        let install = ["install", "--prefix", &prefix, "--backend", "cpu"];
        let first = in_checkout(&home, &install);
        build(&home.path("built"), "two", "");
        let second = in_checkout(&home, &install);
        let back = lines(&on_prefix(&home, &["install", "--rollback", "--json"]).stdout);
        [first, second, back].concat()
    }),
    ("uninstall", || {
        let home = home("one");
        let prefix = into(&home, "prefix");
        in_checkout(&home, &["install", "--prefix", &prefix, "--backend", "cpu"]);
        lines(&on_prefix(&home, &["uninstall", "--yes", "--json"]).stdout)
    }),
    ("completions", || lines(&Home::new().run(&["completions", "bash", "--json"]).stdout)),
    ("man", || {
        let home = Home::new();
        let page = lines(&home.run(&["man", "--json"]).stdout);
        let all = lines(&home.run(&["man", "--into", "pages", "--json"]).stdout);
        [page, all].concat()
    }),
    ("docs", || {
        let regions = "<!-- generated: error codes -->\n<!-- end of generated -->\n";
        let machine = Machine::healthy().in_checkout("1.95.0").file("work/docs/protocol.md", regions);
        lines(&machine.run(&["docs", "--json"]).stdout)
    }),
];

#[test]
fn what_is_built_and_installed() {
    page::check(SCENES);
}
