//! `git clean`, and a clone that never needs a submodule.

use crate::support::World;

fn untidy() -> World {
    let world = World::new();
    world.write("work/new file", "1\n");
    world.write("work/folder/a/b", "1\n");
    world.write("work/ignored", "1\n");
    world.git("work", &["init", "--quiet", "nested"]);
    world.write("work/nested/file", "1\n");
    world.write("work/Cargo.toml", "edited\n");
    world.done(&["git", "submodules", "update", "candle"]);
    world.write("work/reference/candle/new", "1\n");
    world
}

fn assert_clean(world: &World) {
    assert!(!world.has("work/new file") && !world.has("work/folder"));
    assert!(world.has("work/ignored") && world.has("work/nested/file") && world.has("work/reference/candle/new"));
    assert_eq!(world.read("work/Cargo.toml"), "edited\n");
}

#[test]
fn what_git_does_not_know_is_moved_away_and_can_be_had_back() {
    let world = untidy();
    world.run(&["git", "clean"]).assert_failed(2, &["new file", "folder/a/b", "--yes"]);
    let plan = world.done(&["git", "clean", "--dry-run"]).stdout;
    assert_eq!(plan.lines().collect::<Vec<_>>(), ["move away folder/a/b", "move away new file"]);
    assert!(world.has("work/new file") && world.has("work/folder/a/b"));
    let done = world.done(&["git", "clean", "--yes", "--json"]).last_event();
    assert_eq!(done["files"], serde_json::json!(["folder/a/b", "new file"]));
    assert_eq!(done["left_alone"], serde_json::json!(["nested/"]));
    assert_clean(&world);
    let shelf = done["moved_to"].as_str().expect("a folder");
    for file in ["folder/a/b", "new file"] {
        assert!(std::path::Path::new(shelf).join(file).is_file(), "{file}");
    }
    // Again, with nothing to do.
    assert_eq!(world.done(&["git", "clean", "--json"]).last_event()["files"], serde_json::json!([]));
}

#[test]
fn force_removes_for_good() {
    let world = untidy();
    let outcome = world.done(&["git", "clean", "--force"]);
    assert!(outcome.stderr.contains("removed 2 files"), "{outcome:?}");
    assert_clean(&world);
    assert!(!world.has("work/.git/llorch/cleaned"));
}

#[test]
fn a_plain_clone_of_this_project_is_clean() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let modules = std::fs::read_to_string(root.join(".gitmodules")).expect("it is declared");
    assert_eq!(modules.matches("shallow = true").count(), 4);
    for name in crate::support::NAMES {
        assert!(modules.contains(&format!("path = reference/{name}\n")), "{name}");
    }
}

#[test]
fn every_verb_has_help_with_two_examples() {
    let world = World::new();
    let verbs: [&[&str]; 11] = [
        &["status"],
        &["pull"],
        &["sync"],
        &["clean"],
        &["branches"],
        &["log"],
        &["submodules", "list"],
        &["submodules", "status"],
        &["submodules", "update"],
        &["submodules", "reset"],
        &["submodules", "branch"],
    ];
    for verb in verbs {
        let outcome = world.done(&[&["git"], verb, &["--help"]].concat());
        let examples = outcome.stdout.split_once("Examples:").unwrap_or_else(|| panic!("{verb:?}")).1;
        assert!(
            examples.lines().filter(|line| line.trim_start().starts_with("cargo xtask git")).count() >= 2,
            "{verb:?}"
        );
    }
}
