//! Models of the store: nothing is loaded that is not, byte for byte, what was installed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use models::catalog::Catalog;
use models::fetch::{DownloadRequest, SourceSettings, download};
use models::store::Store;
use rustix::process::Signal;
use testkit::hub::sha256_hex;

use crate::sandbox::{Sandbox, number, signal, text};

/// Large enough that hashing it is not over at once where a test interrupts that.
const LARGE_BYTES: usize = 256 << 20;

fn install(sandbox: &Sandbox, bytes: &[u8]) -> PathBuf {
    let source = sandbox.path("source.gguf");
    std::fs::write(&source, bytes).expect("a file");
    let entry = format!(
        "schema = 1\n[[model]]\nid = \"tiny\"\nrepo = \"org/tiny\"\nrevision = \"{}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\nfile = \"tiny.gguf\"\nsize_bytes = {}\n\
         sha256 = \"{}\"\n",
        "0".repeat(40),
        bytes.len(),
        sha256_hex(bytes),
    );
    let catalog = Catalog::parse(&entry, "test.toml").expect("a catalog");
    let store = Store::open(sandbox.path("data").join("models")).expect("a store");
    let mut sources = SourceSettings::resolve(&|_| None, &sandbox.path("")).expect("settings");
    sources.local = Some(source);
    let request = DownloadRequest { entry: &catalog.entries()[0], store: &store, sources: &sources, force: false };
    download(&request, &mut |_| {}, &AtomicBool::new(false)).expect("installed").model_file()
}

/// One bit of one byte, size and name unchanged.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[1_000] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    std::fs::write(path, bytes).expect("written");
}

const SPAWN: [&str; 6] = ["--json", "worker", "spawn", "cpu", "--model", "tiny"];

#[test]
fn a_flipped_bit_is_refused_before_any_process_starts() {
    let sandbox = Sandbox::new();
    let bytes = vec![7; 20_000];
    let path = install(&sandbox, &bytes);
    flip(&path);
    let done = sandbox.run(&SPAWN);
    let error = done.assert_error("MODEL_INVALID");
    let mut changed = bytes.clone();
    changed[1_000] ^= 1;
    let expected = format!("expected sha256:{}, got sha256:{}", sha256_hex(&bytes), sha256_hex(&changed));
    assert!(text(&error["message"]).contains(&expected), "{error}");
    let hint = text(&error["hint"]);
    assert!(hint.contains("`cargo xtask models verify tiny`"), "{hint}");
    assert!(hint.contains("`cargo xtask models download tiny --force`"), "{hint}");
    assert_eq!(done.events.len(), 1, "{}", done.stdout);
    assert!(sandbox.list(&["--all"]).is_empty(), "a worker was recorded");
    assert!(sandbox.running().is_empty());
    assert!(!sandbox.state_dir().join("logs").exists(), "a log was begun");
}

#[test]
fn a_file_that_is_gone_or_shorter_is_refused() {
    let sandbox = Sandbox::new();
    let path = install(&sandbox, &[7; 2_000]);
    std::fs::remove_file(&path).expect("removed");
    let missing = sandbox.run(&SPAWN);
    assert!(text(&missing.assert_error("MODEL_INVALID")["message"]).contains("`tiny.gguf` is missing"));
    std::fs::write(&path, [7; 1_999]).expect("a file");
    let shorter = sandbox.run(&SPAWN);
    let message = text(&shorter.assert_error("MODEL_INVALID")["message"]).to_owned();
    assert!(message.contains("expected 2000 bytes, got 1999"), "{message}");
}

#[test]
fn a_good_model_is_loaded_and_its_digest_goes_with_it() {
    let sandbox = Sandbox::new();
    let bytes = [7; 2_000];
    let path = install(&sandbox, &bytes);
    let done = sandbox.run(&SPAWN);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let arguments = std::fs::read(format!("/proc/{}/cmdline", number(&done.last()["pid"]))).expect("a process");
    let arguments: Vec<&str> =
        arguments.split(|byte| *byte == 0).map(|part| std::str::from_utf8(part).expect("text")).collect();
    let after = |flag: &str| arguments[arguments.iter().position(|part| *part == flag).expect(flag) + 1].to_owned();
    let digest = format!("sha256:{}", sha256_hex(&bytes));
    assert_eq!(after("--model-digest"), digest);
    assert_eq!((after("--model"), after("--model-id")), (path.display().to_string(), String::from("tiny")));
    assert_eq!(text(&sandbox.list(&[])[0]["model_digest"]), digest);
}

#[test]
fn a_file_by_path_is_taken_as_it_is() {
    let sandbox = Sandbox::new();
    let path = install(&sandbox, &[7; 2_000]);
    flip(&path);
    let model = path.display().to_string();
    let done = sandbox.run(&sandbox.spawn_arguments(&model, &[]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(sandbox.list(&[])[0]["model_digest"].is_null());
}

#[test]
fn a_check_can_be_interrupted() {
    let sandbox = Sandbox::new();
    let path = install(&sandbox, &vec![7; LARGE_BYTES]);
    // Forgets that it was checked.
    std::fs::remove_file(path.with_file_name("verified.json")).expect("removed");
    let spawning = sandbox.start(&SPAWN, Stdio::null());
    // Caught from the moment the handler is there; SIGCGT is the mask of caught signals.
    crate::sandbox::wait_until("SIGINT is caught", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", spawning.child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    });
    signal(spawning.child.id(), Signal::INT);
    let (code, events) = spawning.finish();
    // Whether it was still hashing or just done, nothing is left.
    assert_eq!((code, text(&events.last().expect("an event")["code"])), (Some(130), "CANCELLED"));
    assert!(sandbox.running().is_empty());
}
