//! `git sync`: main's upstream, and everything that was in its way still to be had.

use crate::support::World;

#[test]
fn nothing_to_lose_is_no_question() {
    let world = World::new();
    let new = world.commit_to("upstream.git", "main", &[("theirs", "1\n")]);
    world.write("work/untracked", "mine\n");
    world.done(&["git", "sync"]);
    assert_eq!(world.git("work", &["rev-parse", "HEAD"]), new);
    assert_eq!(world.read("work/untracked"), "mine\n");
    assert!(world.backups("work").is_empty());
}

/// A checkout with something of everything that a reset takes.
fn busy() -> World {
    let world = World::new();
    world.commit_to(
        "upstream.git",
        "main",
        &[("new", "theirs\n"), ("folder/inner", "theirs\n"), ("file", "theirs\n"), ("ignored", "theirs\n")],
    );
    world.write("work/Cargo.toml", "committed\n");
    world.git("work", &["commit", "--quiet", "-am", "local work"]);
    world.write("work/Cargo.toml", "edited\n");
    world.write("work/catalog.toml", "staged\n");
    world.git("work", &["add", "catalog.toml"]);
    world.write("work/new", "in the way\n");
    world.write("work/folder", "a file where a folder comes\n");
    world.write("work/file/deep/down", "a folder where a file comes\n");
    world.write("work/ignored", "ignored, and in the way\n");
    world.write("work/untracked", "in nobody's way\n");
    world
}

#[test]
fn what_would_be_lost_is_shown_and_asked_about() {
    let world = busy();
    let outcome = world.run(&["git", "sync"]);
    outcome.assert_failed(2, &["terminal", "--yes"]);
    for line in [
        "change  Cargo.toml",
        "change  catalog.toml",
        "file    new",
        "file    folder",
        "file    file/deep/down",
        "local work",
    ] {
        assert!(outcome.stderr.contains(line), "{line}: {outcome:?}");
    }
    assert!(!outcome.stderr.contains("untracked"), "{outcome:?}");
    assert_eq!(world.read("work/Cargo.toml"), "edited\n");
    assert!(world.backups("work").is_empty());
    let plan = world.done(&["git", "sync", "--dry-run"]).stdout;
    assert!(
        plan.contains("reset main to refs/remotes/origin/main") && plan.contains("keep change  Cargo.toml"),
        "{plan}"
    );
    assert_eq!(world.read("work/Cargo.toml"), "edited\n");
}

#[test]
fn what_is_lost_can_be_had_back() {
    for answer in ["--yes", "--force"] {
        let world = busy();
        let mine = world.git("work", &["rev-parse", "HEAD"]);
        let outcome = world.done(&["git", "sync", answer]);
        assert_eq!(world.git("work", &["rev-parse", "HEAD"]), world.git("upstream.git", &["rev-parse", "main"]));
        assert_eq!(world.git("work", &["status", "--porcelain"]), "?? untracked");
        assert_eq!((world.read("work/new").as_str(), world.read("work/file").as_str()), ("theirs\n", "theirs\n"));
        let backups = world.backups("work");
        assert_eq!(backups.len(), 2, "{backups:?}");
        assert!(backups.iter().all(|name| outcome.stderr.contains(name)), "{outcome:?}");
        let changes = backups.iter().find(|name| name.ends_with("/changes")).expect("changes");
        let commits = backups.iter().find(|name| name.ends_with("/commits")).expect("commits");
        assert_eq!(world.git("work", &["rev-parse", commits]), mine);
        // By the very command that was printed, where the changes came from.
        world.git("work", &["switch", "--quiet", "-c", "rescued", commits]);
        world.git("work", &["stash", "apply", "--quiet", "--index", changes]);
        assert_eq!(
            (world.read("work/Cargo.toml").as_str(), world.read("work/catalog.toml").as_str()),
            ("edited\n", "staged\n")
        );
        assert_eq!(world.git("work", &["diff", "--cached", "--name-only"]), "catalog.toml");
        assert_eq!(world.read("work/new"), "in the way\n");
        assert_eq!(world.read("work/ignored"), "ignored, and in the way\n");
        assert_eq!(world.read("work/folder"), "a file where a folder comes\n");
        assert_eq!(world.read("work/file/deep/down"), "a folder where a file comes\n");
    }
}

#[test]
fn other_branches_and_loose_commits_keep_their_work() {
    let world = World::new();
    world.git("work", &["switch", "--quiet", "-c", "feature"]);
    world.git("work", &["commit", "--quiet", "--allow-empty", "-m", "on a branch"]);
    world.done(&["git", "sync"]);
    assert_eq!(world.git("work", &["branch", "--show-current"]), "main");
    assert_eq!(world.git("work", &["log", "-1", "--format=%s", "feature"]), "on a branch");
    assert!(world.backups("work").is_empty());
    world.git("work", &["switch", "--quiet", "--detach"]);
    world.git("work", &["commit", "--quiet", "--allow-empty", "-m", "on none"]);
    world.run(&["git", "sync"]).assert_failed(2, &["on none"]);
    world.done(&["git", "sync", "--yes"]);
    let backups = world.backups("work");
    assert_eq!(world.git("work", &["log", "-1", "--format=%s", &backups[0]]), "on none");
    world.done(&["git", "sync"]);
    assert_eq!(world.backups("work").len(), 1);
}

#[test]
fn submodules_follow_and_their_edits_are_kept() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle", "llama.cpp"]);
    let new = world.git("candle.git", &["rev-parse", "main"]);
    world.pin("candle", &new);
    world.write("work/reference/candle/version", "mine\n");
    world.write("work/reference/llama.cpp/version", "mine too\n");
    world.run(&["git", "sync"]).assert_failed(2, &["reference/candle/version", "--yes"]);
    let outcome = world.done(&["git", "sync", "--yes"]);
    assert_eq!(world.submodule("candle")["head"], new.as_str());
    assert_eq!(world.read("work/reference/candle/version"), "3\n");
    let backups = world.backups("work/reference/candle");
    assert!(outcome.stderr.contains(&backups[0]), "{outcome:?}");
    assert_eq!(world.git("work/reference/candle", &["show", &format!("{}:version", backups[0])]), "mine");
    // At its commit, it is in nobody's way.
    assert_eq!(world.read("work/reference/llama.cpp/version"), "mine too\n");
    assert_eq!(world.submodule("mistral.rs")["state"], "absent");
}

#[test]
fn a_repository_in_the_way_stops_it() {
    let world = World::new();
    world.commit_to("upstream.git", "main", &[("place", "theirs\n")]);
    world.git("work", &["init", "--quiet", "place"]);
    world.write("work/place/file", "mine\n");
    world.run(&["git", "sync", "--yes"]).assert_failed(1, &["place", "--force"]);
    assert_eq!(world.read("work/place/file"), "mine\n");
    assert!(!world.has("work/theirs"));
}

#[test]
fn a_conflict_in_the_middle_stops_it() {
    let world = World::new();
    world.write("work/.git/MERGE_HEAD", "");
    world.run(&["git", "sync", "--force"]).assert_failed(1, &["merge"]);
}
