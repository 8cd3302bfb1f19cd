//! One version after another, and back.

use crate::prefix::{
    TEXTS, build, builds, files, home, in_checkout, install, installed, kept, names, on_prefix, run, version,
};
use crate::support::finish;

#[test]
fn install_upgrade_rollback_uninstall() {
    let home = home("one");
    let prefix = home.path("prefix");
    std::fs::create_dir_all(prefix.join("bin")).expect("a folder");
    std::fs::create_dir_all(prefix.join("share/man/man1")).expect("a folder");
    for other in ["bin/theirs", "share/man/man1/theirs.1"] {
        std::fs::write(prefix.join(other), "theirs").expect("a file");
    }
    let config = home.path(".config/llorch/config.toml");
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    std::fs::write(&config, "# mine\n").expect("a file");

    let done = installed(&home, &["--json"]).last_event();
    assert_eq!(
        (&done["event"], &done["version"], done["files"].as_array().map(Vec::len)),
        (&"done".into(), &1.into(), Some(4))
    );
    assert_eq!((version(&prefix).as_deref(), kept(&prefix)), (Some("one"), vec![1]));

    // Again, nothing has changed: what is kept to go back to is not lost to a copy.
    build(&home.path("built"), "two", "llorch-gone.1");
    assert_eq!(installed(&home, &["--json"]).last_event()["previous"], 1);
    assert_eq!((version(&prefix).as_deref(), kept(&prefix)), (Some("two"), vec![1, 2]));
    assert!(prefix.join("share/man/man1/llorch-gone.1").exists());
    let words = format!("install --rollback --prefix {}` goes back", prefix.display());
    let said = installed(&home, &[]).stderr;
    assert!(said.contains(&words), "{said}");
    assert_eq!(kept(&prefix), [1, 2]);

    let rolled_back = on_prefix(&home, &["install", "--rollback"]);
    assert_eq!((rolled_back.code, version(&prefix).as_deref()), (0, Some("one")), "{rolled_back:?}");
    // A name of the version that is not in use any more.
    assert!(prefix.join("share/man/man1/llorch-gone.1").symlink_metadata().is_err());
    let nothing = on_prefix(&home, &["install", "--rollback"]);
    assert!(nothing.code == 1 && nothing.stderr.contains("nothing to go back to"), "{nothing:?}");
    assert!(nothing.stderr.contains(&format!("llorch install --prefix {}", prefix.display())), "{nothing:?}");

    build(&home.path("built"), "three", "");
    installed(&home, &[]);
    assert_eq!((version(&prefix).as_deref(), kept(&prefix)), (Some("three"), vec![1, 3]));

    let asked = on_prefix(&home, &["uninstall"]);
    assert!(asked.code == 2 && asked.stderr.contains("--yes"), "{asked:?}");
    let plan = on_prefix(&home, &["uninstall", "--dry-run"]);
    assert!(plan.code == 0 && version(&prefix).is_some(), "{plan:?}");
    let size_bytes: u64 =
        files(&prefix.join("lib")).iter().map(|file| file.symlink_metadata().expect("a file").len()).sum();
    let done = on_prefix(&home, &["uninstall", "--yes", "--json"]);
    assert_eq!((done.code, done.last_event()["removed"].as_array().map(Vec::len)), (0, Some(8)), "{done:?}");
    // The lock is made anew, and empty.
    assert_eq!(done.last_event()["freed_bytes"], size_bytes);
    assert_eq!(files(&prefix), [prefix.join("bin/theirs"), prefix.join("share/man/man1/theirs.1")]);
    // What others count on stays, though nothing is left in it.
    assert!(["bin", "lib", "share/man", "share/zsh"].iter().all(|name| prefix.join(name).is_dir()));
    assert!(!prefix.join("share/zsh/site-functions").exists() && !prefix.join("lib/llorch").exists());
    assert_eq!(std::fs::read_to_string(config).expect("it stays"), "# mine\n");
    assert_eq!(on_prefix(&home, &["uninstall", "--yes"]).code, 1);
}

#[test]
fn models_and_configuration_go_when_told_to() {
    let home = home("one").with_model();
    installed(&home, &[]);
    let config = home.path(".config/llorch/config.toml");
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    std::fs::write(&config, "").expect("a file");
    std::fs::write(home.path(".config/theirs"), "").expect("a file");
    assert_eq!(on_prefix(&home, &["uninstall", "--yes"]).code, 0);
    assert!(config.exists() && home.model_folder().exists());
    let done = on_prefix(&home, &["uninstall", "--models", "--config", "--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!config.exists() && !home.model_folder().exists() && home.path(".config/theirs").exists());
}

#[test]
fn a_build_that_fails_leaves_what_is_installed() {
    let home = home("one");
    installed(&home, &[]);
    let before = files(&home.path("prefix"));
    build(&home.path("built"), "two", "");
    std::fs::write(home.path("built/broken"), "").expect("a file");
    assert_eq!(install(&home, &[]).code, 1);
    assert_eq!((version(&home.path("prefix")).as_deref(), files(&home.path("prefix"))), (Some("one"), before));
}

#[test]
fn what_was_not_installed_this_way_is_neither_replaced_nor_removed() {
    let home = home("one");
    let (prefix, program) = (home.path("prefix"), home.path("prefix/bin/llorch-pool"));
    std::fs::create_dir_all(prefix.join("bin")).expect("a folder");
    std::fs::write(&program, "theirs").expect("a file");
    let refused = install(&home, &[]);
    assert!(
        refused.code == 1 && refused.stderr.contains("llorch-pool") && refused.stderr.contains("--force"),
        "{refused:?}"
    );
    assert_eq!((builds(&home), files(&prefix)), (0, vec![program.clone()]), "it was refused before the build");
    installed(&home, &["--force"]);
    assert_eq!(version(&prefix).as_deref(), Some("one"));
    // What somebody put in the place of a link is theirs again.
    std::fs::remove_file(&program).expect("a link");
    std::fs::write(&program, "theirs").expect("a file");
    std::os::unix::fs::symlink("/bin/sh", prefix.join("bin/llorch-x")).expect("a link");
    assert_eq!(on_prefix(&home, &["uninstall", "--yes"]).code, 0);
    assert_eq!(files(&prefix), [program, prefix.join("bin/llorch-x")]);
}

#[test]
fn installs_at_once_take_turns() {
    let home = home("one");
    let prefix = home.path("prefix").display().to_string();
    let versions = ["a", "b", "c"];
    for version in versions {
        build(&home.path(version), version, "");
    }
    let start = |version: &str| {
        let mut command = in_checkout(&home, &["install", "--prefix", &prefix]);
        command.env("CARGO", home.path(version).join("cargo")).spawn().expect("it starts")
    };
    for outcome in versions.map(start).map(finish) {
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let last = version(&home.path("prefix")).expect("a whole set");
    assert!(versions.contains(&last.as_str()));
    assert_eq!(kept(&home.path("prefix")), [2, 3]);
}

#[test]
fn what_is_damaged_is_installed_again() {
    let home = home("one");
    let prefix = home.path("prefix");
    // Reached through a link, as some homes are.
    std::fs::create_dir(home.path("real")).expect("a folder");
    std::os::unix::fs::symlink("real", &prefix).expect("a link");
    let damage: [&dyn Fn(); 5] = [
        &|| std::fs::remove_dir_all(prefix.join("lib/llorch")).expect("a folder"),
        &|| std::fs::write(prefix.join("lib/llorch/versions/1/manifest.json"), "{").expect("a file"),
        &|| std::fs::remove_dir_all(prefix.join("lib/llorch/versions")).expect("a folder"),
        &|| std::fs::remove_file(prefix.join("bin/llorch")).expect("a link"),
        &|| std::fs::remove_file(prefix.join("lib/llorch/current")).expect("a link"),
    ];
    for break_it in damage {
        installed(&home, &[]);
        break_it();
        installed(&home, &[]);
        assert_eq!(version(&prefix).as_deref(), Some("one"));
        assert!(TEXTS.iter().all(|name| prefix.join(name).is_file()));
        for name in names(&prefix) {
            std::fs::remove_dir_all(prefix.join(name)).expect("a folder");
        }
    }
    // A link that leads to what is no version is named.
    installed(&home, &[]);
    let link = prefix.join("lib/llorch/current");
    std::fs::remove_file(&link).expect("a link");
    std::os::unix::fs::symlink("../../../etc", &link).expect("a link");
    let refused = run(in_checkout(&home, &["install", "--prefix", &prefix.display().to_string()]));
    assert!(refused.code == 1 && refused.stderr.contains("no version"), "{refused:?}");
    assert_eq!(on_prefix(&home, &["uninstall", "--yes"]).code, 0);
    assert!(files(&prefix).is_empty());
}
