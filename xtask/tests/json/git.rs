//! The checkout and its submodules.

use serde_json::Value;

use crate::page::{self, Scene};
use crate::world::World;

fn run(world: &World, arguments: &[&str]) -> Vec<Value> {
    world.run(&[&["git"], arguments, &["--json"]].concat()).events()
}

/// A checkout with work in it, behind its upstream, `candle` here and edited.
fn busy() -> World {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    let new = world.git("candle.git", &["rev-parse", "main"]);
    world.commit_to("upstream.git", "main", &[("theirs", "1\n"), ("new", "theirs\n")]);
    world.pin("candle", &new);
    world.write("work/mine", "1\n");
    world.git("work", &["add", "mine"]);
    world.git("work", &["commit", "--quiet", "-m", "mine"]);
    world
}

/// The same, with something of everything that is not committed.
fn dirty() -> World {
    let world = busy();
    world.write("work/Cargo.toml", "edited\n");
    world.write("work/catalog.toml", "staged\n");
    world.git("work", &["add", "catalog.toml"]);
    world.write("work/new", "in the way\n");
    world
}

/// Edits and a commit that nothing names, in `candle`.
fn work_in_candle(world: &World) {
    world.write("work/reference/candle/version", "committed\n");
    world.git("work/reference/candle", &["commit", "--quiet", "-am", "mine"]);
    world.write("work/reference/candle/version", "edited\n");
    world.write("work/reference/candle/new", "mine\n");
}

pub const SCENES: &[Scene] = &[
    ("git status", || {
        let world = dirty();
        work_in_candle(&world);
        let first = run(&world, &["status"]);
        world.git("work", &["fetch", "--quiet"]);
        world.git("work", &["reset", "--quiet", "--hard"]);
        world.git("work", &["checkout", "--quiet", "--detach"]);
        let detached = run(&world, &["status"]);
        let world = World::new();
        world.commit_to("upstream.git", "main", &[("Cargo.toml", "theirs\n")]);
        world.write("work/Cargo.toml", "mine\n");
        world.git("work", &["commit", "--quiet", "-am", "mine"]);
        let _conflict = world.try_git("work", &["pull", "--quiet", "--rebase"]);
        let conflict = run(&world, &["status"]);
        [first, detached, conflict].concat()
    }),
    ("git pull", || {
        let world = busy();
        run(&world, &["pull"])
    }),
    ("git sync", || {
        let world = dirty();
        work_in_candle(&world);
        run(&world, &["sync", "--yes"])
    }),
    ("git clean", || {
        let world = World::new();
        world.write("work/untracked", "mine\n");
        world.git("work", &["init", "--quiet", "nested"]);
        let moved = run(&world, &["clean", "--yes"]);
        world.write("work/untracked", "mine\n");
        [moved, run(&world, &["clean", "--force"])].concat()
    }),
    ("git branches", || {
        let world = busy();
        world.git("work", &["branch", "--quiet", "--no-track", "alone"]);
        world.git("work", &["fetch", "--quiet"]);
        run(&world, &["branches"])
    }),
    ("git log", || run(&busy(), &["log"])),
    ("git submodules list", || {
        let world = World::new();
        let list = run(&world, &["submodules", "list"]);
        // Declared, and in no commit.
        let more = world.read("work/.gitmodules")
            + "[submodule \"more\"]\n\tpath = reference/more\n\turl = https://x.lan/more\n";
        world.write("work/.gitmodules", &more);
        [list, run(&world, &["submodules", "list"])].concat()
    }),
    ("git submodules status", || {
        let world = busy();
        work_in_candle(&world);
        world.write("work/reference/llama.cpp/file", "not a repository\n");
        let first = run(&world, &["submodules", "status"]);
        world.done(&["git", "submodules", "update", "candle-vllm"]);
        world.done(&["git", "submodules", "branch", "candle-vllm", "metal-fixes"]);
        [first, run(&world, &["submodules", "status"])].concat()
    }),
    ("git submodules update", || {
        let world = busy();
        let right = run(&world, &["submodules", "update", "candle"]);
        world.done(&["git", "pull"]);
        let commit = world.git("work/reference/candle", &["rev-parse", "HEAD~0"]);
        let new = world.commit_to("candle.git", "main", &[("version", "4\n")]);
        world.pin("candle", &new);
        world.git("work", &["pull", "--quiet", "--rebase", "--no-recurse-submodules"]);
        world.git("work/reference/candle", &["checkout", "--quiet", "-b", "mine", &commit]);
        let moved = run(&world, &["submodules", "update", "candle"]);
        world.git(".", &["init", "--quiet", "--bare", "empty.git"]);
        std::fs::remove_dir_all(world.path("mistral.rs.git")).expect("a repository");
        let failed = run(&world, &["submodules", "update", "mistral.rs"]);
        [right, moved, failed].concat()
    }),
    ("git submodules reset", || {
        let world = busy();
        work_in_candle(&world);
        let detached = run(&world, &["submodules", "reset", "candle", "--yes"]);
        let again = run(&world, &["submodules", "reset", "candle", "--yes"]);
        world.git("work/reference/candle", &["checkout", "--quiet", "-b", "mine"]);
        world.write("work/reference/candle/version", "committed\n");
        world.git("work/reference/candle", &["commit", "--quiet", "-am", "mine"]);
        [detached, again, run(&world, &["submodules", "reset", "candle", "--yes"])].concat()
    }),
    ("git submodules branch", || {
        let world = busy();
        let detached = run(&world, &["submodules", "branch", "candle"]);
        let switched = run(&world, &["submodules", "branch", "candle", "metal-fixes"]);
        [detached, switched, run(&world, &["submodules", "branch", "candle"])].concat()
    }),
];

#[test]
fn what_is_checked_out() {
    page::check(SCENES);
}
