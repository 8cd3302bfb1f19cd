//! Archives: the same bytes each time, checked by the tools of their readers, and of use where they are unpacked.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::prefix::{PROGRAMS, TEXTS, build, builds, files, home, names};
use crate::support::{Home, Outcome, finish};

const SUMS: &str = "SHA256SUMS";

/// Packs what cargo has into a folder of the home.
fn dist(home: &Home, into: &str, more: &[&str]) -> Outcome {
    let into = home.path(into).display().to_string();
    // The machine may have a compiler for devices, too.
    let backend: &[&str] = if more.contains(&"--backend") { &[] } else { &["--backend", "cpu"] };
    home.run_in_checkout(&[&["dist", "--into", &into], backend, more].concat())
}

fn packed(home: &Home, into: &str, more: &[&str]) -> Outcome {
    let outcome = dist(home, into, more);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

/// What an archive in a folder of the home is called, and what is beside it, but for the ending.
fn name(home: &Home, into: &str) -> String {
    let names = names(&home.path(into));
    let name = names.iter().find_map(|name| name.strip_suffix(".tar.gz")).expect("an archive").to_owned();
    assert_eq!(names, [SUMS.to_owned(), format!("{name}.cdx.json"), format!("{name}.tar.gz")]);
    name
}

/// Another program, in a folder of the home.
fn run_in(home: &Home, folder: &Path, program: &Path, arguments: &[&str]) -> Outcome {
    let mut command = home.prepared(program, arguments);
    finish(command.current_dir(folder).spawn().expect("it starts"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// The archives of the home's folders are the same, byte for byte.
fn assert_same(home: &Home, one: &str, other: &str) {
    assert_eq!(names(&home.path(one)), names(&home.path(other)));
    for name in names(&home.path(one)) {
        let read = |folder: &str| std::fs::read(home.path(folder).join(&name)).expect("a file");
        assert!(read(one) == read(other), "{name} differs");
    }
}

#[test]
fn an_archive_is_the_same_each_time_and_works_where_it_is_unpacked() {
    let home = home("one");
    // The command is the real one, as it was built for these tests.
    std::fs::remove_file(home.path("built/xtask")).expect("a file");
    std::fs::copy(env!("CARGO_BIN_EXE_xtask"), home.path("built/xtask")).expect("a copy");
    let outcome = packed(&home, "first", &["--backend", "cpu", "--json"]);
    let version = env!("CARGO_PKG_VERSION");
    let debug = if cfg!(debug_assertions) { "-debug" } else { "" };
    let archive = &name(&home, "first");
    assert!(archive.starts_with(&format!("llorch-{version}-")) && archive.ends_with(&format!("-cpu{debug}")));
    let done = outcome.last_event();
    assert_eq!((&done["event"], done["files"].as_array().map(Vec::len)), (&"done".into(), Some(3)), "{done}");

    // Later, by somebody with another umask, over what is there.
    std::fs::create_dir(home.path("second")).expect("a folder");
    let into = home.path("second").display().to_string();
    let script = "umask 077; exec \"$@\"";
    let words = ["-c", script, "sh", env!("CARGO_BIN_EXE_xtask"), "dist", "--backend", "cpu", "--into", &into];
    let again = run_in(&home, Path::new(env!("CARGO_MANIFEST_DIR")), Path::new("/bin/sh"), &words);
    assert_eq!(again.code, 0, "{again:?}");
    assert_same(&home, "first", "second");

    let sums = run_in(&home, &home.path("first"), Path::new("sha256sum"), &["--check", "--strict", SUMS]);
    assert_eq!((sums.code, sums.stdout.matches(": OK").count()), (0, 2), "{sums:?}");
    let path = home.path("first").join(format!("{archive}.tar.gz")).display().to_string();
    let unpacked = run_in(&home, &home.path(""), Path::new("tar"), &["-xzf", &path]);
    assert_eq!(unpacked.code, 0, "{unpacked:?}");
    let folder = home.path(archive);
    let said = run_in(&home, Path::new("/"), &folder.join("bin/llorch"), &["--version"]);
    assert!(said.code == 0 && said.stdout.starts_with(&format!("llorch {version}")), "{said:?}");

    let manifest = json(&folder.join("manifest.json"));
    let listed = manifest["files"].as_array().expect("files");
    assert_eq!(listed.len() + 1, files(&folder).len());
    for file in listed {
        let data = folder.join(file["path"].as_str().expect("a path")).metadata().expect("a file");
        assert_eq!(file["size_bytes"], data.len(), "{file}");
    }
    let names: Vec<&str> = listed.iter().filter_map(|file| file["path"].as_str()).collect();
    let programs = PROGRAMS.map(|name| format!("bin/{name}"));
    let beside = ["LICENSE", "README.md", "share/llorch/catalog.toml"];
    for wanted in programs.iter().map(String::as_str).chain(TEXTS).chain(beside) {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
    assert_eq!(manifest["stamps"].as_array().map(Vec::len), Some(PROGRAMS.len()));
}

#[test]
fn the_bill_of_materials_lists_what_is_linked_and_nothing_else() {
    let home = home("one");
    packed(&home, "into", &[]);
    let bill = json(&home.path("into").join(name(&home, "into") + ".cdx.json"));
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().expect("components");
    let names: Vec<&str> = components.iter().filter_map(|component| component["name"].as_str()).collect();
    for linked in ["candle-core", "tokenizers", "tokio", "ring", "tar", "worker", "xtask"] {
        assert!(names.contains(&linked), "{linked} is missing");
    }
    // Of tests, of build scripts, of the compiler, of another system.
    for other in ["testkit", "cc", "serde_derive", "windows-sys"] {
        assert!(!names.contains(&other), "{other} is listed");
    }
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.lock"));
    let lock = lock.expect("a lock");
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let Some(hash) = component["hashes"][0]["content"].as_str() else { continue };
        assert!(lock.contains(&format!("checksum = \"{hash}\"")), "{component}");
    }
    let without = components.iter().filter(|component| component["hashes"].is_null());
    let ours = without.filter_map(|component| component["name"].as_str()).collect::<Vec<_>>();
    let expected = [
        "architectures",
        "convert",
        "engine",
        "gguf",
        "launcher",
        "models",
        "pool",
        "protocol",
        "text",
        "worker",
        "xtask",
    ];
    assert_eq!(ours, expected);
}

#[test]
fn the_moment_is_the_commits_or_what_the_environment_says() {
    let home = home("one");
    packed(&home, "commits", &[]);
    let home = home.with("SOURCE_DATE_EPOCH", "86400");
    packed(&home, "said", &[]);
    let archive = home.path("said").join(name(&home, "said") + ".tar.gz").display().to_string();
    let listed = run_in(&home, &home.path(""), Path::new("tar"), &["--utc", "-tvzf", &archive]);
    assert!(listed.stdout.lines().all(|line| line.contains(" 1970-01-02 00:00 ")), "{listed:?}");
    let read =
        |folder: &str| std::fs::read(home.path(folder).join(name(&home, folder) + ".tar.gz")).expect("an archive");
    assert_ne!(read("commits"), read("said"));
    let home = home.with("SOURCE_DATE_EPOCH", "yesterday");
    let refused = dist(&home, "none", &[]);
    assert!(refused.code == 2 && refused.stderr.contains("hint: unset SOURCE_DATE_EPOCH"), "{refused:?}");
}

#[test]
fn a_plan_touches_nothing() {
    let home = home("one");
    let outcome = packed(&home, "into", &["--dry-run"]);
    assert_eq!((builds(&home), home.path("into").exists()), (0, false));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.contains(" build --locked --release ")).count(), PROGRAMS.len());
    assert!(lines.last().is_some_and(|line| line.starts_with("pack cpu into ")), "{lines:?}");
}

#[test]
fn two_runs_into_one_folder_take_turns() {
    let home = home("one");
    packed(&home, "alone", &[]);
    std::fs::create_dir_all(home.path("into/.llorch-dist")).expect("a folder");
    let other = std::fs::File::create(home.path("into/.llorch-dist/lock")).expect("a file");
    other.lock().expect("the lock");
    let into = home.path("into").display().to_string();
    let mut waiting = home.start_in_checkout(&["dist", "--into", &into, "--backend", "cpu"]);
    let mut said = BufReader::new(waiting.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("waiting for another run of dist")));
    assert!(!home.path("into").join(SUMS).exists() && waiting.try_wait().expect("a child").is_none());
    drop(other);
    // Read to its end, that the child is not held up.
    let rest: Vec<String> = said.collect();
    assert!(waiting.wait().expect("a child").success(), "{rest:?}");
    assert_same(&home, "into", "alone");
}

#[test]
fn what_fails_leaves_the_archives_of_before() {
    let home = home("one");
    packed(&home, "into", &[]);
    packed(&home, "before", &[]);
    // A program that does not compile, one that does not run, a folder that cannot be had, a backend there is not.
    std::fs::write(home.path("built/broken"), "").expect("a file");
    let broken = dist(&home, "into", &[]);
    assert!(broken.code == 1 && broken.stderr.contains("hint: "), "{broken:?}");
    std::fs::remove_file(home.path("built/broken")).expect("a file");
    std::fs::write(home.path("built/xtask"), "#!/bin/sh\nexit 3\n").expect("a script");
    assert_eq!(dist(&home, "into", &[]).code, 1);
    build(&home.path("built"), "one", "");
    let none = dist(&home, "into", &["--backend", "metal"]);
    assert!(none.code == 1 && none.stderr.contains("`metal`") && none.stderr.contains("hint: "), "{none:?}");
    std::fs::write(home.path("file"), "").expect("a file");
    let taken = dist(&home, "file", &[]);
    assert!(taken.code == 1 && taken.stderr.contains("`--into PATH`"), "{taken:?}");
    assert_same(&home, "into", "before");
    // And one that works replaces them; what a killed run left is gone.
    std::fs::create_dir(home.path("into/.llorch-dist")).expect("a folder");
    build(&home.path("built"), "two", "llorch-more.1");
    packed(&home, "into", &[]);
    assert_eq!(names(&home.path("into")), names(&home.path("before")));
    let mode = home.path("into").join(SUMS).metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
}
