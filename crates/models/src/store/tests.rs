//! The store: good and bad folders side by side, deletion that touches one model only.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use protocol::identifiers::{Digest, ModelId};

use super::manifest::{Authority, Manifest, ManifestFault, ManifestFile, ModelKind, SourceKind};
use super::{Store, StoreError};

fn id(text: &str) -> ModelId {
    text.parse().expect("a model id")
}

fn manifest(name: &str) -> Manifest {
    Manifest {
        schema: 1,
        id: id(name),
        repo: "org/name".parse().expect("a repository"),
        revision: "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit"),
        kind: ModelKind::Gguf,
        source: SourceKind::Hub,
        files: vec![ManifestFile {
            path: "model.gguf".parse().expect("a file name"),
            size_bytes: 5,
            sha256: Digest::from_bytes([7; 32]),
            checked_against: Authority::Catalog,
            chunks: None,
        }],
        completed_at_ms: 1,
    }
}

fn install(root: &Path, name: &str) {
    let directory = root.join(name);
    fs::create_dir_all(&directory).expect("a folder");
    fs::write(directory.join("model.gguf"), "bytes").expect("a file");
    manifest(name).write(&directory).expect("a manifest");
}

#[test]
fn bad_folders_are_reported_beside_the_good_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    install(root, "good");
    install(root, "also-good");
    for (name, text) in
        [("empty", ""), ("garbage", "{"), ("foreign", "{\"schema\": 99}"), ("path", "{\"schema\":1,\"id\":\"../x\"}")]
    {
        fs::create_dir(root.join(name)).expect("a folder");
        fs::write(root.join(name).join("manifest.json"), text).expect("a manifest");
    }
    install(root, "renamed");
    fs::rename(root.join("renamed"), root.join("other-name")).expect("a rename");
    fs::create_dir_all(root.join("folder/manifest.json")).expect("a folder");
    symlink("/nowhere", root.join("dangling")).expect("a link");
    symlink(root.join("loop"), root.join("loop")).expect("a link");
    symlink(root.join("good"), root.join("linked")).expect("a link");
    fs::write(root.join("stray"), "file").expect("a file");
    fs::create_dir(root.join("bad name")).expect("a folder");
    fs::create_dir(root.join("begun")).expect("a folder");
    fs::write(root.join("begun/model.gguf.part"), "by").expect("a file");

    let listing = Store::open(root).expect("a store").list().expect("a listing");
    let names: Vec<&str> = listing.models.iter().map(|model| model.manifest.id.as_str()).collect();
    assert_eq!(names, ["also-good", "good"]);
    let begun: Vec<&str> = listing.incomplete.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(begun, ["begun"]);
    let faulty: Vec<String> = listing
        .faulty
        .iter()
        .map(|entry| entry.path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    let expected = [
        "bad name",
        "dangling",
        "empty",
        "folder",
        "foreign",
        "garbage",
        "linked",
        "loop",
        "other-name",
        "path",
        "stray",
    ];
    assert_eq!(faulty, expected);
    assert!(listing.faulty.iter().all(|entry| !entry.hint.is_empty()));
}

#[test]
fn ten_thousand_entries_are_listed_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for index in 0..10_000 {
        fs::create_dir(folder.path().join(format!("m{index}"))).expect("a folder");
    }
    install(folder.path(), "good");
    let store = Store::open(folder.path()).expect("a store");
    let began = std::time::Instant::now();
    let listing = store.list().expect("a listing");
    // The promise is 300 ms; an unoptimised build on a busy machine gets ten times that.
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((listing.models.len(), listing.incomplete.len()), (1, 10_000));
}

#[test]
fn a_store_that_is_not_there_is_empty_and_stays_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("models");
    let store = Store::open(&root).expect("a store");
    assert!(store.list().expect("a listing").models.is_empty());
    assert_eq!(store.get(&id("qwen")).expect("an answer"), None);
    assert!(store.disk_usage().expect("figures").free_bytes > 0);
    assert!(!root.exists());
    fs::write(&root, "a file").expect("a file");
    assert!(Store::open(&root).is_err());
}

#[test]
fn delete_touches_one_model_and_follows_no_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("models");
    install(&root, "qwen");
    install(&root, "qwen-fp16");
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("precious"), "data").expect("a file");
    symlink(&outside, root.join("qwen/link")).expect("a link");
    symlink(&outside, root.join("linked")).expect("a link");
    let mut read_only = fs::metadata(root.join("qwen/model.gguf")).expect("metadata").permissions();
    read_only.set_readonly(true);
    fs::set_permissions(root.join("qwen/model.gguf"), read_only).expect("permissions");

    let store = Store::open(&root).expect("a store");
    assert!(store.delete(&id("qwen")).expect("deleted") > 0);
    assert_eq!(store.delete(&id("linked")).expect("deleted"), 0);
    assert!(!root.join("qwen").exists() && !root.join("linked").exists());
    assert_eq!(fs::read(outside.join("precious")).expect("untouched"), b"data");
    assert!(store.get(&id("qwen-fp16")).expect("readable").is_some());
    assert!(matches!(store.delete(&id("qwen")), Err(StoreError::NotInstalled { .. })));
    let left: Vec<_> = fs::read_dir(root.join(".deleted")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn delete_waits_for_no_one() {
    let folder = tempfile::tempdir().expect("a folder");
    install(folder.path(), "qwen");
    let store = Store::open(folder.path()).expect("a store");
    let claim = store.try_claim(&id("qwen")).expect("a lock").expect("free");
    assert!(store.try_claim(&id("qwen")).expect("a lock").is_none());
    assert!(matches!(store.delete(&id("qwen")), Err(StoreError::Busy { .. })));
    drop(claim);
    assert!(store.delete(&id("qwen")).is_ok());
}

#[test]
fn a_manifest_without_files_or_of_another_model_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("one");
    fs::create_dir(&directory).expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    Manifest { files: Vec::new(), ..manifest("one") }.write(&directory).expect("written");
    assert!(matches!(store.get(&id("one")), Err(StoreError::Manifest { fault: ManifestFault::Invalid(_), .. })));
    manifest("two").write(&directory).expect("written");
    assert!(matches!(store.get(&id("one")), Err(StoreError::Manifest { fault: ManifestFault::Foreign { .. }, .. })));
    manifest("one").write(&directory).expect("written");
    assert_eq!(store.require(&id("one")).expect("usable").size_bytes(), 5);
}

#[test]
fn a_conversion_stands_first_and_goes_with_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("gpt2");
    fs::create_dir_all(&directory).expect("a folder");
    let checkpoint = Manifest { kind: ModelKind::Checkpoint, ..manifest("gpt2") };
    checkpoint.write(&directory).expect("a manifest");
    let store = Store::open(folder.path()).expect("a store");
    let installed = store.require(&id("gpt2")).expect("installed");
    assert!(!installed.is_gguf());

    let conversion = store.convert(&installed, "q8_0").expect("the right to convert");
    assert!(matches!(store.convert(&installed, "f16"), Err(StoreError::Busy { .. })), "one at a time");
    assert!(matches!(store.delete(&id("gpt2")), Err(StoreError::Busy { .. })));
    assert_eq!(conversion.output(), directory.join("gpt2-q8_0.gguf"));
    fs::write(conversion.output(), "converted").expect("a file");
    assert!(conversion.finish(8, Digest::from_bytes([8; 32])).is_err(), "another size than was written");

    let conversion = store.convert(&installed, "q8_0").expect("the right to convert");
    let converted = conversion.finish(9, Digest::from_bytes([8; 32])).expect("on record");
    assert_eq!(converted, store.require(&id("gpt2")).expect("installed"));
    assert!(converted.is_gguf() && converted.model_file().ends_with("gpt2-q8_0.gguf"));
    assert_eq!(converted.manifest.fetched().count(), 1);

    let again = checkpoint.clone().with_conversions_of(&converted.manifest);
    assert_eq!(again.files, converted.manifest.files, "the same checkpoint keeps what was made of it");
    let mut other = checkpoint;
    other.files[0].sha256 = Digest::from_bytes([9; 32]);
    assert_eq!(other.with_conversions_of(&converted.manifest).converted().count(), 0);
    install(folder.path(), "plain");
    let plain = store.require(&id("plain")).expect("installed");
    assert!(matches!(store.convert(&plain, "q8_0"), Err(StoreError::NotACheckpoint { .. })));
}
