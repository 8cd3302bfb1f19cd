//! Repair: only what is damaged is fetched again, and what the repair has made is checked like any download.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use models::fetch::{FetchError, TransferShape};
use models::verify::{Fault, discard_faulty, verify};
use testkit::hub::{Hub, On};

use crate::support::{Bench, FILE, content, pinned_entry, repo};

const STEP: u64 = 65_536;
const SIZE: usize = 1_000_000;

/// An installed model of sixteen chunks.
fn bench() -> Bench {
    let bytes = content(SIZE);
    let mut bench = Bench::with(Hub::builder().repo(repo(&bytes)), pinned_entry(&bytes, ""));
    bench.bytes = bytes;
    bench.settings.shape = TransferShape { connections: 4, range_bytes: STEP };
    bench.assert_installed(&bench.run());
    bench
}

fn write_at(path: &Path, bytes: &[u8], at: u64) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("permissions");
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all_at(bytes, at).expect("written");
}

/// Repairs, and returns the bytes that were fetched for it.
fn repair(bench: &Bench) -> u64 {
    let installed = bench.store.require(&bench.entry.id).expect("installed");
    let report = verify(&installed);
    assert!(!report.is_good());
    let before = bench.hub.body_bytes();
    discard_faulty(&bench.store, &installed, &report).expect("set aside");
    bench.assert_nothing_final();
    bench.assert_installed(&bench.run());
    assert!(verify(&bench.store.require(&bench.entry.id).expect("installed")).is_good());
    bench.hub.body_bytes() - before
}

#[test]
fn damage_is_located_and_only_its_chunks_are_fetched() {
    let bench = bench();
    let path = bench.final_path();
    write_at(&path, b"damage", 3 * STEP + 10);
    write_at(&path, b"damage", 9 * STEP - 3);
    let report = verify(&bench.store.require(&bench.entry.id).expect("installed"));
    let [Fault::Content { damaged: Some(damaged), .. }] = report.faults.as_slice() else { panic!("{report:?}") };
    assert_eq!(damaged, &[3 * STEP..4 * STEP, 8 * STEP..10 * STEP]);
    assert_eq!(repair(&bench), 3 * STEP);
}

#[test]
fn a_file_that_lost_its_end_or_grew_is_mended() {
    let bench = bench();
    let path = bench.final_path();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("permissions");
    fs::OpenOptions::new().write(true).open(&path).expect("a file").set_len(5 * STEP + 100).expect("cut");
    assert_eq!(repair(&bench), SIZE as u64 - 5 * STEP);
    write_at(&path, b"more", SIZE as u64);
    assert_eq!(repair(&bench), 0);
    assert_eq!(fs::metadata(&path).expect("metadata").len(), SIZE as u64);
}

#[test]
fn a_file_of_which_nothing_is_known_is_fetched_whole() {
    let bench = bench();
    fs::remove_file(bench.final_path()).expect("removed");
    assert_eq!(repair(&bench), SIZE as u64);
    // A manifest without waypoints, as an earlier version wrote it.
    let manifest = bench.directory().join("manifest.json");
    let mut value: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&manifest).expect("a manifest")).expect("JSON");
    value["files"][0].as_object_mut().expect("a file").remove("chunks").expect("waypoints");
    fs::write(&manifest, value.to_string()).expect("written");
    write_at(&bench.final_path(), b"damage", 10);
    assert_eq!(repair(&bench), SIZE as u64);
}

#[test]
fn waypoints_that_lie_cost_a_fetch_and_never_a_wrong_model() {
    let bench = bench();
    let manifest = bench.directory().join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value["files"][0]["chunks"]["waypoints"][4] = "0".repeat(64).into();
    fs::write(&manifest, value.to_string()).expect("written");
    let installed = bench.store.require(&bench.entry.id).expect("installed");
    // Good bytes are good whatever the waypoints say.
    assert!(verify(&installed).is_good());
    write_at(&bench.final_path(), b"damage", 10 * STEP);
    assert_eq!(repair(&bench), 3 * STEP);
}

#[test]
fn a_source_with_other_bytes_repairs_nothing() {
    let bench = bench();
    write_at(&bench.final_path(), b"damage", 10);
    let installed = bench.store.require(&bench.entry.id).expect("installed");
    discard_faulty(&bench.store, &installed, &verify(&installed)).expect("set aside");
    bench.hub.faults(On::Store, 100, testkit::hub::Fault::FlipByte(7));
    assert!(matches!(bench.run().error(), FetchError::HashMismatch { .. }));
    bench.assert_nothing_final();
    bench.hub.clear_faults();
    bench.assert_installed(&bench.run());
}

#[test]
fn another_name_of_the_damaged_file_is_not_written_through() {
    let bench = bench();
    let other = bench.folder.path().join("other-name");
    fs::hard_link(bench.final_path(), &other).expect("a link");
    write_at(&bench.final_path(), b"damage", 10);
    let damaged = fs::read(&other).expect("bytes");
    assert_eq!(repair(&bench), STEP);
    assert!(fs::read(&other).expect("bytes") == damaged, "the other name's bytes changed");
    assert_eq!(bench.names(), ["manifest.json", FILE, "verified.json"]);
}
