//! References beside the catalog's names, against the hub, its cache and paths.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

use models::catalog::Catalog;
use models::fetch::FetchError;
use models::fetch::resolve::{ResolveError, Resolved, resolve};
use models::reference::ModelReference;
use protocol::catalog::EntrySource;
use testkit::hub::{Fault, Hub, On, Repo, sha256_hex};

use crate::support::{Bench, COMMIT, FILE, SIZE, content, entry_text, pinned_entry};

fn ask(bench: &Bench, reference: &str) -> Result<Resolved, ResolveError> {
    let catalog = Catalog::parse(&entry_text(&format!("file = \"{FILE}\""), ""), "test.toml").expect("a catalog");
    let reference: ModelReference = reference.parse().expect("a reference");
    resolve(&reference, &catalog, &bench.settings, &AtomicBool::new(false))
}

/// A hub with the catalog's repository and another one.
fn bench() -> Bench {
    let bytes = content(SIZE);
    let other = Repo::new("org/other", COMMIT)
        .large("one.gguf", bytes.as_slice())
        .large("sub/two.gguf", content(1000))
        .small("README.md", "hello")
        .revision("refs/pr/1");
    let single = Repo::new("org/single", COMMIT).large("Only.Q8_0.gguf", bytes.as_slice()).small("config.json", "{}");
    let none = Repo::new("org/none", COMMIT).small("config.json", "{}");
    let hub = Hub::builder().repo(crate::support::repo(&bytes)).repo(other).repo(single).repo(none);
    Bench::with(hub, pinned_entry(&bytes, ""))
}

#[test]
fn what_the_catalog_knows_is_the_catalogs() {
    let bench = bench();
    for reference in ["tiny", "hf:org/tiny", "hf:org/tiny::model.gguf", &format!("hf:org/tiny@{COMMIT}")] {
        assert_eq!(ask(&bench, reference).expect(reference).entry.id.as_str(), "tiny");
    }
    assert!(bench.hub.requests().is_empty());
    let unknown = ask(&bench, "tinny").expect_err("no such name");
    assert!(matches!(&unknown, ResolveError::Unknown(unknown) if unknown.suggestions == ["tiny"]), "{unknown}");
}

#[test]
fn a_file_of_the_hub_is_pinned_before_it_is_fetched() {
    let mut bench = bench();
    let resolved = ask(&bench, "hf:org/single").expect("the only one");
    let EntrySource::File(file) = &resolved.entry.source else { panic!("{resolved:?}") };
    assert_eq!((file.name.as_str(), file.size_bytes), ("Only.Q8_0.gguf", Some(SIZE as u64)));
    assert_eq!(file.sha256.expect("a hash").hex(), sha256_hex(&bench.bytes));
    assert_eq!(resolved.entry.revision.as_str(), COMMIT);
    assert!(resolved.entry.id.as_str().starts_with("only.q8_0-"), "{}", resolved.entry.id);
    // The same id, whoever asks and whenever.
    assert_eq!(ask(&bench, "hf:org/single::Only.Q8_0.gguf").expect("named").entry.id, resolved.entry.id);
    bench.entry = resolved.entry;
    assert_eq!(fs::read(bench.run().result.expect("installed").model_file()).expect("the file"), bench.bytes);

    for reference in ["hf:org/other@main::sub/two.gguf", "hf:org/other@refs/pr/1::sub/two.gguf"] {
        assert_eq!(ask(&bench, reference).expect(reference).entry.files()[0].size_bytes, Some(1000));
    }
}

#[test]
fn what_is_not_clear_is_listed_and_what_is_not_there_is_said() {
    let bench = bench();
    let error = ask(&bench, "hf:org/other").expect_err("two files");
    let ResolveError::Ambiguous { files, .. } = &error else { panic!("{error:?}") };
    assert_eq!(files, &["one.gguf", "sub/two.gguf"]);
    assert!(error.hint().is_some_and(|hint| hint.contains("hf:org/other::one.gguf")));
    let nothing = ask(&bench, "hf:org/none").expect_err("no GGUF");
    assert!(nothing.to_string().contains("no GGUF file"), "{nothing}");
    let fetch = |reference: &str| match ask(&bench, reference) {
        Err(ResolveError::Fetch(error)) => error,
        other => panic!("{reference}: {other:?}"),
    };
    assert!(matches!(fetch("hf:org/other::three.gguf"), FetchError::EntryMissing { .. }));
    assert!(matches!(fetch("hf:org/other@nowhere::one.gguf"), FetchError::RevisionMissing { .. }));
    assert!(matches!(fetch("hf:org/nothing"), FetchError::RepositoryMissing { anonymous: true, .. }));
}

#[test]
fn a_hostile_listing_is_a_typed_error_or_leaves_nothing_to_choose() {
    let answer = |body: &str| Fault::Answer { status: 200, headers: vec![], body: body.as_bytes().to_vec() };
    let model = format!("{{\"sha\":\"{COMMIT}\"}}");
    let names = r#"[{"type":"file","path":"../x.gguf","size":1},{"type":"file","path":"/etc/x.gguf","size":1},
        {"type":"file","path":"a\u0000.gguf","size":1},{"type":"file","path":"C:x.gguf","size":1}]"#;
    let long = format!("[{}]", " ".repeat(3 << 20));
    let elsewhere = Fault::Answer {
        status: 200,
        headers: vec![("link", "<http://evil.invalid/x>; rel=\"next\"".to_owned())],
        body: b"[]".to_vec(),
    };
    for (name, faults) in [
        ("no JSON", vec![answer("<html>")]),
        ("no commit", vec![answer("{\"sha\":\"../../x\"}")]),
        ("hostile names", vec![answer(&model), answer(names)]),
        ("a negative size", vec![answer(&model), answer(r#"[{"type":"file","path":"a.gguf","size":-1}]"#)]),
        (
            "a wrong hash",
            vec![answer(&model), answer(r#"[{"type":"file","path":"a.gguf","size":1,"lfs":{"oid":"x"}}]"#)],
        ),
        ("no end", vec![answer(&model), answer(&long)]),
        ("another server", vec![answer(&model), elsewhere]),
    ] {
        let bench = bench();
        faults.into_iter().for_each(|fault| bench.hub.fault(On::Hub, fault));
        let error = ask(&bench, "hf:org/other").expect_err(name);
        let is_typed =
            matches!(error, ResolveError::Fetch(FetchError::Protocol { .. }) | ResolveError::Ambiguous { .. });
        assert!(is_typed, "{name}: {error:?}");
        assert_eq!(fs::read_dir(bench.folder.path()).expect("a folder").count(), 0, "{name}");
    }
}

#[test]
fn without_a_hub_its_cache_knows_what_main_was() {
    let mut bench = bench();
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    let cache = bench.folder.path().join("hub");
    let folder = cache.join("models--org--single");
    fs::create_dir_all(folder.join("blobs")).expect("a folder");
    fs::create_dir_all(folder.join("refs")).expect("a folder");
    fs::create_dir_all(folder.join("snapshots").join(COMMIT)).expect("a folder");
    fs::write(folder.join("refs/main"), COMMIT).expect("a ref");
    let tag = sha256_hex(&bench.bytes);
    fs::write(folder.join("blobs").join(&tag), &bench.bytes).expect("a blob");
    let pointer = folder.join("snapshots").join(COMMIT).join("Only.Q8_0.gguf");
    symlink(format!("../../blobs/{tag}"), pointer).expect("a link");
    assert!(ask(&bench, "hf:org/single").is_err(), "the cache is not looked into");
    bench.settings.hub_cache = Some(cache);
    bench.entry = ask(&bench, "hf:org/single").expect("cached").entry;
    assert!(bench.run().result.is_ok());
    assert!(bench.hub.requests().is_empty());
    assert!(ask(&bench, "hf:org/other").is_err());
}

#[test]
fn a_file_and_a_checkpoints_folder_are_imported_by_their_path() {
    let mut bench = bench();
    let root = bench.folder.path().to_owned();
    fs::write(root.join("my model.gguf"), &bench.bytes).expect("a file");
    let resolved = ask(&bench, &format!("file:{}", root.join("my model.gguf").display())).expect("a file");
    bench.entry = resolved.entry;
    bench.settings.local = resolved.local;
    let installed = bench.run().result.expect("installed");
    assert!(installed.manifest.id.as_str().starts_with("my-model-"), "{}", installed.manifest.id);
    assert_eq!(fs::read(installed.model_file()).expect("the file"), bench.bytes);

    let folder = root.join("checkpoint");
    fs::create_dir(&folder).expect("a folder");
    for (name, text) in [("config.json", "{}"), ("model.safetensors", "weights"), ("notes.txt", "x")] {
        fs::write(folder.join(name), text).expect("a file");
    }
    let resolved = ask(&bench, &folder.display().to_string()).expect("a folder");
    let names: Vec<&str> = resolved.entry.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    (bench.entry, bench.settings.local) = (resolved.entry, resolved.local);
    assert_eq!(bench.run().result.expect("installed").manifest.files.len(), 2);

    fs::remove_file(folder.join("config.json")).expect("removed");
    assert!(matches!(ask(&bench, &folder.display().to_string()), Err(ResolveError::NoModel { .. })));
    assert!(matches!(ask(&bench, "/nowhere/x.gguf"), Err(ResolveError::Fetch(FetchError::Io { .. }))));
}

#[test]
fn the_shape_of_a_model_is_known_from_its_first_bytes() {
    use models::fetch::peek::{PeekError, peek};
    let mut header = tiny_header();
    let size = 8_000_000;
    let gguf = header.len();
    header.resize(size, 0);
    let mut bench = Bench::with(Hub::builder().repo(crate::support::repo(&header)), pinned_entry(&header, ""));
    let look = |bench: &Bench| peek(&bench.entry, &bench.store, &bench.settings, &AtomicBool::new(false));
    let shape = look(&bench).expect("a shape");
    assert_eq!((shape.block_count, shape.head_count_kv, shape.key_length), (2, 1, 16));
    assert!(bench.hub.body_bytes() < 2 << 20, "{gguf} bytes of header, {} fetched", bench.hub.body_bytes());
    assert_eq!(fs::read_dir(bench.folder.path()).expect("a folder").count(), 0, "nothing was written");
    bench.hub.fault(On::Store, Fault::IgnoreRange);
    assert_eq!(look(&bench).expect("a shape"), shape);
    bench.hub.fault(On::Store, Fault::FlipByte(0));
    assert!(matches!(look(&bench), Err(PeekError::Header { .. })));
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    assert!(look(&bench).is_err());
    bench.settings.switched_off_by = None;
    bench.bytes = header;
    bench.run().result.expect("installed");
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    assert_eq!(look(&bench).expect("here"), shape);
}

fn tiny_header() -> Vec<u8> {
    use gguf::{TensorSpec, TensorType, Value, Writer};
    let number = |key: &str, value: u32| (format!("llama.{key}"), Value::U32(value));
    let metadata = [
        ("general.architecture".to_owned(), Value::String("llama".to_owned())),
        number("block_count", 2),
        number("context_length", 128),
        number("embedding_length", 64),
        number("attention.head_count", 4),
        number("attention.head_count_kv", 1),
    ];
    let tensors = [TensorSpec { name: "weights".to_owned(), shape: vec![1024], ggml_type: TensorType::F32 }];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).expect("a writer");
    writer.write_tensor("weights", &[0; 4096]).expect("written");
    writer.finish().expect("a file")
}
