//! Care of the store: what may be pruned, and holding a machine to a lock.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use models::catalog::Catalog;
use models::fetch::{DownloadRequest, SourceSettings, download};
use models::lock::{Difference, Lock};
use models::store::Store;
use models::store::prune::PrunableKind;
use protocol::identifiers::ModelId;
use testkit::hub::sha256_hex;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn catalog(ids: &[&str]) -> Catalog {
    let entry = |id: &&str| {
        format!(
            "[[model]]\nid = \"{id}\"\nrepo = \"org/{id}\"\nrevision = \"{}\"\nlicense = \"MIT\"\ngated = false\n\
             architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\nfile = \"{id}.gguf\"\nsha256 = \"{}\"\n",
            "0".repeat(40),
            sha256_hex(id.as_bytes()),
        )
    };
    let text = format!("schema = 1\n{}", ids.iter().map(entry).collect::<String>());
    Catalog::parse(&text, "test.toml").expect("a catalog")
}

fn store(folder: &Path, ids: &[&str]) -> Store {
    let store = Store::open(folder.join("models")).expect("a store");
    for entry in catalog(ids).entries() {
        let source = folder.join("source");
        fs::write(&source, entry.id.as_str()).expect("a file");
        let mut sources = SourceSettings::resolve(&|_| None, folder).expect("settings");
        sources.local = Some(source);
        let request = DownloadRequest { entry, store: &store, sources: &sources, force: false };
        download(&request, &mut |_| {}, &AtomicBool::new(false)).expect("installed");
    }
    store
}

fn id(text: &str) -> ModelId {
    text.parse().expect("an id")
}

fn prunable(store: &Store, known: &[&str], in_use: &[&str], now: SystemTime) -> Vec<String> {
    let in_use: Vec<ModelId> = in_use.iter().map(|text| id(text)).collect();
    let found = store.prunable(&catalog(known), &in_use, now).expect("a list");
    found.iter().map(|item| format!("{} {}", item.id, item.kind.reason())).collect()
}

#[test]
fn nothing_known_used_or_young_is_pruned() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), &["known", "used", "free", "free-too"]);
    fs::create_dir(store.root().join("begun")).expect("a folder");
    fs::write(store.root().join("begun/begun.gguf.part"), vec![1; 5000]).expect("a file");
    fs::write(store.root().join("known/known.gguf.part"), vec![1; 5000]).expect("a file");
    let (now, later) = (SystemTime::now(), SystemTime::now() + DAY + DAY);
    assert!(prunable(&store, &["known"], &["used"], now).is_empty(), "all is young");
    let expected = [
        "begun unfinished for a day",
        "free not in the catalog",
        "free-too not in the catalog",
        "known a partial file, untouched for a day",
    ];
    assert_eq!(prunable(&store, &["known"], &["used"], later), expected);
    // Somebody fetches it at this moment.
    let claim = File::open(store.root().join(".locks/free")).expect("a lock");
    claim.lock().expect("locked");
    assert_eq!(prunable(&store, &["known"], &["used"], later).len(), 3);
    drop(claim);

    let items = store.prunable(&catalog(&["known"]), &[id("used")], later).expect("a list");
    for item in items {
        assert!(store.prune(&item).expect("pruned") > 0, "{item:?}");
    }
    let left: Vec<String> =
        store.list().expect("a list").models.iter().map(|model| model.manifest.id.to_string()).collect();
    assert_eq!(left, ["known", "used"]);
    assert!(!store.root().join("known/known.gguf.part").exists() && !store.root().join("begun").exists());
    assert!(prunable(&store, &["known"], &["used"], later).is_empty());
}

#[test]
fn what_was_finished_since_the_list_was_made_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), &["one"]);
    let item = models::store::prune::Prunable { id: id("one"), kind: PrunableKind::Unfinished, size_bytes: 1 };
    assert_eq!(store.prune(&item).expect("left alone"), 0);
    assert!(store.get(&id("one")).expect("readable").is_some());
}

#[test]
fn bad_entries_do_not_stand_in_the_way_and_thousands_are_listed_quickly() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), &["good"]);
    let bad = |name: &str, manifest: Option<&[u8]>| {
        fs::create_dir(store.root().join(name)).expect("a folder");
        if let Some(bytes) = manifest {
            fs::write(store.root().join(name).join("manifest.json"), bytes).expect("a manifest");
        }
    };
    bad("empty", Some(b""));
    bad("garbage", Some(&[0xff; 100]));
    bad("future", Some(b"{\"schema\":99}"));
    fs::create_dir_all(store.root().join("folder/manifest.json")).expect("a folder");
    std::os::unix::fs::symlink("/nowhere", store.root().join("dangling")).expect("a link");
    std::os::unix::fs::symlink("loop", store.root().join("loop")).expect("a link");
    fs::write(store.root().join("file"), "x").expect("a file");
    let listing = store.list().expect("a list");
    assert_eq!(listing.models.len(), 1);
    assert_eq!(listing.faulty.len(), 7, "{:?}", listing.faulty);
    assert!(listing.faulty.iter().all(|faulty| !faulty.hint.is_empty()));
    assert!(prunable(&store, &["good"], &[], SystemTime::now() + DAY + DAY).is_empty());

    let manifest = fs::read_to_string(store.root().join("good/manifest.json")).expect("a manifest");
    for index in 0..2000 {
        bad(&format!("m{index}"), Some(manifest.replace("\"good\"", &format!("\"m{index}\"")).as_bytes()));
    }
    let began = std::time::Instant::now();
    assert_eq!(store.list().expect("a list").models.len(), 2001);
    // Ten thousand in 300 ms is the promise of a release build; this is a ceiling against anything quadratic.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_machine_is_held_to_the_bytes_of_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let never = AtomicBool::new(false);
    let one = store(folder.path(), &["a", "b"]);
    let path = folder.path().join("models.lock");
    Lock::of(&one).expect("a lock").write(&path).expect("written");
    let lock = Lock::read(&path).expect("a lock");
    assert_eq!(lock, Lock::of(&one).expect("a lock"));
    let first = fs::read(&path).expect("text");
    lock.write(&path).expect("written");
    assert_eq!(fs::read(&path).expect("text"), first, "the same models make the same text");
    assert!(lock.differences(&one, &never).expect("compared").is_empty());

    let elsewhere = tempfile::tempdir().expect("a folder");
    let other = store(elsewhere.path(), &["a", "c"]);
    assert_eq!(lock.differences(&other, &never).expect("compared"), [Difference::Missing { id: id("b") }]);
    let text = String::from_utf8(first).expect("text");
    let changed = |from: &str, to: &str| {
        fs::write(&path, text.replace(from, to)).expect("written");
        Lock::read(&path).map(|lock| lock.differences(&one, &never).expect("compared"))
    };
    let zeros = "0".repeat(40);
    let commit = changed(&zeros, &"1".repeat(40)).expect("a lock");
    assert!(matches!(commit[..], [Difference::Commit { .. }, Difference::Commit { .. }]), "{commit:?}");
    let bytes = changed(&sha256_hex(b"a"), &sha256_hex(b"z")).expect("a lock");
    assert!(matches!(bytes[..], [Difference::File { actual: Some(_), .. }]), "{bytes:?}");
    assert!(matches!(changed("llorch-convert ", "other ").expect("a lock")[..], [Difference::Converter { .. }]));
    for (from, to) in
        [("schema = 1", "schema = 2"), ("a.gguf", "../a.gguf"), ("[[model]]", "[[modle]]"), ("sha256", "sha")]
    {
        assert!(changed(from, to).is_err(), "{to}");
    }

    fs::write(&path, &text).expect("written");
    let weights = one.require(&id("a")).expect("installed").model_file();
    fs::remove_file(&weights).expect("removed");
    fs::write(&weights, "z").expect("written");
    let damaged = lock.differences(&one, &never).expect("compared");
    assert!(matches!(damaged[..], [Difference::Damaged { .. }]), "{damaged:?}");
}
