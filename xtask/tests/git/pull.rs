//! `git pull`: yours on top of theirs, or nothing at all.

use crate::support::World;

#[test]
fn commits_come_and_changes_stay() {
    let world = World::new();
    let outcome = world.done(&["git", "pull"]);
    assert!(outcome.stderr.contains("already up to date"), "{outcome:?}");
    world.done(&["git", "submodules", "update", "candle"]);
    let new = world.git("candle.git", &["rev-parse", "main"]);
    world.commit_to("upstream.git", "main", &[("theirs", "1\n")]);
    world.pin("candle", &new);
    world.pin("llama.cpp", &world.git("llama.cpp.git", &["rev-parse", "main"]));
    world.git("work", &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    world.write("work/Cargo.toml", "edited\n");
    world.write("work/catalog.toml", "staged\n");
    world.git("work", &["add", "catalog.toml"]);
    let plan = world.done(&["git", "pull", "--dry-run"]).stdout;
    assert!(plan.contains("git fetch origin") && plan.contains("bring reference/candle"), "{plan}");
    let done = world.done(&["git", "pull", "--json"]).last_event();
    assert_eq!((&done["event"], done["commits"].as_array().map(Vec::len)), (&"done".into(), Some(3)));
    assert_eq!(world.git("work", &["log", "-1", "--format=%s"]), "mine");
    assert_eq!((world.read("work/Cargo.toml").as_str(), world.read("work/theirs").as_str()), ("edited\n", "1\n"));
    assert_eq!(world.read("work/catalog.toml"), "staged\n");
    let state = world.submodule("candle");
    assert_eq!((&state["state"], &state["head"]), (&"right".into(), &new.as_str().into()));
    assert_eq!(world.submodule("llama.cpp")["state"], "absent");
    assert_eq!(world.git("work", &["stash", "list"]), "");
}

#[test]
fn conflicting_commits_undo_the_pull() {
    let world = World::new();
    world.commit_to("upstream.git", "main", &[("Cargo.toml", "theirs\n")]);
    world.write("work/Cargo.toml", "mine\n");
    world.git("work", &["commit", "--quiet", "-am", "mine"]);
    world.write("work/catalog.toml", "edited\n");
    let before = world.git("work", &["rev-parse", "HEAD"]);
    let outcome = world.run(&["git", "pull"]);
    outcome.assert_failed(1, &["conflict", "Cargo.toml", "undone", "git rebase"]);
    assert_eq!(world.git("work", &["rev-parse", "HEAD"]), before);
    assert_eq!(world.git("work", &["status", "--porcelain"]), " M catalog.toml".trim_start_matches('\n'));
    assert_eq!(
        (world.read("work/Cargo.toml").as_str(), world.read("work/catalog.toml").as_str()),
        ("mine\n", "edited\n")
    );
}

#[test]
fn conflicting_changes_are_kept() {
    let world = World::new();
    world.commit_to("upstream.git", "main", &[("Cargo.toml", "theirs\n")]);
    world.write("work/Cargo.toml", "mine\n");
    let outcome = world.run(&["git", "pull"]);
    outcome.assert_failed(1, &["uncommitted changes", "Cargo.toml", "stash"]);
    assert!(world.git("work", &["stash", "show", "-p"]).contains("+mine"));
    // A file that git does not know, in the way of one that comes.
    let world = World::new();
    world.commit_to("upstream.git", "main", &[("new", "theirs\n")]);
    world.write("work/new", "mine\n");
    let outcome = world.run(&["git", "pull"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("new"), "{outcome:?}");
    assert_eq!(world.read("work/new"), "mine\n");
}

#[test]
fn a_submodule_with_edits_is_left_and_told() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    world.write("work/reference/candle/version", "mine\n");
    world.commit_to("upstream.git", "main", &[("theirs", "1\n")]);
    world.done(&["git", "pull"]);
    world.pin("candle", &world.git("candle.git", &["rev-parse", "main"]));
    world.run(&["git", "pull"]).assert_failed(1, &["`candle`", "local edits"]);
    assert_eq!(world.read("work/reference/candle/version"), "mine\n");
}

#[test]
fn what_cannot_be_pulled_is_told() {
    let world = World::new();
    world.git("work", &["switch", "--quiet", "-c", "mine"]);
    world.run(&["git", "pull"]).assert_failed(1, &["`mine`", "follows nothing", "--set-upstream-to"]);
    world.git("work", &["switch", "--quiet", "--detach", "main"]);
    world.run(&["git", "pull"]).assert_failed(1, &["no branch", "git switch main"]);
    world.git("work", &["switch", "--quiet", "main"]);
    std::fs::rename(world.path("upstream.git"), world.path("gone.git")).expect("renamed");
    world.run(&["git", "pull"]).assert_failed(1, &["check the network"]);
    world.write("work/.git/MERGE_HEAD", "");
    world.run(&["git", "pull"]).assert_failed(1, &["a merge is under way", "--abort"]);
}
