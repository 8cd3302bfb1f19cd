//! A clone that means harm: names, addresses, folders and settings that git would run, open or follow. Each is refused by
//! name, and the canary that stands for harm is never seen.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::World;

/// Everything that reads `.gitmodules` and could act on it.
const VERBS: [&[&str]; 6] = [
    &["git", "submodules", "list"],
    &["git", "submodules", "status"],
    &["git", "submodules", "update", "--all"],
    &["git", "submodules", "reset", "candle", "--yes"],
    &["git", "submodules", "branch", "candle", "main"],
    &["git", "status"],
];

/// A world whose checkout holds a program that makes the canary.
fn world() -> World {
    let world = World::new();
    program(&world, "work/payload");
    world
}

fn program(world: &World, name: &str) {
    world.write(name, &format!("#!/bin/sh\ntouch {}\n", world.text("canary")));
    std::fs::set_permissions(world.path(name), PermissionsExt::from_mode(0o755)).expect("a program");
}

fn modules(name: &str, path: &str, url: &str) -> String {
    format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n")
}

#[test]
fn hostile_declarations_are_refused_as_a_whole() {
    let world = world();
    let good = "https://127.0.0.1:1/x";
    let canary = world.text("canary");
    let long = "x".repeat(70_000);
    let deep = format!("https://127.0.0.1:1/{}", "x/".repeat(2000));
    let many: String = (0..100).map(|number| modules(&format!("m{number}"), &format!("p{number}"), good)).collect();
    let cases: Vec<(&str, String)> = vec![
        ("address as an option", modules("x", "x", "-u./payload")),
        ("address as a long option", modules("x", "x", "--upload-pack=./payload")),
        ("a program as transport", modules("x", "x", &format!("\"ext::sh -c touch% {canary}\""))),
        ("a transport helper", modules("x", "x", "payload::x")),
        ("no host", modules("x", "x", "https:///h/x")),
        ("a host as an option", modules("x", "x", "ssh://-oProxyCommand=payload/x")),
        ("a host as an option, short", modules("x", "x", "git@-oProxyCommand=payload:x")),
        ("another machine's file", modules("x", "x", "file://host/x")),
        ("plain http", modules("x", "x", "http://127.0.0.1:1/x")),
        ("relative", modules("x", "x", "../candle.git")),
        ("a password", modules("x", "x", "https://me:secret@127.0.0.1:1/x")),
        ("an address with a line end", modules("x", "x", "\"https://127.0.0.1:1/x\\n[core]\"")),
        ("a long address", modules("x", "x", &deep)),
        ("a name that climbs", modules("../x", "x", good)),
        ("a name that climbs deep", modules("x/../../hooks", "x", good)),
        ("a name with a carriage return", modules("x\r", "x", good)),
        ("a path as an option", modules("x", "-x", good)),
        ("a path that climbs", modules("x", "../x", good)),
        ("an absolute path", modules("x", "/tmp/x", good)),
        ("a path that ends with a carriage return", modules("x", "\"x\r\"", good)),
        ("a path into git", modules("x", ".git/hooks", good)),
        ("a path into git without case", modules("x", "a/.GIT", good)),
        ("a path of a short name", modules("x", "git~1", good)),
        ("a command to update by", format!("{}\tupdate = !./payload\n", modules("x", "x", good))),
        ("a branch as an option", format!("{}\tbranch = --force\n", modules("x", "x", good))),
        ("settings of git's own", format!("{}[core]\n\tfsmonitor = ./payload\n", modules("x", "x", good))),
        ("another file", format!("{}[include]\n\tpath = ../.gitconfig\n", modules("x", "x", good))),
        ("one within another", modules("x", "x", good) + &modules("x/y", "z", good)),
        ("one folder twice", modules("x", "x", good) + &modules("y", "X", good)),
        ("too many", many),
        ("too long", format!("# {long}\n")),
        ("no text", modules("x", "x", good).replace("x\n", "\u{0}\u{1}\n")),
    ];
    assert!(cases.len() >= 20);
    for (what, text) in &cases {
        world.write("work/.gitmodules", text);
        for verb in VERBS {
            let outcome = world.run(verb);
            assert!(outcome.stderr.contains(".gitmodules"), "{what}: {verb:?}: {outcome:?}");
            // The status of the checkout is what people mend it with.
            assert_eq!(outcome.code, i32::from(verb != VERBS[5]), "{what}: {verb:?}: {outcome:?}");
            assert!(!outcome.stderr.contains("\r\n") && !world.has("canary"), "{what}: {verb:?}: {outcome:?}");
        }
    }
    assert_eq!(
        std::fs::read_dir(world.path("work/.git"))
            .expect("git")
            .flatten()
            .filter(|entry| entry.file_name() == "modules")
            .count(),
        0
    );
}

#[test]
fn paths_of_this_machine_need_a_clone_of_this_machine() {
    let world = world();
    world.git("work", &["remote", "set-url", "origin", "https://127.0.0.1:1/upstream"]);
    for verb in &VERBS[..3] {
        world.run(verb).assert_failed(1, &[".gitmodules", "path of this machine"]);
    }
}

#[test]
fn a_file_that_is_none_is_not_read() {
    let world = world();
    world.write("elsewhere", &modules("x", "x", "https://127.0.0.1:1/x"));
    std::fs::remove_file(world.path("work/.gitmodules")).expect("removed");
    symlink(world.path("elsewhere"), world.path("work/.gitmodules")).expect("a link");
    world.run(&["git", "submodules", "update", "--all"]).assert_failed(1, &["no regular file"]);
}

#[test]
fn folders_that_lead_elsewhere_are_not_entered() {
    let world = world();
    world.write("outside/kept", "1\n");
    std::fs::remove_dir_all(world.path("work/reference")).expect("removed");
    symlink(world.path("outside"), world.path("work/reference")).expect("a link");
    let outcome = world.run(&["git", "submodules", "update", "--all"]);
    outcome.assert_failed(1, &["4 submodules", "`candle`", "is not entered"]);
    assert_eq!(std::fs::read_dir(world.path("outside")).expect("a folder").count(), 1);
    // A link in the place of the submodule itself, into the repository.
    std::fs::remove_file(world.path("work/reference")).expect("removed");
    std::fs::create_dir(world.path("work/reference")).expect("a folder");
    symlink("../.git/hooks", world.path("work/reference/candle")).expect("a link");
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["is not entered"]);
    world.run(&["git", "submodules", "reset", "candle", "--yes"]).assert_failed(1, &["is not entered"]);
    // And in the place of its repository.
    std::fs::remove_file(world.path("work/reference/candle")).expect("removed");
    std::fs::create_dir(world.path("work/.git/modules")).expect("a folder");
    symlink(world.path("outside"), world.path("work/.git/modules/candle")).expect("a link");
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["is not entered"]);
    assert_eq!(std::fs::read_dir(world.path("outside")).expect("a folder").count(), 1);
}

#[test]
fn a_repository_that_lies_in_a_folder_is_not_asked() {
    let world = world();
    // One that runs a program as soon as git looks at it.
    world.git(".", &["init", "--quiet", "work/reference/candle"]);
    world.git("work/reference/candle", &["config", "core.fsmonitor", &world.text("work/payload")]);
    program(&world, "work/reference/candle/.git/hooks/post-checkout");
    for verb in VERBS {
        world.run(verb);
        assert!(!world.has("canary"), "{verb:?}");
    }
    assert_eq!(world.submodule("candle")["state"], "strange");
    // The same, as a file that points there.
    std::fs::rename(world.path("work/reference/candle/.git"), world.path("work/evil")).expect("renamed");
    world.write("work/reference/candle/.git", "gitdir: ../../evil\n");
    for verb in VERBS {
        world.run(verb);
        assert!(!world.has("canary"), "{verb:?}");
    }
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["belongs to another repository"]);
    // Files, and nothing that says whose.
    std::fs::remove_file(world.path("work/reference/candle/.git")).expect("removed");
    world.write("work/reference/candle/file", "mine\n");
    world.run(&["git", "submodules", "update", "candle"]).assert_failed(1, &["move them away"]);
    assert_eq!(world.read("work/reference/candle/file"), "mine\n");
}

#[test]
fn hooks_of_a_submodule_are_not_run() {
    let world = world();
    world.done(&["git", "submodules", "update", "candle"]);
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"] {
        program(&world, &format!("work/.git/modules/candle/hooks/{hook}"));
    }
    world.git(
        "work",
        &[
            "update-index",
            "--cacheinfo",
            &format!("160000,{},reference/candle", world.git("candle.git", &["rev-parse", "main"])),
        ],
    );
    world.done(&["git", "submodules", "update"]);
    world.done(&["git", "submodules", "branch", "candle", "metal-fixes"]);
    world.done(&["git", "submodules", "reset", "candle", "--yes"]);
    assert!(!world.has("canary"));
}

#[test]
fn every_call_of_git_is_guarded() {
    let world = World::new();
    let real = std::env::split_paths(&std::env::var_os("PATH").expect("a path"))
        .map(|folder| folder.join("git"))
        .find(|git| git.is_file());
    let real = real.expect("git is installed");
    world.write("bin/git", &format!(
        "#!/bin/sh\n{{ printf '%s\\037' \"prompt=$GIT_TERMINAL_PROMPT\" \"$@\"; echo; }} >> '{}'\nexec '{}' \"$@\"\n",
        world.text("calls"), real.display()
    ));
    std::fs::set_permissions(world.path("bin/git"), PermissionsExt::from_mode(0o755)).expect("a program");
    let path = format!("{}:{}", world.text("bin"), std::env::var("PATH").expect("a path"));
    let world = world.with("PATH", &path);
    world.done(&["git", "submodules", "update", "--all"]);
    world.done(&["git", "submodules", "branch", "candle", "metal-fixes"]);
    world.done(&["git", "submodules", "update"]);
    world.done(&["git", "pull"]);
    let calls = world.read("calls");
    let ours: Vec<&str> = calls.lines().filter(|call| call.contains("protocol.ext.allow=never")).collect();
    assert!(ours.len() > 20, "{calls}");
    for call in &ours {
        assert!(call.contains("prompt=0\u{1f}") && call.contains("protocol.file.allow=user"), "{call}");
        let asks_a_remote = ["\u{1f}fetch\u{1f}", "\u{1f}ls-remote\u{1f}"].iter().any(|verb| call.contains(verb));
        assert!(!asks_a_remote || call.contains("\u{1f}--end-of-options\u{1f}"), "{call}");
    }
}
