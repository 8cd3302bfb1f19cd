//! Downloads that are killed and downloads beside each other: whatever happens, no unverified byte has a final name, and the
//! same command succeeds afterwards. A disk that refuses is `models_disk`'s.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use testkit::hub::{Hub, Repo, sha256_hex};

use crate::outside::{may_trace, start_traced, traced};
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

/// Just before each call that names, empties or settles a file, and so just after the one before it.
#[test]
fn killed_before_any_step_on_the_disk_it_loses_no_byte() {
    if !may_trace() {
        return;
    }
    let hub = hub(None);
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let path = home.model_folder().join("tiny.gguf");
    let (mut kills, mut after_the_rename) = (0, 0);
    // `strace` counts the calls of each name.
    for call in ["rename", "fsync", "ftruncate", "fchmod", "unlink", "mkdir"] {
        for nth in 1.. {
            let options = format!("-e trace={call} -e inject={call}:signal=KILL:when={nth}");
            let is_killed = traced(&home, &options, &["models", "download", "tiny"]).code != 0;
            kills += i32::from(is_killed);
            after_the_rename += i32::from(is_killed && path.exists());
            go_on_after(&home, &hub, &format!("{call} {nth}"));
            fs::remove_dir_all(home.model_folder()).expect("removed");
            if !is_killed {
                break;
            }
        }
    }
    assert!(kills >= 15 && after_the_rename >= 3, "{kills} kills, {after_the_rename} of them after the rename");
}

/// What a killed run left is sound, and the same command ends with the model, without a byte that was here already.
fn go_on_after(home: &Home, hub: &Hub, kill: &str) {
    let path = home.model_folder().join("tiny.gguf");
    let is_named = path.exists();
    assert!(!is_named || fs::read(&path).expect("the file") == model_bytes(), "{kill}: wrong bytes are named");
    let parts = names(home, ".part");
    assert!(parts.len() <= usize::from(!is_named), "{kill}: {parts:?}");
    let left = fs::metadata(home.model_folder().join("tiny.gguf.part")).map_or(0, |part| part.len());
    let is_here = is_named || left == MODEL_BYTES as u64;
    let before = hub.body_bytes();
    let again = home.run(&["models", "download", "tiny"]);
    assert_eq!(again.code, 0, "{kill}: {again:?}");
    assert!(fs::read(&path).expect("the model") == model_bytes(), "{kill}");
    assert!(!is_here || hub.body_bytes() == before, "{kill}: what was here was fetched again");
    assert!(!names(home, "").iter().any(|name| name.contains(".part")), "{kill}: {:?}", names(home, ""));
    let verified = home.run(&["models", "verify", "tiny"]);
    assert_eq!(verified.code, 0, "{kill}: {verified:?}");
}

#[test]
fn killed_while_it_verifies_it_reads_again_and_fetches_nothing() {
    if !may_trace() {
        return;
    }
    // Above the size from which ranges come in parallel, and what was written is read back.
    let bytes = content(17 << 20);
    let (home, hub) = home(&bytes, 400 * MIB);
    let path = home.model_folder().join("tiny.gguf");
    let killed = |calls: &str, nth: usize| {
        let options = format!("-e trace={calls} -e inject={calls}:signal=KILL:when={nth}");
        let outcome = traced(&home, &options, &["models", "download", "tiny"]);
        assert_eq!(outcome.code, -9, "{outcome:?}");
        assert!(!path.exists() && names(&home, ".part").len() == 1, "{calls} {nth}: {:?}", names(&home, ""));
    };
    // The first of these comes after the last byte.
    killed("fdatasync", 1);
    let served = hub.body_bytes();
    assert!(served <= bytes.len() as u64 + MIB, "{served}");
    let last = bytes.len() / (256 * 1024);
    for nth in [2, last / 2, last] {
        killed("pread64", nth);
    }
    assert_eq!(home.run(&["models", "download", "tiny"]).code, 0);
    assert_eq!(hub.body_bytes(), served);
    assert!(fs::read(&path).expect("the model") == bytes);
}

#[test]
fn where_nothing_can_be_locked_eight_processes_still_end_with_the_right_bytes() {
    if !may_trace() {
        return;
    }
    let bytes = content(32 << 20);
    let (home, hub) = home(&bytes, 100 * MIB);
    let options = "--seccomp-bpf -e trace=flock -e inject=flock:error=ENOLCK";
    let start = || start_traced(&home, (options, "/dev/null"), &["models", "download", "tiny", "--json"]);
    let children: Vec<Child> = (0..8).map(|_| start().spawn().expect("a shell")).collect();
    let outcomes: Vec<_> = children.into_iter().map(finish).collect();
    assert!(outcomes.iter().all(|outcome| outcome.code == 0), "{outcomes:?}");
    // Nobody waited: there was nothing to wait for.
    assert!(outcomes.iter().all(|outcome| !outcome.stdout.contains("\"event\":\"waiting\"")), "{outcomes:?}");
    assert!(hub.body_bytes() <= 8 * bytes.len() as u64, "{}", hub.body_bytes());
    assert!(fs::read(home.model_folder().join("tiny.gguf")).expect("the model") == bytes);
    assert_eq!(names(&home, "").len(), 3, "{:?}", names(&home, ""));
    assert_eq!(home.run(&["models", "verify", "tiny"]).code, 0);
}
