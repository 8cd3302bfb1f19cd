//! Checking installed bytes: every kind of damage is found, by `verify` and before a load; nothing good is accused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use models::catalog::Catalog;
use models::fetch::{DownloadRequest, FetchError, SourceSettings, download};
use models::store::{Installed, Store, StoreError};
use models::verify::{Fault, VerifyError, discard_faulty, open_model, verify, verify_with};
use testkit::hub::sha256_hex;

const SIZE: usize = 20_000;

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    installed: Installed,
}

/// A checkpoint of two files, imported.
fn bench() -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("a folder");
    let weights: Vec<u8> = (0..SIZE).map(|index| (index * 7 % 251) as u8).collect();
    fs::write(source.join("model.safetensors"), &weights).expect("a file");
    fs::write(source.join("config.json"), "{}").expect("a file");
    let store = Store::open(folder.path().join("models")).expect("a store");
    let installed = import(folder.path(), &store).expect("installed");
    Bench { folder, store, installed }
}

fn import(folder: &Path, store: &Store) -> Result<Installed, FetchError> {
    let weights: Vec<u8> = (0..SIZE).map(|index| (index * 7 % 251) as u8).collect();
    let text = format!(
        "schema = 1\n[[model]]\nid = \"tiny\"\nrepo = \"org/tiny\"\nrevision = \"{}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\n\
         convert = {{ from = \"safetensors\", outtype = \"f32\" }}\n\
         files = [{{ name = \"config.json\", size_bytes = 2, sha256 = \"{}\" }}, \
         {{ name = \"model.safetensors\", size_bytes = {SIZE}, sha256 = \"{}\" }}]\n",
        "0".repeat(40),
        sha256_hex(b"{}"),
        sha256_hex(&weights),
    );
    let catalog = Catalog::parse(&text, "test.toml").expect("a catalog");
    let mut sources = SourceSettings::resolve(&|_| None, folder).expect("settings");
    sources.local = Some(folder.join("source"));
    let request = DownloadRequest { entry: &catalog.entries()[0], store, sources: &sources, force: false };
    download(&request, &mut |_| {}, &AtomicBool::new(false))
}

/// Changes a file the way a careless program would.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("permissions");
    fs::write(path, bytes).expect("written");
}

fn load(installed: &Installed) -> Result<fs::File, VerifyError> {
    open_model(installed, &AtomicBool::new(false))
}

#[test]
fn flipped_bits_and_changed_lengths_are_found_by_verify_and_by_a_load() {
    let bench = bench();
    let path = bench.installed.model_file();
    let good = fs::read(&path).expect("the weights");
    for round in 0..50_usize {
        assert!(verify(&bench.installed).is_good(), "round {round}: a false alarm");
        load(&bench.installed).expect("a good model loads");
        let (at, bit) = (round * 9973 % SIZE, 1_u8 << (round % 8));
        match round % 5 {
            0 => damage(&path, |bytes| bytes.truncate(SIZE - 1)),
            1 => damage(&path, |bytes| bytes.push(0)),
            _ => damage(&path, |bytes| bytes[at] ^= bit),
        }
        // The load first: it must not trust what was true before.
        assert!(matches!(load(&bench.installed), Err(VerifyError::Damaged { .. })), "round {round}: loaded");
        let report = verify(&bench.installed);
        let found = matches!(report.faults.as_slice(), [Fault::Content { .. } | Fault::Size { .. }]);
        assert!(found, "round {round}: {report:?}");
        damage(&path, |bytes| bytes.clone_from(&good));
    }
}

#[test]
fn missing_foreign_and_odd_files_are_named() {
    let bench = bench();
    let weights = bench.installed.model_file();
    let config = bench.installed.directory.join("config.json");
    fs::write(bench.installed.directory.join("stray.txt"), "x").expect("a file");
    // What downloads leave: unfinished, wrong, and killed while a file of ours was replaced.
    for left in ["other.gguf.part", "other.gguf.part.json", "other.gguf.quarantine", ".verified.json.0123abcd"] {
        fs::write(bench.installed.directory.join(left), "x").expect("a file");
    }
    assert_eq!(verify(&bench.installed).faults, [Fault::Extra { path: PathBuf::from("stray.txt") }]);
    fs::remove_file(&config).expect("removed");
    fs::rename(&weights, bench.folder.path().join("elsewhere")).expect("moved");
    symlink(bench.folder.path().join("elsewhere"), &weights).expect("a link");
    let faults = verify(&bench.installed).faults;
    assert!(
        matches!(&faults[..], [Fault::Missing { .. }, Fault::Unreadable { .. }, Fault::Extra { .. }]),
        "{faults:?}"
    );
    assert!(load(&bench.installed).is_err(), "a link was opened");
}

#[test]
fn a_repair_fetches_only_what_is_wrong() {
    let bench = bench();
    let weights = bench.installed.model_file();
    let config = bench.installed.directory.join("config.json");
    let before = fs::metadata(&config).expect("metadata").modified().expect("a time");
    damage(&weights, |bytes| bytes[5] ^= 1);
    let report = verify(&bench.installed);
    assert_eq!(report.hashed_bytes, 2);
    discard_faulty(&bench.store, &bench.installed, &report).expect("discarded");
    assert!(!weights.exists());
    assert!(matches!(bench.store.require(&bench.installed.manifest.id), Err(StoreError::NotInstalled { .. })));
    let repaired = import(bench.folder.path(), &bench.store).expect("repaired");
    assert!(verify(&repaired).is_good());
    assert_eq!(
        fs::metadata(&config).expect("metadata").modified().expect("a time"),
        before,
        "the good file was replaced"
    );
}

#[test]
fn an_untouched_model_is_not_hashed_again_and_a_check_can_be_stopped() {
    let bench = bench();
    // With the flag set, hashing would stop at the first block: not being stopped means that nothing was hashed.
    let stop = AtomicBool::new(true);
    assert!(open_model(&bench.installed, &stop).is_ok());
    assert!(matches!(verify_with(&bench.installed, &mut |_| {}, &stop), Err(VerifyError::Interrupted)));
    fs::remove_file(bench.installed.directory.join("verified.json")).expect("removed");
    assert!(matches!(open_model(&bench.installed, &stop), Err(VerifyError::Interrupted)));
    assert!(load(&bench.installed).is_ok());
    assert!(open_model(&bench.installed, &stop).is_ok());
    // A mark file that is garbage costs a hash, nothing else.
    fs::write(bench.installed.directory.join("verified.json"), "garbage").expect("written");
    assert!(load(&bench.installed).is_ok());
}
