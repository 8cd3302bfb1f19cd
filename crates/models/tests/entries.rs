//! All entries of the built-in catalog, with their true files, against a hub that has them: resolve, fetch, verify, delete.
//!
//! Most files are served smaller than they are, because nothing of them depends on their size; one has a gigabyte that is
//! nowhere, and takes the path of large files. Hashes are those of what is served.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use models::catalog::Catalog;
use models::fetch::resolve::resolve;
use models::fetch::{DownloadRequest, SourceSettings, TransferShape, download};
use models::reference::ModelReference;
use models::store::{Store, StoreError};
use models::verify::verify;
use protocol::catalog::{CatalogEntry, CatalogFile, EntrySource};
use testkit::hub::{Content, Hub, Repo};

/// The entry whose one file is served large.
const LARGE: &str = "llama2";
/// Its size: sixty-four parts of 16 MiB.
const LARGE_BYTES: u64 = 1 << 30;

/// A stand-in for a file: its size is a thousandth, and differs from file to file.
fn content(entry: &CatalogEntry, file: &CatalogFile) -> Content {
    if entry.id.as_str() == LARGE {
        return Content::zeros(LARGE_BYTES);
    }
    let size = file.size_bytes.unwrap_or(2_000_000) / 1000 + file.name.as_str().len() as u64;
    let bytes: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
    Content::from(bytes)
}

/// The entry as the catalog would have it if the stand-ins were its files.
fn with_stand_ins(entry: &CatalogEntry) -> CatalogEntry {
    let mut entry = entry.clone();
    let mut files: Vec<CatalogFile> = entry.files().to_vec();
    for file in &mut files {
        let content = content(&entry, file);
        // What the catalog leaves to the hub stays with the hub.
        file.size_bytes = file.size_bytes.map(|_| content.len());
        file.sha256 = file.sha256.map(|_| content.sha256().parse().expect("a digest"));
    }
    match &mut entry.source {
        EntrySource::File(file) => *file = files.remove(0),
        EntrySource::Convert { files: checkpoint, .. } => *checkpoint = files,
    }
    // The hub is there.
    entry.mirrors.clear();
    entry
}

fn hub(catalog: &Catalog) -> Hub {
    let mut repos: BTreeMap<String, Repo> = BTreeMap::new();
    for entry in catalog.entries() {
        let name = entry.repo.as_str();
        let mut repo = repos.remove(name).unwrap_or_else(|| Repo::new(name, entry.revision.as_str()));
        for file in entry.files() {
            let content = content(entry, file);
            let is_large = [".gguf", ".safetensors"].iter().any(|ending| file.name.as_str().ends_with(ending));
            repo = match is_large {
                true => repo.huge(file.name.as_str(), content),
                false => repo.small(file.name.as_str(), content.to_vec()),
            };
        }
        repos.insert(name.to_owned(), repo);
    }
    repos.into_values().fold(Hub::builder(), |hub, repo| hub.repo(repo)).start()
}

#[test]
fn every_entry_resolves_fetches_verifies_and_deletes() {
    let catalog = Catalog::built_in().expect("the catalog");
    assert_eq!(catalog.entries().len(), 11);
    let hub = hub(&catalog);
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("models")).expect("a store");
    let endpoint = hub.endpoint();
    let lookup = |name: &str| (name == "HF_ENDPOINT").then(|| endpoint.clone().into());
    let mut sources = SourceSettings::resolve(&lookup, folder.path()).expect("settings");
    sources.shape = TransferShape { connections: 4, range_bytes: 16 << 20 };
    let never = AtomicBool::new(false);
    for known in catalog.entries() {
        let id = &known.id;
        for name in std::iter::once(id).chain(&known.aliases) {
            let resolved = resolve(&ModelReference::Name(name.to_string()), &catalog, &sources, &never);
            assert_eq!(resolved.expect("resolved").entry, *known);
        }
        let entry = with_stand_ins(known);
        let request = DownloadRequest { entry: &entry, store: &store, sources: &sources, force: false };
        let installed = download(&request, &mut |_| {}, &never).unwrap_or_else(|error| panic!("{id}: {error}"));
        let names: Vec<&str> = installed.manifest.files.iter().map(|file| file.path.as_str()).collect();
        let expected: Vec<&str> = known.files().iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, expected, "{id}");
        assert!(installed.satisfies(&entry) && verify(&installed).is_good(), "{id}");
        store.delete(id).expect("deleted");
        assert!(matches!(store.require(id), Err(StoreError::NotInstalled { .. })), "{id}");
    }
    // Nothing of one model goes with another whose name begins alike.
    let usage = store.disk_usage().expect("usage");
    assert!(usage.models.is_empty(), "{usage:?}");
}

#[test]
fn deleting_one_leaves_the_one_whose_name_begins_alike() {
    let catalog = Catalog::built_in().expect("the catalog");
    let hub = hub(&catalog);
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("models")).expect("a store");
    let endpoint = hub.endpoint();
    let lookup = |name: &str| (name == "HF_ENDPOINT").then(|| endpoint.clone().into());
    let sources = SourceSettings::resolve(&lookup, folder.path()).expect("settings");
    let install = |name: &str| {
        let entry = with_stand_ins(catalog.find(name).expect("an entry"));
        let request = DownloadRequest { entry: &entry, store: &store, sources: &sources, force: false };
        download(&request, &mut |_| {}, &AtomicBool::new(false)).expect("installed")
    };
    let (qwen, fp16) = (install("qwen"), install("qwen-fp16"));
    store.delete(&qwen.manifest.id).expect("deleted");
    assert!(verify(&fp16).is_good());
}
