//! Killed, cut off, interrupted: what is there afterwards is whole or absent, and the next update goes on.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{World, finish};

/// Kills the command and all it started after each of these, from "hardly begun" to "done".
const MOMENTS_MS: [u64; 9] = [5, 20, 40, 60, 90, 130, 180, 250, 400];

fn kill_group(child: &std::process::Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    // It may have ended.
    let _gone = kill_process_group(pid, signal);
}

/// The command's children have groups of their own: they are found by what they work on.
fn kill_all(world: &World) {
    let marker = format!("HOME={}", world.path("").display().to_string().trim_end_matches('/'));
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_ours = environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes());
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let (true, Some(pid)) = (is_ours, pid) {
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn a_fetch_that_is_killed_at_any_moment_goes_on() {
    let world = World::with_files(1500, 4000);
    for moment in MOMENTS_MS {
        let child = world.start(&["git", "submodules", "update", "candle", "llama.cpp"]);
        std::thread::sleep(Duration::from_millis(moment));
        kill_group(&child, Signal::KILL);
        kill_all(&world);
        finish(child);
        for name in ["candle", "llama.cpp"] {
            let state = world.submodule(name);
            assert!(state["state"] == "absent" || state["state"] == "right", "{state}");
            assert_eq!(state["dirty"], false, "{state}");
        }
    }
    world.done(&["git", "submodules", "update", "candle", "llama.cpp"]);
    assert_eq!(world.submodule("candle")["state"], "right");
    assert_eq!(world.git("work/reference/candle", &["status", "--porcelain"]), "");
    assert_eq!(world.git("work/reference/candle", &["fsck", "--no-progress"]), "");
    let left: Vec<_> = std::fs::read_dir(world.path("work/reference")).expect("a folder").flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')), "{left:?}");
    assert!(!world.has("work/.git/llorch/staging"));
}

#[test]
fn what_a_killed_update_left_goes_although_all_is_right() {
    let world = World::with_files(3, 100);
    world.done(&["git", "submodules", "update", "candle"]);
    // Killed after the last renaming, before its own clearing up.
    std::fs::create_dir_all(world.path("work/.git/llorch/staging/candle-1")).expect("a folder");
    world.done(&["git", "submodules", "update", "candle"]);
    assert!(!world.has("work/.git/llorch/staging"));
}

#[test]
fn a_checkout_that_is_killed_at_any_moment_goes_on() {
    let world = World::with_files(3000, 1000);
    world.done(&["git", "submodules", "update", "candle"]);
    let commits = ["main", "main~1"].map(|name| world.git("candle.git", &["rev-parse", name]));
    for (round, moment) in MOMENTS_MS.into_iter().enumerate() {
        let commit = &commits[round % 2];
        world.git("work", &["update-index", "--cacheinfo", &format!("160000,{commit},reference/candle")]);
        let child = world.start(&["git", "submodules", "update"]);
        std::thread::sleep(Duration::from_millis(moment));
        kill_all(&world);
        finish(child);
        world.done(&["git", "submodules", "update"]);
        let state = world.submodule("candle");
        assert_eq!((&state["state"], &state["dirty"]), (&"right".into(), &false.into()), "after {moment} ms: {state}");
        assert_eq!(state["head"], commit.as_str());
    }
}

#[test]
fn locks_of_a_killed_checkout_are_taken_away_and_edits_are_kept() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    let commit = world.git("candle.git", &["rev-parse", "main"]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{commit},reference/candle")]);
    // As if killed half-way: the mark, a lock, a file of the new commit, one that somebody has edited since.
    world.write("work/.git/modules/candle/llorch-update", "checking out\n");
    world.write("work/.git/modules/candle/index.lock", "");
    world.write("work/reference/candle/version", "3\n");
    world.write("work/reference/candle/src/part1/file1.rs", "mine\n");
    let outcome = world.done(&["git", "submodules", "update"]);
    assert!(outcome.stderr.contains("kept as refs/llorch/backup/"), "{outcome:?}");
    assert_eq!(world.submodule("candle")["state"], "right");
    let backups = world.backups("work/reference/candle");
    let kept = format!("{}:src/part1/file1.rs", backups[0]);
    assert_eq!(world.git("work/reference/candle", &["show", &kept]), "mine");
}

#[test]
fn a_lock_of_somebody_else_is_left_alone() {
    let world = World::new();
    world.done(&["git", "submodules", "update", "candle"]);
    let commit = world.git("candle.git", &["rev-parse", "main"]);
    world.git("work", &["update-index", "--cacheinfo", &format!("160000,{commit},reference/candle")]);
    world.write("work/.git/modules/candle/index.lock", "");
    world.run(&["git", "submodules", "update"]).assert_failed(1, &["`candle`", "index.lock"]);
    assert!(world.has("work/.git/modules/candle/index.lock"));
}

#[test]
fn two_updates_at_once_make_one_submodule() {
    let world = World::with_files(500, 1000);
    let children: Vec<_> = (0..4).map(|_| world.start(&["git", "submodules", "update", "--all"])).collect();
    for child in children {
        let outcome = finish(child);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_eq!(world.git("work/reference/candle", &["status", "--porcelain"]), "");
}

#[test]
fn without_a_network_nothing_is_left_behind() {
    let world = World::new();
    std::fs::rename(world.path("candle.git"), world.path("gone.git")).expect("renamed");
    let outcome = world.run(&["git", "submodules", "update", "candle", "llama.cpp"]);
    outcome.assert_failed(1, &["`candle`", "check the network"]);
    // The other one came.
    assert_eq!(world.submodule("llama.cpp")["state"], "right");
    assert_eq!(world.submodule("candle")["state"], "absent");
    assert!(!world.has("work/.git/modules/candle"));
    assert_eq!(world.git("work", &["status", "--porcelain"]), "");
    // A host that refuses: at once, and asking nobody.
    let modules = world.read("work/.gitmodules");
    let url = format!("file://{}", world.text("candle.git"));
    world.write("work/.gitmodules", &modules.replace(&url, "https://127.0.0.1:1/candle"));
    let started = Instant::now();
    let outcome = world.run(&["git", "submodules", "update", "candle", "--json"]);
    outcome.assert_failed(1, &["check the network"]);
    assert_eq!(outcome.last_event()["event"], "error");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn ctrl_c_ends_it_with_130() {
    let world = World::with_files(1500, 4000);
    let mut child = world.start(&["git", "submodules", "update", "--all", "--json"]);
    // From its first step on there is something to interrupt.
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a step");
    kill_group(&child, Signal::INT);
    child.stdout = Some(reader.into_inner());
    let outcome = finish(child);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    for name in ["candle", "llama.cpp"] {
        let state = world.submodule(name)["state"].clone();
        assert!(state == "absent" || state == "right", "{state}");
    }
}
