//! Downloads that are killed, downloads beside each other, and a disk that refuses: whatever happens, no unverified byte has
//! a final name, and the same command succeeds afterwards.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::hub::{Hub, Repo, sha256_hex};

use crate::support::{COMMIT, Home, MODEL_BYTES, finish, hub, model_bytes};

const MIB: u64 = 1 << 20;

fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A home whose `tiny` is `bytes`, and a hub that serves it at `rate` bytes a second over all connections.
fn home(bytes: &[u8], rate: u64) -> (Home, Hub) {
    let repo = Repo::new("org/tiny", COMMIT).large("tiny.gguf", bytes);
    let hub = Hub::builder().repo(repo).total_bytes_per_second(rate).start();
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let catalog = crate::support::catalog()
        .replace(&format!("size_bytes = {MODEL_BYTES}"), &format!("size_bytes = {}", bytes.len()))
        .replace(&sha256_hex(&model_bytes()), &sha256_hex(bytes));
    fs::write(home.path("catalog.toml"), catalog).expect("a catalog");
    (home, hub)
}

/// Files of the model's folder, by ending.
fn names(home: &Home, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(home.model_folder()).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(ending)).collect()
}

fn kill(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("gone");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_twenty_times_it_loses_little_and_ends_with_the_right_bytes() {
    let bytes = content(64 << 20);
    let (home, hub) = home(&bytes, 60 * MIB);
    let path = home.model_folder().join("tiny.gguf");
    let mut kills = 0;
    for round in 1..=20_u64 {
        let mut child = home.start(&["models", "download", "tiny"]);
        // Seeded, and never at the same place of a part.
        let goal = hub.body_bytes() + MIB + (round * 7919 * 1009) % (3 * MIB);
        wait_until("the next bytes", || hub.body_bytes() >= goal || child.try_wait().expect("a status").is_some());
        if child.try_wait().expect("a status").is_some() {
            break;
        }
        kill(child);
        kills += 1;
        assert!(!path.exists(), "an unverified file has its final name");
        assert!(names(&home, ".part").len() <= 1);
    }
    assert!(kills > 8, "{kills}");
    let outcome = home.run(&["models", "download", "tiny"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(fs::read(&path).expect("the model") == bytes);
    let wasted = hub.body_bytes() - bytes.len() as u64;
    // 4 MiB a kill is the promise. On a busy machine the hub runs ahead into the sockets of a client that does not get to
    // read, and that counts as served.
    assert!(wasted <= kills * 8 * MIB, "{wasted} bytes in {kills} kills");
    assert!(names(&home, ".part").is_empty() && names(&home, ".json").len() == 2, "{:?}", names(&home, ""));
}

#[test]
fn eight_processes_fetch_one_file_once() {
    let bytes = content(32 << 20);
    let (home, hub) = home(&bytes, 10 * MIB);
    let children: Vec<Child> = (0..8).map(|_| home.start(&["models", "download", "tiny", "--json"])).collect();
    let outcomes: Vec<_> = children.into_iter().map(finish).collect();
    assert!(outcomes.iter().all(|outcome| outcome.code == 0), "{outcomes:?}");
    let waited = outcomes.iter().filter(|outcome| outcome.stdout.contains("\"event\":\"waiting\"")).count();
    assert_eq!(waited, 7);
    assert!(hub.body_bytes() <= bytes.len() as u64 * 105 / 100, "{}", hub.body_bytes());
    assert!(fs::read(home.model_folder().join("tiny.gguf")).expect("the model") == bytes);
}

#[test]
fn when_the_one_that_fetches_is_killed_another_goes_on() {
    let bytes = content(32 << 20);
    let (home, hub) = home(&bytes, 10 * MIB);
    let leader = home.start(&["models", "download", "tiny"]);
    wait_until("a beginning", || hub.body_bytes() > MIB);
    let others: Vec<Child> = (0..3).map(|_| home.start(&["models", "download", "tiny"])).collect();
    wait_until("half of it", || hub.body_bytes() > bytes.len() as u64 / 2);
    kill(leader);
    let before = hub.body_bytes();
    let killed_at = Instant::now();
    wait_until("more bytes", || hub.body_bytes() > before + 2 * MIB);
    // A second is the promise; a busy machine gets more.
    assert!(killed_at.elapsed() < Duration::from_secs(5), "{:?}", killed_at.elapsed());
    let outcomes: Vec<_> = others.into_iter().map(finish).collect();
    assert!(outcomes.iter().all(|outcome| outcome.code == 0), "{outcomes:?}");
    assert!(hub.body_bytes() <= bytes.len() as u64 + 4 * MIB, "{} of {}", hub.body_bytes(), bytes.len());
    assert!(fs::read(home.model_folder().join("tiny.gguf")).expect("the model") == bytes);
}

#[test]
fn a_file_size_limit_is_a_typed_error_and_passes() {
    let bytes = content(40 << 20);
    let (home, _hub) = home(&bytes, 200 * MIB);
    let mut command =
        shell("ulimit -f 20000; trap '' XFSZ; exec \"$@\"", &home, &["models", "download", "tiny", "--json"]);
    let outcome = finish(command.spawn().expect("it starts"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let message = outcome.last_event()["message"].to_string();
    assert!(message.contains("cannot write") && message.contains("tiny.gguf.part"), "{message}");
    assert!(!home.model_folder().join("tiny.gguf").exists());
    assert_eq!(home.run(&["models", "download", "tiny"]).code, 0);
    assert!(fs::read(home.model_folder().join("tiny.gguf")).expect("the model") == bytes);
}

/// The command, started by a shell that does something first.
fn shell(script: &str, home: &Home, arguments: &[&str]) -> Command {
    let mut command =
        home.prepared(Path::new("/bin/sh"), &[&["-c", script, "sh", &home.program()], arguments].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// The n-th call of each kind fails, for every n until the command succeeds.
#[test]
fn whichever_call_to_the_system_fails_the_store_stays_sound() {
    let home = Home::new();
    let traced = |inject: &str, home: &Home, arguments: &[&str]| {
        let script = format!(
            "exec strace -f -qq -o /dev/null -e trace={} -e inject={inject} -- \"$@\"",
            inject.split(':').next().unwrap_or_default()
        );
        finish(shell(&script, home, arguments).spawn().expect("a shell"))
    };
    // Without an executable there is no program: if that works, so does everything else.
    if traced("execve:error=ENOENT:when=2+", &home, &["models", "list"]).code != 0 {
        eprintln!("skipped: `strace` is not here, or may not trace");
        return;
    }
    let hub = hub(None);
    let home = home.with("HF_ENDPOINT", &hub.endpoint());
    let path = home.model_folder().join("tiny.gguf");
    for (calls, error) in [
        ("write,pwrite64", "ENOSPC"),
        ("fsync,fdatasync", "EIO"),
        ("rename,renameat,renameat2", "EDQUOT"),
        ("mkdir,mkdirat", "ENOSPC"),
        ("write,pwrite64", "EINTR"),
    ] {
        let mut failed = 0;
        for nth in 1..=30 {
            let began = Instant::now();
            let outcome = traced(&format!("{calls}:error={error}:when={nth}"), &home, &["models", "download", "tiny"]);
            assert!(began.elapsed() < Duration::from_secs(30), "{calls} {nth}: {:?}", began.elapsed());
            assert!(!outcome.stderr.contains("panicked"), "{calls} {nth}: {outcome:?}");
            if let Ok(bytes) = fs::read(&path) {
                assert!(bytes == model_bytes(), "{calls} {nth}: wrong bytes have the final name");
            }
            assert_eq!(home.run(&["models", "list"]).code, 0, "{calls} {nth}");
            failed += i32::from(outcome.code != 0);
            assert!(outcome.code == 0 || !outcome.stderr.is_empty(), "{calls} {nth}: it fails without a word");
            let again = home.run(&["models", "download", "tiny"]);
            assert_eq!(again.code, 0, "{calls} {nth}: {again:?}");
            assert_eq!(home.run(&["models", "verify"]).code, 0, "{calls} {nth}");
            assert_eq!(home.run(&["models", "delete", "tiny", "--yes"]).code, 0, "{calls} {nth}");
        }
        // An interrupted call is made again, unnoticed.
        assert_eq!(failed > 0, error != "EINTR", "{calls} {error}: {failed} failed");
    }
}
