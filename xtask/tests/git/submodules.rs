//! `git submodules update`, `reset`, `branch`: on demand, exact, and never over somebody's work.

use crate::support::{NAMES, World};

#[test]
fn all_are_fetched_without_history_and_then_left_alone() {
    let world = World::new();
    let outcome = world.done(&["git", "submodules", "update", "--all", "--json"]);
    let done = outcome.last_event();
    assert_eq!(done["event"], "done");
    assert!(done["submodules"].as_array().expect("all").iter().all(|one| one["outcome"] == "updated"), "{done}");
    for name in NAMES {
        let folder = format!("work/reference/{name}");
        assert_eq!(world.read(&format!("{folder}/version")), "2\n");
        assert_eq!(world.git(&folder, &["rev-list", "--count", "HEAD"]), "1");
        assert_eq!(world.git(&folder, &["status", "--porcelain"]), "");
    }
    assert_eq!(world.git("work", &["status", "--porcelain"]), "");
    // Without a network, and without a word.
    for name in NAMES {
        std::fs::rename(world.path(&format!("{name}.git")), world.path(&format!("{name}.gone"))).expect("renamed");
    }
    let outcome = world.done(&["git", "submodules", "update", "--all"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    let done = world.done(&["git", "submodules", "update", "--json"]).last_event();
    assert!(done["submodules"].as_array().expect("all").iter().all(|one| one["outcome"] == "unchanged"), "{done}");
    // And plain git takes them for its own.
    assert_eq!(world.git("work", &["submodule", "update"]), "");
}

#[test]
fn only_what_is_named_is_fetched() {
    let world = World::new();
    world.run(&["git", "submodules", "update"]).assert_failed(2, &["--all"]);
    world.run(&["git", "submodules", "update", "candel"]).assert_failed(2, &["`candel`", "llama.cpp"]);
    world.run(&["git", "submodules", "update", "candle", "nope"]).assert_failed(2, &["`nope`"]);
    let plan = world.done(&["git", "submodules", "update", "candle", "--dry-run"]).stdout;
    assert!(plan.starts_with("fetch ") && plan.trim_end().ends_with("into reference/candle"), "{plan}");
    assert_eq!(world.submodule("candle")["state"], "absent");
    world.done(&["git", "submodules", "update", "candle", "reference/llama.cpp/"]);
    let state = |name| world.submodule(name)["state"].clone();
    assert_eq!(NAMES.map(state), ["right", "absent", "right", "absent"]);
}

#[test]
fn a_folder_that_was_removed_comes_back_without_a_network() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    std::fs::remove_dir_all(world.path("work/reference/candle")).expect("removed");
    std::fs::rename(world.path("candle.git"), world.path("gone.git")).expect("renamed");
    world.done(&["git", "submodules", "update", "candle"]);
    assert_eq!(world.submodule("candle")["state"], "right");
    assert_eq!(world.git("work/reference/candle", &["status", "--porcelain"]), "");
}

#[test]
fn local_work_stays_where_it_is() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "--all"]);
    let (old, new) = ("2\n", world.git("candle.git", &["rev-parse", "main"]));
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{new},reference/candle")]);
    world.write("work/reference/candle/version", "mine\n");
    // Where it belongs, edits are nobody's business.
    world.write("work/reference/llama.cpp/version", "mine\n");
    world.done(&["git", "submodules", "update", "llama.cpp"]);
    let outcome = world.run(&["git", "submodules", "update"]);
    outcome.assert_failed(1, &["`candle`", "local edits", "version", "reset candle"]);
    assert_eq!(world.read("work/reference/candle/version"), "mine\n");
    // Commits that nothing names.
    world.git("work/reference/candle", &["commit", "--quiet", "-am", "mine"]);
    world.run(&["git", "submodules", "update"]).assert_failed(1, &["`candle`", "1 commits", "switch -c"]);
    assert_eq!(world.read("work/reference/candle/version"), "mine\n");
    // Named, they are safe.
    world.git("work/reference/candle", &["switch", "--quiet", "-c", "mine"]);
    let outcome = world.done(&["git", "submodules", "update"]);
    assert!(outcome.stderr.contains("it was on mine"), "{outcome:?}");
    assert_eq!(world.read("work/reference/candle/version"), "3\n");
    // A new file in the way of one that comes.
    let fixes = world.git("candle.git", &["rev-parse", "metal-fixes"]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{fixes},reference/candle")]);
    world.write("work/reference/candle/metal", "mine\n");
    world.run(&["git", "submodules", "update"]).assert_failed(1, &["`candle`"]);
    assert_eq!(world.read("work/reference/candle/metal"), "mine\n");
    assert_ne!(old, world.read("work/reference/candle/version"));
}

#[test]
fn a_reset_throws_away_and_says_what() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    world.write("work/reference/candle/version", "committed\n");
    world.git("work/reference/candle", &["commit", "--quiet", "-am", "mine"]);
    let mine = world.git("work/reference/candle", &["rev-parse", "HEAD"]);
    world.write("work/reference/candle/version", "edited\n");
    world.write("work/reference/candle/new/file", "untracked\n");
    world.write("work/reference/candle/build/object", "ignored\n");
    world.run(&["git", "submodules", "reset", "candle"]).assert_failed(2, &["terminal", "--yes"]);
    assert_eq!(world.read("work/reference/candle/version"), "edited\n");
    let plan = world.done(&["git", "submodules", "reset", "candle", "--dry-run"]).stdout;
    assert!(plan.contains("throw away change     version") && plan.contains("untracked  new/"), "{plan}");
    let outcome = world.done(&["git", "submodules", "reset", "candle", "--yes", "--json"]);
    let done = outcome.last_event();
    assert_eq!(done["threw_away"]["changes"], serde_json::json!(["version"]));
    assert_eq!(done["threw_away"]["untracked"], serde_json::json!(["new/"]));
    assert_eq!(done["threw_away"]["commits"], serde_json::json!([mine]));
    let state = world.submodule("candle");
    assert_eq!((&state["state"], &state["dirty"]), (&"right".into(), &false.into()));
    assert!(world.has("work/reference/candle/build/object") && !world.has("work/reference/candle/new"));
    // Both can be had back.
    let backups = world.backups("work/reference/candle");
    assert_eq!(backups.len(), 2, "{backups:?}");
    let changes = backups.iter().find(|name| name.ends_with("/changes")).expect("changes");
    assert_eq!(world.git("work/reference/candle", &["show", &format!("{changes}:version")]), "edited");
    let commits = backups.iter().find(|name| name.ends_with("/commits")).expect("commits");
    assert_eq!(world.git("work/reference/candle", &["rev-parse", commits]), mine);
    // Nothing to do, nothing said.
    let outcome = world.done(&["git", "submodules", "reset", "candle"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    world.run(&["git", "submodules", "reset", "llama.cpp"]).assert_failed(1, &["is not here", "update llama.cpp"]);
}

#[test]
fn a_reset_ends_what_was_under_way() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    let folder = "work/reference/candle";
    world.git(folder, &["fetch", "--quiet", "origin", "main"]);
    world.write("work/reference/candle/version", "mine\n");
    world.git(folder, &["commit", "--quiet", "-am", "mine"]);
    assert_ne!(world.try_git(folder, &["merge", "--allow-unrelated-histories", "FETCH_HEAD"]).code, 0);
    world.run(&["git", "submodules", "branch", "candle", "metal-fixes"]).assert_failed(1, &["merge"]);
    world.done(&["git", "submodules", "reset", "candle", "--yes"]);
    assert!(!world.has("work/.git/modules/candle/MERGE_HEAD"));
    assert_eq!(world.submodule("candle")["state"], "right");
    assert_eq!(world.submodule("candle")["dirty"], false);
}

#[test]
fn a_submodule_is_switched_to_a_branch_and_back() {
    let world = World::new();
    world.run(&["git", "submodules", "branch", "candle"]).assert_failed(1, &["is not here", "update candle"]);
    world.done(&["git", "submodules", "update", "candle"]);
    let document = world.document(&["git", "submodules", "branch", "candle"]);
    assert_eq!(document["remote"], serde_json::json!(["main", "metal-fixes"]));
    assert_eq!((&document["current"], &document["local"]), (&serde_json::Value::Null, &serde_json::json!([])));
    let done = world.done(&["git", "submodules", "branch", "candle", "metal-fixes", "--json"]).last_event();
    assert_eq!(done["commit"], world.git("candle.git", &["rev-parse", "metal-fixes"]).as_str());
    assert_eq!(world.read("work/reference/candle/metal"), "fixed\n");
    let state = world.submodule("candle");
    assert_eq!((&state["state"], &state["branch"]), (&"other".into(), &"metal-fixes".into()));
    assert_eq!(world.git("work/reference/candle", &["rev-parse", "--abbrev-ref", "@{u}"]), "origin/metal-fixes");
    // It moves on over there.
    let newer = world.commit_to("candle.git", "metal-fixes", &[("metal", "fixed again\n")]);
    world.done(&["git", "submodules", "branch", "candle", "metal-fixes"]);
    assert_eq!(world.git("work/reference/candle", &["rev-parse", "HEAD"]), newer);
    // Own commits stay, whatever happens over there.
    world.write("work/reference/candle/metal", "mine\n");
    world.run(&["git", "submodules", "branch", "candle", "main"]).assert_failed(1, &["local edits", "metal"]);
    world.git("work/reference/candle", &["commit", "--quiet", "-am", "mine"]);
    let mine = world.git("work/reference/candle", &["rev-parse", "HEAD"]);
    world.commit_to("candle.git", "metal-fixes", &[("metal", "theirs\n")]);
    let outcome = world.done(&["git", "submodules", "branch", "candle", "metal-fixes"]);
    assert!(outcome.stderr.contains("stays where it is"), "{outcome:?}");
    assert_eq!(world.git("work/reference/candle", &["rev-parse", "HEAD"]), mine);
    // Back, and to the branch again: nothing is lost.
    let outcome = world.done(&["git", "submodules", "update"]);
    assert!(outcome.stderr.contains("it was on metal-fixes"), "{outcome:?}");
    assert_eq!(world.submodule("candle")["state"], "right");
    std::fs::rename(world.path("candle.git"), world.path("gone.git")).expect("renamed");
    let document = world.done(&["git", "submodules", "branch", "candle", "--json"]);
    assert_eq!(document.last_event()["local"], serde_json::json!(["metal-fixes"]));
    assert!(document.stderr.contains("warning"), "{document:?}");
}

#[test]
fn a_branch_that_is_nowhere_is_told() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    world.run(&["git", "submodules", "branch", "candle", "nope"]).assert_failed(1, &["no branch `nope`"]);
    for branch in ["--force", "-x", "a..b", "a b", "HEAD", "refs/heads/a.lock", &"x".repeat(100_000)] {
        let outcome = world.run(&["git", "submodules", "branch", "candle", "--", branch]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
    }
    assert_eq!(world.submodule("candle")["state"], "right");
}

#[test]
fn a_full_clone_stays_full() {
    let world = World::new();
    // Somebody wants the history.
    world.git(
        "work",
        &[
            "-c",
            "submodule.candle.shallow=false",
            "submodule",
            "--quiet",
            "update",
            "--init",
            "--no-recommend-shallow",
            "reference/candle",
        ],
    );
    assert_eq!(world.git("work/reference/candle", &["rev-list", "--count", "HEAD"]), "2");
    let new = world.commit_to("candle.git", "main", &[("version", "4\n")]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{new},reference/candle")]);
    world.done(&["git", "submodules", "update"]);
    assert_eq!(world.git("work/reference/candle", &["rev-list", "--count", "HEAD"]), "4");
}

#[test]
fn a_server_that_gives_no_single_commits_is_asked_for_all() {
    let world = World::new().with("GIT_PROTOCOL", "version=0");
    world.git(".", &["config", "--global", "protocol.version", "0"]);
    world.done(&["git", "submodules", "update", "candle"]);
    assert_eq!(world.submodule("candle")["state"], "right");
    // It is behind what it has by now.
    let old = world.git("candle.git", &["rev-parse", "main~2"]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{old},reference/candle")]);
    world.done(&["git", "submodules", "update", "candle"]);
    assert_eq!(world.read("work/reference/candle/version"), "1\n");
    // And one that nobody has.
    let none = "12".repeat(20);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{none},reference/candle")]);
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["has no commit", &none]);
    assert_eq!(world.read("work/reference/candle/version"), "1\n");
}

#[test]
fn a_mirror_in_the_users_own_settings_is_used() {
    let world = World::new();
    std::fs::rename(world.path("candle.git"), world.path("mirror.git")).expect("renamed");
    world.git("work", &["config", "submodule.candle.url", &world.text("mirror.git")]);
    world.git("work", &["remote", "set-url", "origin", "https://127.0.0.1:1/upstream"]);
    let elsewhere = world.read("work/.gitmodules").replace("file://", "https://127.0.0.1:1");
    world.write("work/.gitmodules", &elsewhere);
    world.done(&["git", "submodules", "update", "candle"]);
    assert_eq!(world.submodule("candle")["state"], "right");
    world.git("work", &["config", "submodule.candle.url", "ext::sh -c x"]);
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["submodule.candle.url", "--unset"]);
}
