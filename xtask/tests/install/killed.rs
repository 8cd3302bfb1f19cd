//! Killed before any call that gives or takes a name: what is in use is the old version or the new one, whole, and the next
//! command ends as if nothing had been.

use std::path::{Path, PathBuf};

use crate::outside::{may_trace, shell};
use crate::prefix::{build, files, home, installed, kept, on_prefix, version};
use crate::support::{Home, Outcome, finish};

/// By what they do; a system has some of each.
const CALLS: [&str; 4] =
    ["?rename,?renameat,?renameat2", "?symlink,?symlinkat", "?unlink,?unlinkat,?rmdir", "?mkdir,?mkdirat"];

/// A home with `one` and `two` installed and `three` built, each with a page of the manual that the others lack. The prefix
/// as it is now is kept in `before`.
fn prepared() -> Home {
    let home = home("zero");
    for version in ["one", "two"] {
        build(&home.path("built"), version, &format!("llorch-{version}.1"));
        installed(&home, &[]);
    }
    build(&home.path("built"), "three", "llorch-three.1");
    copy(&home.path("prefix"), &home.path("before"));
    home
}

/// Makes `to` the same as `from`.
fn copy(from: &Path, to: &Path) {
    let _not_the_first = std::fs::remove_dir_all(to);
    crate::outside::run("cp", &["-a", &from.display().to_string(), &to.display().to_string()]).expect("a copy");
}

/// Kills the command before the n-th of each kind of call, for every n there is, and looks at what is left; how often.
fn at_every_step(home: &Home, arguments: &[&str], look: &dyn Fn(&str)) -> usize {
    let mut kills = 0;
    for calls in CALLS {
        for nth in 1.. {
            copy(&home.path("before"), &home.path("prefix"));
            let outcome =
                killed(home, arguments, &format!("-e trace={calls} -e inject={calls}:signal=KILL:when={nth}"));
            if outcome.code == 0 {
                break;
            }
            assert_eq!(outcome.code, -9, "{outcome:?}");
            kills += 1;
            look(&format!("{calls} {nth}"));
        }
    }
    kills
}

/// The calls of this command alone count, not those of cargo and git: its children are not followed.
fn killed(home: &Home, arguments: &[&str], options: &str) -> Outcome {
    let prefix = home.path("prefix").display().to_string();
    let script = format!("exec strace -qq -E LD_LIBRARY_PATH -o /dev/null {options} -- \"$@\"");
    let mut command = shell(&script, home, &[arguments, &["--prefix", &prefix]].concat());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    finish(command.spawn().expect("a shell"))
}

/// Names below the prefix that are not those of versions, whose numbers say how often somebody tried.
fn named(prefix: &Path) -> Vec<PathBuf> {
    files(prefix).into_iter().filter(|path| !path.starts_with(prefix.join("lib/llorch/versions"))).collect()
}

#[test]
fn an_upgrade_is_the_old_version_or_the_new_one() {
    if !may_trace() {
        return;
    }
    let home = prepared();
    let prefix = home.path("prefix");
    installed(&home, &[]);
    let whole = named(&prefix);
    let seen = std::cell::RefCell::new(Vec::new());
    let kills = at_every_step(&home, &["install"], &|kill| {
        let in_use = version(&prefix).unwrap_or_else(|| panic!("{kill}: nothing is in use"));
        assert!(["two", "three"].contains(&in_use.as_str()), "{kill}: {in_use}");
        seen.borrow_mut().push(in_use);
        installed(&home, &[]);
        assert_eq!((version(&prefix).as_deref(), kept(&prefix).len()), (Some("three"), 2), "{kill}");
        assert_eq!(named(&prefix), whole, "{kill}");
        let back = on_prefix(&home, &["install", "--rollback"]);
        assert_eq!((back.code, version(&prefix).as_deref()), (0, Some("two")), "{kill}: {back:?}");
    });
    let seen = seen.into_inner();
    assert!(kills >= 15 && seen.contains(&"two".into()) && seen.contains(&"three".into()), "{kills} {seen:?}");
}

#[test]
fn a_first_install_is_nothing_or_everything() {
    if !may_trace() {
        return;
    }
    let home = home("one");
    let prefix = home.path("prefix");
    for folder in ["prefix", "before"] {
        std::fs::create_dir(home.path(folder)).expect("a folder");
    }
    let kills = at_every_step(&home, &["install"], &|kill| {
        assert!([None, Some("one")].contains(&version(&prefix).as_deref()), "{kill}");
        installed(&home, &[]);
        assert_eq!((version(&prefix).as_deref(), kept(&prefix).len()), (Some("one"), 1), "{kill}");
        assert!(!files(&prefix).iter().any(|path| path.ends_with(".llorch-new")), "{kill}");
    });
    assert!(kills >= 20, "{kills}");
}

#[test]
fn a_rollback_is_the_new_version_or_the_old_one() {
    if !may_trace() {
        return;
    }
    let home = prepared();
    let prefix = home.path("prefix");
    let kills = at_every_step(&home, &["install", "--rollback"], &|kill| {
        let in_use = version(&prefix).unwrap_or_else(|| panic!("{kill}: nothing is in use"));
        assert!(["one", "two"].contains(&in_use.as_str()), "{kill}: {in_use}");
        installed(&home, &[]);
        assert_eq!(version(&prefix).as_deref(), Some("three"), "{kill}");
        assert!(!named(&prefix).iter().any(|path| path.ends_with("llorch-one.1") || path.ends_with("llorch-two.1")));
    });
    assert!(kills >= 5, "{kills}");
}

#[test]
fn an_uninstall_goes_on() {
    if !may_trace() {
        return;
    }
    let home = prepared();
    let prefix = home.path("prefix");
    let kills = at_every_step(&home, &["uninstall", "--yes"], &|kill| {
        let is_done = !prefix.join("lib/llorch").exists();
        let again = on_prefix(&home, &["uninstall", "--yes"]);
        assert_eq!(again.code, i32::from(is_done), "{kill}: {again:?}");
        assert!(files(&prefix).is_empty(), "{kill}: {:?}", files(&prefix));
    });
    assert!(kills >= 20, "{kills}");
}
