//! `git status`, `git submodules list` and `status`: what they say is what git says.

use crate::support::{NAMES, World};

/// Our words by git's letters, for every submodule.
fn assert_agrees(world: &World) {
    let document = world.document(&["git", "submodules", "status"]);
    let rows = document["submodules"].as_array().expect("submodules");
    let letters = world.letters();
    assert_eq!(rows.len(), letters.len());
    for (path, letter, commit) in letters {
        let row = rows.iter().find(|row| row["path"] == path.as_str()).unwrap_or_else(|| panic!("{path}: {document}"));
        let words: &[&str] = match letter {
            '-' => &["absent", "inactive"],
            ' ' => &["right"],
            '+' => &["other"],
            'U' => &["conflict"],
            other => panic!("{other} for {path}"),
        };
        assert!(words.contains(&row["state"].as_str().expect("a state")), "git says `{letter}` of {row}");
        match letter {
            '-' => assert_eq!(row["commit"], commit.as_str()),
            ' ' | '+' => assert_eq!(row["head"], commit.as_str()),
            _ => {}
        }
    }
}

#[test]
fn every_state_is_the_one_that_git_tells() {
    let world = World::new();
    assert_agrees(&world);
    world.done(&["git", "submodules", "update", "--all"]);
    assert_agrees(&world);
    world.git("work/reference/candle", &["fetch", "--quiet", "origin", "main"]);
    world.git("work/reference/candle", &["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
    world.write("work/reference/candle-vllm/version", "edited\n");
    world.git("work", &["config", "submodule.llama.cpp.active", "false"]);
    world.git("work", &["submodule", "deinit", "--force", "reference/mistral.rs"]);
    assert_agrees(&world);
    let state = |name| world.submodule(name)["state"].clone();
    assert_eq!(NAMES.map(state), ["other", "right", "inactive", "absent"]);
    let edited = world.submodule("candle-vllm");
    assert_eq!((&edited["dirty"], &edited["changes"]), (&true.into(), &"1 changed".into()));
    assert_eq!(world.submodule("candle")["dirty"], false);
}

#[test]
fn a_checkout_torn_between_two_commits_says_so() {
    let world = World::new();
    let other = world.git("candle.git", &["rev-parse", "main"]);
    world.git("work", &["switch", "--quiet", "--create", "mine"]);
    let fixes = world.git("candle.git", &["rev-parse", "metal-fixes"]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{fixes},reference/candle")]);
    world.git("work", &["commit", "--quiet", "-m", "another one"]);
    world.pin("candle", &other);
    world.git("work", &["fetch", "--quiet"]);
    assert_ne!(world.try_git("work", &["merge", "origin/main"]).code, 0);
    assert_agrees(&world);
    assert_eq!(world.submodule("candle")["state"], "conflict");
    let outcome = world.run(&["git", "submodules", "update", "candle"]);
    outcome.assert_failed(1, &["`candle`", "several commits"]);
}

#[test]
fn submodules_that_plain_git_fetched_are_ours_too() {
    let world = World::new();
    world.git("work", &["submodule", "--quiet", "update", "--init", "reference/candle", "reference/llama.cpp"]);
    assert_agrees(&world);
    let outcome = world.done(&["git", "submodules", "update"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
}

#[test]
fn the_status_of_the_checkout_has_everything() {
    let world = World::new();
    world.write("work/staged file", "1\n");
    world.git("work", &["add", "staged file"]);
    world.write("work/Cargo.toml", "changed\n");
    world.write("work/new", "1\n");
    world.write("work/ignored", "1\n");
    world.git("work", &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    world.commit_to("upstream.git", "main", &[("theirs", "1\n")]);
    world.git("work", &["fetch", "--quiet"]);
    world.done(&["git", "submodules", "update", "candle"]);
    world.git("work", &["add", "new"]);
    world.write("work/newer", "1\n");
    let document = world.document(&["git", "status"]);
    assert_eq!((&document["branch"], &document["upstream"]), (&"main".into(), &"origin/main".into()));
    assert_eq!((&document["ahead"], &document["behind"]), (&1.into(), &1.into()));
    assert_eq!(document["commit"], world.git("work", &["rev-parse", "HEAD"]).as_str());
    assert_eq!((&document["unstaged"], &document["clean"]), (&serde_json::json!(["Cargo.toml"]), &false.into()));
    assert_eq!(document["untracked"], serde_json::json!(["newer"]));
    assert!(document["toolchain"]["rustc"].as_str().is_some_and(|text| text.starts_with("rustc ")), "{document}");
    assert!(document["toolchain"]["cargo"].is_string() && document["system"].is_string(), "{document}");
    let states = document["submodules"].as_array().expect("submodules").iter().map(|row| row["state"].clone());
    assert_eq!(states.collect::<Vec<_>>(), ["right", "absent", "absent", "absent"]);
    let text = world.done(&["git", "status"]).stdout;
    for words in ["main, 1 ahead of origin/main, 1 behind", "changed   Cargo.toml", "candle-vllm  absent", "rustc "] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn branches_and_log_are_lists() {
    let world = World::new();
    world.git("work", &["branch", "mine"]);
    world.git("work", &["commit", "--quiet", "--allow-empty", "-m", "one more\n\nwith a body"]);
    let document = world.document(&["git", "branches"]);
    let branches = document["branches"].as_array().expect("branches");
    let names: Vec<_> = branches.iter().map(|branch| branch["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["main", "mine", "origin/main"]);
    assert_eq!((&branches[0]["current"], &branches[0]["distance"]), (&true.into(), &"ahead 1".into()));
    assert_eq!(branches[2]["remote"], true);
    assert!(world.done(&["git", "branches"]).stdout.contains("* main"));
    let document = world.document(&["git", "log", "--limit", "1"]);
    let commits = document["commits"].as_array().expect("commits");
    assert_eq!((commits.len(), &commits[0]["subject"]), (1, &"one more".into()));
    assert_eq!(commits[0]["parents"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.done(&["git", "log"]).stdout.lines().count(), 2);
}

#[test]
fn a_folder_without_a_repository_is_told() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("work/.git")).expect("removed");
    world.run(&["git", "status"]).assert_failed(2, &["no git repository"]);
}
