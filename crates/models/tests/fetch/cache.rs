//! The cache of the hub's own client: files that lie there are verified and taken, never written to; and an installed model
//! can be put there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use models::fetch::{Event, FetchError, Source};
use models::hub_cache;
use models::store::manifest::{Authority, SourceKind};
use testkit::hub::{Hub, git_blob_sha1, sha256_hex};

use crate::support::{Bench, COMMIT, FILE, SIZE, content, entry, entry_text, repo};

const FOLDER: &str = "models--org--tiny";

/// A bench with a cache that holds `bytes` as the client of 1.x leaves them.
fn bench(mode: u32) -> Bench {
    let mut bench = Bench::new();
    let cache = bench.folder.path().join("hub");
    add(&cache, (FILE, &sha256_hex(&bench.bytes)), &bench.bytes);
    fs::set_permissions(blob(&cache, &bench), Permissions::from_mode(mode)).expect("permissions");
    bench.settings.hub_cache = Some(cache);
    bench
}

fn add(cache: &Path, (file, tag): (&str, &str), bytes: &[u8]) {
    let folder = cache.join(FOLDER);
    let pointer = folder.join("snapshots").join(COMMIT).join(file);
    fs::create_dir_all(folder.join("blobs")).expect("a folder");
    fs::create_dir_all(pointer.parent().expect("a parent")).expect("a folder");
    fs::create_dir_all(folder.join("refs")).expect("a folder");
    fs::write(folder.join("blobs").join(tag), bytes).expect("a blob");
    fs::write(folder.join("refs/main"), COMMIT).expect("a ref");
    let up = "../".repeat(file.split('/').count() + 1);
    symlink(format!("{up}blobs/{tag}"), pointer).expect("a link");
}

fn blob(cache: &Path, bench: &Bench) -> PathBuf {
    cache.join(FOLDER).join("blobs").join(sha256_hex(&bench.bytes))
}

/// Path, size, permissions, times and content of everything in the cache.
fn state(cache: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cache).expect("a folder").flatten() {
        let metadata = entry.metadata().expect("metadata");
        found.push(format!(
            "{} {} {:o} {} {:?}",
            entry.path().display(),
            metadata.len(),
            metadata.mode(),
            metadata.mtime_nsec(),
            fs::read(entry.path()).ok().map(|bytes| sha256_hex(&bytes))
        ));
        if metadata.is_dir() {
            found.extend(state(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_lies_there_is_not_fetched_and_not_changed() {
    for (mode, is_linked) in [(0o644, false), (0o444, true)] {
        let mut bench = bench(mode);
        // No connection is needed.
        bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
        let cache = bench.settings.hub_cache.clone().expect("a cache");
        let before = state(&cache);
        let run = bench.run();
        bench.assert_installed(&run);
        assert!(run.has(|event| matches!(event, Event::Resolving { source: Source::HubCache(_) })));
        assert_eq!(state(&cache), before);
        assert!(bench.hub.requests().is_empty());
        let installed = run.result.expect("installed");
        assert_eq!(installed.manifest.source, SourceKind::Cache);
        let inode = |path: &Path| fs::metadata(path).expect("metadata").ino();
        assert_eq!(inode(&installed.model_file()) == inode(&blob(&cache, &bench)), is_linked, "{mode:o}");
        // Deleting ours leaves theirs.
        bench.store.delete(&bench.entry.id).expect("deleted");
        assert_eq!(state(&cache), before);
    }
}

#[test]
fn the_newer_layout_with_shared_blobs_is_followed() {
    let mut bench = bench(0o644);
    let cache = bench.settings.hub_cache.clone().expect("a cache");
    let shared = cache.join("blobs/ab/abcdef");
    fs::create_dir_all(shared.parent().expect("a parent")).expect("a folder");
    fs::rename(blob(&cache, &bench), &shared).expect("moved");
    fs::set_permissions(&shared, Permissions::from_mode(0o444)).expect("permissions");
    symlink("../../blobs/ab/abcdef", blob(&cache, &bench)).expect("a link");
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(fs::symlink_metadata(run.result.expect("installed").model_file()).expect("metadata").is_file());
}

#[test]
fn wrong_bytes_dangling_links_and_other_commits_fall_to_the_hub() {
    for damage in ["flip", "short", "dangling", "folder", "loop", "other commit"] {
        let bench = bench(0o644);
        let cache = bench.settings.hub_cache.clone().expect("a cache");
        let path = blob(&cache, &bench);
        let mut bytes = bench.bytes.clone();
        match damage {
            "flip" => bytes[9] ^= 1,
            "short" => bytes.truncate(100),
            _ => {}
        }
        fs::write(&path, bytes).expect("written");
        match damage {
            "dangling" => fs::remove_file(&path).expect("removed"),
            "folder" => {
                fs::remove_file(&path).expect("removed");
                fs::create_dir(&path).expect("a folder");
            }
            "loop" => {
                fs::remove_file(&path).expect("removed");
                symlink(&path, &path).expect("a link");
            }
            "other commit" => {
                let snapshots = cache.join(FOLDER).join("snapshots");
                fs::rename(snapshots.join(COMMIT), snapshots.join("f".repeat(40))).expect("moved");
            }
            _ => {}
        }
        let before = state(&cache);
        let run = bench.run();
        bench.assert_installed(&run);
        assert_eq!(run.result.expect("installed").manifest.source, SourceKind::Hub, "{damage}");
        assert_eq!(state(&cache), before, "{damage}");
    }
}

#[test]
fn without_a_pinned_hash_the_blobs_name_is_what_its_bytes_must_be() {
    let weights = content(50_000);
    let files = "convert = { from = \"safetensors\", outtype = \"f32\" }\n\
                 files = [{ name = \"config.json\" }, { name = \"sub/model.safetensors\" }]";
    let mut bench = Bench::with(Hub::builder(), entry(&entry_text(files, "")));
    let cache = bench.folder.path().join("hub");
    add(&cache, ("config.json", &git_blob_sha1(b"{}")), b"{}");
    add(&cache, ("sub/model.safetensors", &sha256_hex(&weights)), &weights);
    bench.settings.hub_cache = Some(cache.clone());
    let installed = bench.run().result.expect("installed");
    assert!(installed.manifest.files.iter().all(|file| file.checked_against == Authority::Hub));
    assert!(models::verify::verify(&installed).is_good());

    bench.store.delete(&bench.entry.id).expect("deleted");
    fs::write(cache.join(FOLDER).join("blobs").join(git_blob_sha1(b"{}")), "[]").expect("written");
    assert!(bench.run().result.is_err());
    bench.assert_nothing_final();
}

#[test]
fn whoever_wants_it_again_gets_it_from_the_hub() {
    let bench = bench(0o644);
    let run = bench.run_with(true, |_| false);
    assert_eq!(run.result.expect("installed").manifest.source, SourceKind::Hub);
}

#[test]
fn a_model_put_into_the_cache_is_found_there_again() {
    let bytes = content(SIZE);
    let repo = repo(&bytes).small("sub/config.json", "{\"a\":1}");
    let files = format!(
        "convert = {{ from = \"safetensors\", outtype = \"f32\" }}\nfiles = [{{ name = \"{FILE}\" }}, {{ name = \"sub/config.json\" }}]"
    );
    let mut bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&files, "")));
    let installed = bench.run().result.expect("installed");
    let cache = bench.folder.path().join("hub");
    let never = AtomicBool::new(false);
    let snapshot = hub_cache::put(&installed, &cache, &never).expect("put");
    let before = state(&cache);
    hub_cache::put(&installed, &cache, &never).expect("put again");
    assert_eq!(state(&cache), before, "what is there is left alone");
    assert_eq!(fs::read(snapshot.join(FILE)).expect("a file"), bytes);
    let link = |path: &str| fs::read_link(snapshot.join(path)).expect("a link").display().to_string();
    assert_eq!(link(FILE), format!("../../blobs/{}", sha256_hex(&bytes)));
    assert_eq!(link("sub/config.json"), format!("../../../blobs/{}", git_blob_sha1(b"{\"a\":1}")));
    assert_eq!(fs::read_to_string(cache.join(FOLDER).join("refs/main")).expect("a ref"), COMMIT);
    assert!(cache.join(".locks").join(FOLDER).join(format!("{}.lock", sha256_hex(&bytes))).exists());

    bench.store.delete(&bench.entry.id).expect("deleted");
    bench.settings.hub_cache = Some(cache);
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    assert_eq!(bench.run().result.expect("installed").manifest.source, SourceKind::Cache);
}

#[test]
fn a_lock_that_the_client_holds_is_waited_for() {
    let mut bench = Bench::new();
    let installed = bench.run().result.expect("installed");
    let cache = bench.folder.path().join("hub");
    let locks = cache.join(".locks").join(FOLDER);
    fs::create_dir_all(&locks).expect("a folder");
    let lock = fs::File::create(locks.join(format!("{}.lock", sha256_hex(&bench.bytes)))).expect("a lock");
    lock.lock().expect("locked");
    let error = hub_cache::put(&installed, &cache, &AtomicBool::new(true)).expect_err("interrupted");
    assert!(error.to_string().contains("another process holds its lock"), "{error}");
    drop(lock);
    hub_cache::put(&installed, &cache, &AtomicBool::new(false)).expect("put");
    bench.settings.hub_cache = None;
}

#[test]
fn nothing_anywhere_is_said_to_be_nowhere() {
    let mut bench = bench(0o644);
    let cache = bench.settings.hub_cache.clone().expect("a cache");
    fs::remove_file(blob(&cache, &bench)).expect("removed");
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    let error = bench.run().error();
    let FetchError::Offline { tried, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 2);
    assert!(error.to_string().contains("hub's cache"), "{error}");
}
