//! Homes and prefixes as they are found in the world.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::prefix::{builds, files, home, in_checkout, installed, on_prefix, run, version};

/// A user who owns nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_home_with_spaces_and_quotes() {
    let home = home("one");
    let odd = home.path("it's \"a\" $HOME");
    std::fs::create_dir(&odd).expect("a folder");
    let home = home.with("HOME", &odd.display().to_string());
    let outcome = run(in_checkout(&home, &["install"]));
    assert_eq!((outcome.code, version(&odd.join(".local")).as_deref()), (0, Some("one")), "{outcome:?}");
    // The line it says to put into the profile is one that a shell takes.
    let line = outcome.stderr.lines().find_map(|line| Some(line.split_once("`export ")?.1.split_once("` in")?.0));
    let script = format!("{}; llorch --version --json", line.map(|line| format!("export {line}")).expect("a line"));
    let said = run(home.prepared(Path::new("/bin/sh"), &["-c", &script]));
    assert!(said.stdout.contains("\"commit\":\"one\""), "{script}: {said:?}");
    // The doctor's is the same.
    let program = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let doctor = run(home.prepared(program, &["dev", "doctor", "--json"])).last_event();
    let mend = doctor["checks"].as_array().and_then(|checks| checks.iter().find(|check| check["name"] == "path"));
    let mend = mend.and_then(|check| check["hint"].as_str()).expect("a line").to_owned();
    assert_eq!(line.map(|line| format!("export {line}")), Some(mend));
    assert_eq!(home.run(&["uninstall", "--yes"]).code, 0);
    assert!(files(&odd).is_empty());
}

#[test]
fn a_rehearsal_refuses_what_the_install_would_and_names_all_it_would_do() {
    let home = home("one");
    let prefix = home.path("prefix");
    let rehearse = || crate::prefix::install(&home, &["--dry-run"]);
    let plan = rehearse().stdout;
    for step in ["bin/llorch\n", "share/zsh/site-functions/_llorch\n", "share/man/man1/llorch-dev-doctor.1\n"] {
        assert!(plan.contains(&format!("install {}/{step}", prefix.display())), "{plan}");
    }
    let last = format!("switch {}/lib/llorch to version 1\n", prefix.display());
    assert!(plan.ends_with(&last) && !prefix.exists(), "{plan}");
    installed(&home, &[]);
    let plan = rehearse().stdout;
    assert!(plan.ends_with("from version 1 to version 2, unless nothing has changed\n"), "{plan}");
    let page = prefix.join("share/man/man1/llorch-dev.1");
    std::fs::write(&page, "theirs").expect("a file");
    let refused = rehearse();
    assert!(refused.code == 1 && refused.stderr.contains("llorch-dev.1"), "{refused:?}");
    std::fs::remove_dir_all(&prefix).expect("a folder");
    std::fs::write(&prefix, "a file").expect("a file");
    let refused = rehearse();
    assert!(refused.code == 1 && refused.stderr.contains("/prefix` is no folder"), "{refused:?}");
    assert!(!refused.stderr.contains("sudo"), "{refused:?}");
}

#[test]
fn what_the_path_means_is_said() {
    let home = home("one");
    let bin = home.path("prefix/bin").display().to_string();
    assert!(installed(&home, &[]).stderr.contains("is not on your PATH"));
    let usual = std::env::var("PATH").expect("a path");
    let home = home.with("PATH", &format!("{bin}:{usual}"));
    assert!(!installed(&home, &[]).stderr.contains("PATH"));
    // `installed` of this home lies in `bin`.
    home.run(&["--version"]);
    let first = home.path("bin").display().to_string();
    let home = home.with("PATH", &format!("{first}:{bin}:{usual}"));
    assert!(installed(&home, &[]).stderr.contains("comes first on your PATH"));
}

#[test]
fn a_place_that_cannot_be_written_to_is_refused_before_the_build() {
    let home = home("one");
    let prefix = home.path("prefix");
    std::fs::write(&prefix, "a file").expect("a file");
    let refuse = |code: i32, words: &str, command| {
        let outcome = run(command);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stderr.contains(words) && outcome.stderr.contains("--prefix PATH"), "{outcome:?}");
        assert_eq!(builds(&home), 0);
    };
    let into = |prefix: &Path| in_checkout(&home, &["install", "--prefix", &prefix.display().to_string()]);
    refuse(1, "is no folder", into(&prefix));
    let mut homeless = in_checkout(&home, &["install"]);
    homeless.env_remove("HOME");
    refuse(2, "`HOME`", homeless);
    // To root, no folder is closed by its mode alone.
    std::fs::remove_file(&prefix).expect("a file");
    std::fs::create_dir(&prefix).expect("a folder");
    std::fs::set_permissions(&prefix, std::fs::Permissions::from_mode(0o555)).expect("a mode");
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut closed = into(&prefix);
    if is_root() {
        closed.uid(NOBODY);
    }
    refuse(1, "cannot write", closed);
}

#[test]
fn sudo_does_not_put_roots_files_into_a_users_home() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let home = home("one");
    chown(home.path(""), Some(NOBODY), None).expect("an owner");
    let of = |user: &str| {
        let mut command = in_checkout(&home, &["install"]);
        command.env("SUDO_UID", user);
        run(command)
    };
    let refused = of("65534");
    assert!(refused.code == 2 && refused.stderr.contains("leave out `sudo`"), "{refused:?}");
    assert!(!home.path(".local").exists());
    // Root's own choice of a home is root's.
    assert_eq!(of("0").code, 0);

    // Nor from the program there, whatever `sudo` takes for a home; what is there may go.
    let program = home.path(".local/lib/llorch/versions/1/bin/llorch");
    std::fs::remove_file(&program).expect("a program");
    std::fs::copy(env!("CARGO_BIN_EXE_xtask"), &program).expect("a copy");
    chown(home.path(".local"), Some(NOBODY), None).expect("an owner");
    std::fs::create_dir(home.path("roots")).expect("a folder");
    let from_there = |words: &[&str]| {
        let mut command = home.prepared(&home.path(".local/bin/llorch"), words);
        command.env("SUDO_UID", "65534").env("HOME", home.path("roots"));
        run(command)
    };
    let refused = from_there(&["install", "--rollback"]);
    assert!(refused.code == 2 && refused.stderr.contains("leave out `sudo`"), "{refused:?}");
    let removed = from_there(&["uninstall", "--yes"]);
    assert_eq!((removed.code, home.path(".local/bin/llorch").exists()), (0, false), "{removed:?}");
}

#[test]
fn a_bin_that_is_a_link_to_elsewhere() {
    let home = home("one");
    std::fs::create_dir_all(home.path("dotfiles/deep/bin")).expect("a folder");
    std::fs::create_dir(home.path("prefix")).expect("a folder");
    symlink(home.path("dotfiles/deep/bin"), home.path("prefix/bin")).expect("a link");
    installed(&home, &[]);
    assert_eq!(version(&home.path("prefix")).as_deref(), Some("one"));
    assert_eq!(on_prefix(&home, &["uninstall", "--yes"]).code, 0);
    assert!(files(&home.path("dotfiles")).is_empty() && home.path("prefix/bin").is_dir());
}

#[test]
fn a_prefix_can_be_moved_and_read_by_everybody() {
    let home = home("one");
    let script = "umask 077; exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_xtask");
    let prefix = home.path("prefix");
    let mut command = home.prepared(Path::new("/bin/sh"), &["-c", script, "sh", program, "install", "--prefix"]);
    command.arg(&prefix).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(run(command).code, 0);
    for file in files(&prefix.join("lib/llorch/versions")) {
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o044, 0o044, "{}: {mode:o}", file.display());
    }
    std::fs::rename(&prefix, home.path("moved")).expect("a new name");
    assert_eq!(version(&home.path("moved")).as_deref(), Some("one"));
}
