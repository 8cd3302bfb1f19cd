//! Other machines.

use std::path::PathBuf;

use serde_json::Value;

use crate::far::{Machines, Outcome, is_possible};
use crate::page::{self, Scene, lines};

fn printed(outcome: &Outcome) -> Vec<Value> {
    lines(&outcome.text())
}

/// A checkout on the near side.
fn checkout(machines: &Machines) -> PathBuf {
    let root = machines.near("checkout");
    for name in ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml"] {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, "x").expect("a file");
    }
    for words in ["init -q -b main", "add -A", "-c user.name=t -c user.email=t@localhost commit -q -m first"] {
        duct::cmd("git", words.split(' ')).dir(&root).run().expect("git");
    }
    root
}

/// Names the far host has, and one that nobody answers under.
fn two(machines: &Machines) {
    let bin = machines.path("bin").display().to_string();
    machines.configure(&format!(
        "[hosts.box]\nrepo = 'src/llorch'\npath = ['{bin}']\ntags = ['one']\nbackends = ['cpu']\n\
         [hosts.gone]\nssh = 'nobody@127.0.0.1'\nrepo = 'src/llorch'\n\
         [hosts.poor]\nssh = 'box'\nrepo = 'nowhere'\n"
    ));
}

pub const SCENES: &[Scene] = &[
    ("--remote with several hosts", || {
        let machines = Machines::new().with_checkout("echo '{\"event\":\"done\"}'; echo words");
        two(&machines);
        printed(&machines.run(&["--remote", "all", "tidy", "--json"]))
    }),
    ("build … --fetch", || {
        let machines = Machines::new().with_checkout("exit 0");
        let root = checkout(&machines);
        let bin = machines.path("bin").display().to_string();
        machines.configure(&format!("[hosts.box]\npath = ['{bin}']\n[hosts.box.env]\n{}", machines.toolchain()));
        let words = |words: [&str; 2]| duct::cmd("rustc", words).read().expect("rustc");
        let rustc = words(["--print", "sysroot"]);
        std::os::unix::fs::symlink(PathBuf::from(rustc).join("bin/rustc"), machines.path("bin/rustc")).expect("a link");
        let target = duct::cmd("rustc", ["-vV"]).read().expect("rustc");
        let target = target.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
        let stamp = format!(
            r#"{{"program":"llorch-pool","version":"1","features":[],"commit":"c","target":"{target}","profile":"release"}}"#
        );
        machines.program("built", &format!("echo '{stamp}'"));
        let path = machines.path("bin/built").display().to_string();
        machines.program(
            "cargo",
            &format!(r#"echo '{{"event":"built","program":"llorch-pool","path":"{path}","stamp":{stamp}}}'"#),
        );
        printed(&machines.run_in(&root, &["--remote", "box", "--sync", "build", "pool", "--fetch", "--json"]))
    }),
    ("remote exec, remote deploy", || {
        let machines = Machines::new().with_checkout("exit 0");
        let root = checkout(&machines);
        let exec = machines.run(&["remote", "exec", "box", "--dry-run", "--json", "--", "true"]);
        [printed(&exec), printed(&machines.run_in(&root, &["remote", "deploy", "box", "--dry-run", "--json"]))].concat()
    }),
    ("remote hosts list", || {
        let machines = Machines::new();
        two(&machines);
        printed(&machines.run(&["remote", "hosts", "list", "--json"]))
    }),
    ("remote hosts add, remote hosts remove", || {
        let machines = Machines::new();
        let added = machines.run(&["remote", "hosts", "add", "desk", "box", "--json"]);
        [printed(&added), printed(&machines.run(&["remote", "hosts", "remove", "desk", "--json"]))].concat()
    }),
    ("remote hosts check", || {
        let machines = Machines::new().with_checkout("echo cargo 1.95.0");
        two(&machines);
        let first = printed(&machines.run(&["remote", "hosts", "check", "--json"]));
        // Nothing is there that a task needs.
        std::fs::remove_dir_all(machines.far("src")).expect("a folder");
        machines.configure("[hosts.box]\nrepo = 'src/llorch'\n[hosts.box.env]\nPATH = '/nowhere'\n");
        [first, printed(&machines.run(&["remote", "hosts", "check", "--json"]))].concat()
    }),
    ("remote sync", || {
        let machines = Machines::new().with_checkout("exit 0");
        let root = checkout(&machines);
        printed(&machines.run_in(&root, &["remote", "sync", "box", "--json"]))
    }),
    ("remote setup", || {
        let machines = Machines::new().with_checkout("echo cargo 1.95.0");
        let root = checkout(&machines);
        printed(&machines.run_in(&root, &["remote", "setup", "box", "--repo", "src/new", "--no-build", "--json"]))
    }),
];

#[test]
fn what_other_machines_say() {
    if is_possible() {
        page::check(SCENES);
    }
}
