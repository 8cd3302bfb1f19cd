//! A disk that refuses: too small, filling up, out of inodes, read-only, failing at any call. Each time the command ends
//! with a typed code, the other models stay, no wrong byte has a final name, and later the same command succeeds.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::hub::{Hub, sha256_hex};

use crate::outside::{may_trace, mounts_of_its_own, run, shell, traced_to};
use crate::support::{Home, MODEL_BYTES, Outcome, finish, hub, model_bytes};

/// The bytes of the other model.
const OTHER: [u8; 10_000] = [7; 10_000];
/// What a page holds; the disks here have whole ones.
const PAGE_BYTES: u64 = 4096;
/// Two seconds are the promise; a busy machine, and a traced process, get more.
const CEILING: Duration = Duration::from_secs(20);

/// A home with the model `other` in its store, which may be a file system of its own.
struct Disk {
    home: Home,
    hub: Hub,
    /// Where the file system is, if there is one.
    mounted: Option<PathBuf>,
}

impl Disk {
    fn new(mount_options: Option<&str>, bytes_per_second: Option<u64>) -> Self {
        let hub = hub(bytes_per_second);
        let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
        fs::write(home.path("other.gguf"), OTHER).expect("a file");
        let catalog = crate::support::catalog();
        let (_, entry) = catalog.split_once("[[model]]").expect("an entry");
        let entry = entry
            .replace("\"tiny", "\"other")
            .replace(&format!("size_bytes = {MODEL_BYTES}"), "size_bytes = 10000")
            .replace(&sha256_hex(&model_bytes()), &sha256_hex(&OTHER));
        fs::write(home.path("catalog.toml"), format!("{catalog}\n[[model]]{entry}")).expect("a catalog");
        let store = home.model_folder().with_file_name("");
        fs::create_dir_all(&store).expect("a folder");
        let mounted = mount_options.map(|options| {
            run("mount", &["-t", "tmpfs", "-o", options, "none", store.to_str().expect("a path")]).expect("mounted");
            store
        });
        let disk = Self { home, hub, mounted };
        let imported = disk.home.run(&["models", "download", "other", "--from", "other.gguf"]);
        assert_eq!(imported.code, 0, "{imported:?}");
        disk
    }

    fn store(&self) -> PathBuf {
        self.home.model_folder().with_file_name("")
    }

    fn remount(&self, options: &str) {
        let store = self.store();
        run("mount", &["-o", &format!("remount,{options}"), store.to_str().expect("a path")]).expect("mounted anew");
    }

    /// Leaves so many pages free; removing the file frees the others again.
    fn leave_pages(&self, pages: u64) {
        let free = rustix::fs::statvfs(self.store()).expect("a disk").f_bavail;
        let ballast = vec![0; usize::try_from((free - pages) * PAGE_BYTES).expect("a small disk")];
        // A download may take the last of it meanwhile.
        let written = fs::write(self.store().join(".ballast"), ballast);
        assert!(written.is_ok() || pages == 0, "{written:?}");
    }

    fn free_pages(&self) {
        fs::remove_file(self.store().join(".ballast")).expect("removed");
    }

    fn download(&self) -> Outcome {
        let began = Instant::now();
        let outcome = self.home.run(&["models", "download", "tiny", "--json"]);
        assert!(began.elapsed() < CEILING, "{:?}", began.elapsed());
        outcome
    }

    /// It ended with this code, and the store is what it should be.
    fn assert_refused(&self, outcome: &Outcome, code: &str) {
        assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &code.into()), "{outcome:?}");
        self.assert_sound();
        assert!(!self.home.model_folder().join("tiny.gguf").exists(), "{outcome:?}");
    }

    /// The other model is listed and good, and what has a final name has the right bytes.
    fn assert_sound(&self) {
        let listed = self.home.run(&["models", "list", "--json"]);
        let models = listed.last_event()["models"].as_array().expect("models").clone();
        assert!(models.iter().any(|model| model["id"] == "other" && model["complete"] == true), "{listed:?}");
        assert!(fs::read(self.store().join("other/other.gguf")).expect("the other model") == OTHER);
        if let Ok(bytes) = fs::read(self.home.model_folder().join("tiny.gguf")) {
            assert!(bytes == model_bytes(), "wrong bytes have the final name");
        }
    }

    fn assert_succeeds(&self) {
        let outcome = self.download();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(fs::read(self.home.model_folder().join("tiny.gguf")).expect("the model") == model_bytes());
        self.assert_sound();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(store) = &self.mounted {
            // The folder below it goes with the home.
            let _ = run("umount", &["-l", store.to_str().unwrap_or_default()]);
        }
    }
}

#[test]
fn a_disk_that_is_too_small_is_found_before_the_first_byte() {
    if !mounts_of_its_own() {
        return;
    }
    let disk = Disk::new(Some("size=2m"), None);
    // One byte less than the model, to the page; and the model, but not the margin.
    for pages in [MODEL_BYTES as u64 / PAGE_BYTES, MODEL_BYTES as u64 * 105 / 100 / PAGE_BYTES] {
        disk.leave_pages(pages);
        let outcome = disk.download();
        disk.assert_refused(&outcome, "DISK_FULL");
        assert!(outcome.last_event()["hint"].to_string().contains("free some space"), "{outcome:?}");
        assert_eq!(disk.hub.body_bytes(), 0);
        disk.free_pages();
    }
    disk.assert_succeeds();
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_said_to_be_full() {
    if !mounts_of_its_own() {
        return;
    }
    let disk = Disk::new(Some("size=2m"), Some(200_000));
    let child = disk.home.start(&["models", "download", "tiny", "--json"]);
    while disk.hub.body_bytes() < 50_000 {
        std::thread::sleep(Duration::from_millis(2));
    }
    disk.leave_pages(0);
    let filled = Instant::now();
    let outcome = finish(child);
    assert!(filled.elapsed() < CEILING, "{:?}", filled.elapsed());
    disk.assert_refused(&outcome, "DISK_FULL");
    disk.free_pages();
    let before = disk.hub.body_bytes();
    disk.assert_succeeds();
    assert!(disk.hub.body_bytes() - before < MODEL_BYTES as u64, "what was here was fetched again");
}

/// None is free, then one, then two, until they are enough.
#[test]
fn a_disk_without_inodes_is_said_to_be_full() {
    if !mounts_of_its_own() {
        return;
    }
    let disk = Disk::new(Some("size=2m,nr_inodes=64"), None);
    let filler = |number: u64| disk.store().join(format!(".filler-{number}"));
    let free = rustix::fs::statvfs(disk.store()).expect("a disk").f_ffree;
    (0..free).for_each(|number| drop(fs::File::create(filler(number)).expect("an inode")));
    let mut refused = 0;
    for number in 0..free {
        let outcome = disk.download();
        if outcome.code == 0 {
            break;
        }
        disk.assert_refused(&outcome, "DISK_FULL");
        refused += 1;
        fs::remove_file(filler(number)).expect("an inode");
    }
    assert!((2..free).contains(&refused), "{refused}");
    disk.assert_succeeds();
}

#[test]
fn a_store_that_is_read_only_is_read_and_nothing_else() {
    if !mounts_of_its_own() {
        return;
    }
    let disk = Disk::new(Some("size=2m"), None);
    disk.remount("ro");
    let outcome = disk.download();
    disk.assert_refused(&outcome, "STORAGE_FAILED");
    let deleted = disk.home.run(&["models", "delete", "other", "--yes", "--json"]);
    assert_eq!((deleted.code, &deleted.last_event()["code"]), (1, &"STORAGE_FAILED".into()), "{deleted:?}");
    disk.assert_sound();
    disk.remount("rw");
    disk.assert_succeeds();
}

#[test]
fn a_file_size_limit_is_a_typed_error_and_passes() {
    let disk = Disk::new(None, None);
    let mut command =
        shell("ulimit -f 200; trap '' XFSZ; exec \"$@\"", &disk.home, &["models", "download", "tiny", "--json"]);
    let outcome = finish(command.spawn().expect("it starts"));
    disk.assert_refused(&outcome, "STORAGE_FAILED");
    let message = outcome.last_event()["message"].to_string();
    assert!(message.contains("cannot write") && message.contains("tiny.gguf.part"), "{message}");
    disk.assert_succeeds();
}

/// The n-th call of each of these names fails, for every n until there is no such call; with `+` behind the error, all from
/// then on. How often the command failed by it.
fn every_call_fails(calls: &str, error: &str, arguments: &[&str]) -> u32 {
    let disk = Disk::new(None, None);
    let log = disk.home.path("trace.log").display().to_string();
    let (error, onwards) = error.strip_suffix('+').map_or((error, ""), |error| (error, "+"));
    let is_delete = arguments[1] == "delete";
    let mut failed = 0;
    for nth in 1..=300 {
        if is_delete {
            disk.assert_succeeds();
        }
        let began = Instant::now();
        let options = format!("-e trace={calls} -e inject={calls}:error={error}:when={nth}{onwards}");
        let outcome = traced_to(&disk.home, (&options, &log), arguments);
        let words = || format!("{calls} {error} {nth}: {outcome:?}");
        assert!(began.elapsed() < CEILING, "{:?}, {}", began.elapsed(), words());
        assert!(!outcome.stderr.contains("panicked"), "{}", words());
        assert!(outcome.code == 0 || !outcome.stderr.is_empty(), "it fails without a word: {}", words());
        // Where the answer itself could be written it has a code.
        let answer = outcome.stdout.lines().last().filter(|line| line.contains("\"event\":\"error\""));
        let is_typed = |answer: &str| answer.contains("\"DISK_FULL\"") || answer.contains("\"STORAGE_FAILED\"");
        assert!(answer.is_none_or(is_typed), "{}", words());
        disk.assert_sound();
        let was_injected = fs::read_to_string(&log).expect("a log").contains("(INJECTED)");
        failed += u32::from(outcome.code != 0);
        if !is_delete {
            disk.assert_succeeds();
            assert_eq!(disk.home.run(&["models", "delete", "tiny", "--yes"]).code, 0, "{}", words());
        }
        if !was_injected {
            return failed;
        }
    }
    panic!("{calls} never come to an end");
}

#[test]
fn whichever_call_of_a_download_fails_the_store_stays_sound() {
    if !may_trace() {
        return;
    }
    for (calls, error) in [
        ("write,pwrite64", "ENOSPC"),
        ("fsync,fdatasync", "EIO"),
        ("rename,renameat,renameat2", "EDQUOT"),
        ("mkdir,mkdirat", "ENOSPC"),
        // A file system that turns read-only meanwhile.
        ("mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fchmod,fsync,pwrite64", "EROFS+"),
    ] {
        assert!(every_call_fails(calls, error, &["models", "download", "tiny", "--json"]) > 0, "{calls}");
    }
    // An interrupted call is made again, unnoticed.
    assert_eq!(every_call_fails("write,pwrite64", "EINTR", &["models", "download", "tiny", "--json"]), 0);
}

#[test]
fn whichever_file_a_download_cannot_open_the_store_stays_sound() {
    if may_trace() {
        assert!(every_call_fails("openat", "EIO", &["models", "download", "tiny", "--json"]) > 0);
    }
}

#[test]
fn whichever_call_of_an_import_fails_the_store_stays_sound() {
    if !may_trace() {
        return;
    }
    let import = ["models", "download", "tiny", "--from", "tiny.gguf", "--json"];
    for (calls, error) in
        [("write", "ENOSPC"), ("fsync,fdatasync", "EIO"), ("rename,renameat,renameat2", "EDQUOT"), ("mkdir", "ENOSPC")]
    {
        assert!(every_call_fails(calls, error, &import) > 0, "{calls}");
    }
}

#[test]
fn whichever_call_of_a_delete_fails_the_store_stays_sound() {
    if !may_trace() {
        return;
    }
    let delete = ["models", "delete", "tiny", "--yes", "--json"];
    for (calls, error) in [("rename,renameat,renameat2", "EIO"), ("unlink,unlinkat,rmdir", "EIO"), ("mkdir", "ENOSPC")]
    {
        assert!(every_call_fails(calls, error, &delete) > 0, "{calls}");
    }
}
