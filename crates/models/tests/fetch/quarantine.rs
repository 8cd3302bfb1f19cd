//! Bytes that are not the model's: kept once, to be looked at, and never a model.

use std::time::{Duration, SystemTime};

use models::catalog::Catalog;
use models::fetch::resolve::{ResolveError, resolve};
use models::fetch::{Event, FetchError};
use models::store::prune::PrunableKind;
use models::verify::verify;
use protocol::catalog::FileName;
use protocol::error::ErrorCode;
use testkit::hub::{Fault, Hub, On, Repo, sha256_hex};

use crate::support::{Bench, COMMIT, FILE, SIZE, content, entry, entry_text};

fn spoilt(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // As the hub's fault does.
    bytes[at] ^= 1;
    bytes
}

/// In so many days.
fn in_days(days: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(days * 24 * 3600)
}

#[cfg(target_os = "linux")]
#[test]
fn wrong_bytes_are_kept_once_and_never_have_the_final_name() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.directory()).expect("a folder");
    let watch = crate::watch::Watch::new(&bench.directory());
    for at in [123_456, 5] {
        bench.hub.fault(On::Store, Fault::FlipByte(at));
        let run = bench.run();
        assert!(run.has(|event| matches!(event, Event::Quarantined { .. })));
        let error = run.error();
        let FetchError::HashMismatch { expected, actual, .. } = &error else { panic!("{error:?}") };
        let wrong = spoilt(&bench.bytes, at);
        assert_eq!(*expected, format!("sha256:{}", sha256_hex(&bench.bytes)));
        assert_eq!(*actual, format!("sha256:{}", sha256_hex(&wrong)));
        assert_eq!(error.code(), ErrorCode::ModelInvalid);
        assert!(error.to_string().contains(expected) && error.to_string().contains(actual), "{error}");
        bench.assert_nothing_final();
        assert_eq!(bench.names(), [format!("{FILE}.quarantine")]);
        assert!(std::fs::read(bench.quarantine()).expect("the bytes") == wrong);
    }
    // No second try at bytes that all came now.
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), 2);
    let names = watch.names();
    assert!(names.iter().any(|name| name.ends_with(".quarantine")), "{names:?}");
    assert!(!names.iter().any(|name| name == FILE), "{names:?}");

    let usage = bench.store.disk_usage().expect("readable");
    assert!(usage.total_bytes >= SIZE as u64 && !usage.models[0].installed, "{usage:?}");
    // The right bytes come whole, and the wrong ones go.
    let run = bench.run();
    assert!(run.has(|event| matches!(event, Event::Started { resumed_bytes: 0, .. })), "{:?}", run.events);
    bench.assert_installed(&run);
}

#[test]
fn spoilt_bytes_of_an_earlier_run_are_fetched_again_once() {
    let bench = Bench::new();
    bench.interrupt_after(100_000);
    let mut left = std::fs::read(bench.partial()).expect("a partial file");
    left[7] ^= 1;
    std::fs::write(bench.partial(), &left).expect("written");
    let before = bench.hub.requests_to(On::Store, "GET").len();
    bench.hub.fault(On::Store, Fault::Pass);
    bench.hub.fault(On::Store, Fault::FlipByte(9));
    assert!(matches!(bench.run().error(), FetchError::HashMismatch { .. }));
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len() - before, 2);
    assert!(std::fs::read(bench.quarantine()).expect("the bytes") == spoilt(&bench.bytes, 9));
    bench.assert_installed(&bench.run());
}

#[test]
fn a_small_file_is_checked_against_its_git_name() {
    let bytes = b"small and honest";
    let repo = Repo::new("org/tiny", COMMIT).small(FILE, bytes.as_slice());
    let bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    bench.hub.fault(On::Hub, Fault::Pass);
    bench.hub.fault(On::Hub, Fault::FlipByte(3));
    let error = bench.run().error();
    assert!(error.to_string().matches("git-sha1:").count() == 2, "{error}");
    bench.assert_nothing_final();
    assert_eq!(std::fs::read(bench.quarantine()).expect("the bytes"), spoilt(bytes, 3));
    assert!(bench.run().result.is_ok());
    assert!(!bench.quarantine().exists());
}

#[test]
fn beside_an_installed_model_they_are_no_fault_of_it_and_go_after_a_day() {
    let bench = Bench::new();
    let installed = bench.run().result.expect("installed");
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    let again = bench.run_with(true, |_| false);
    assert!(matches!(again.result, Err(FetchError::HashMismatch { .. })), "{:?}", again.result);
    // What was good before still is.
    assert!(verify(&installed).is_good());
    assert_eq!(bench.store.get(&bench.entry.id).expect("readable"), Some(installed));
    assert!(bench.quarantine().exists());

    let text = entry_text(&format!("file = \"{FILE}\""), "");
    let catalog = Catalog::parse(&text, "test.toml").expect("a catalog");
    let prunable = |days| bench.store.prunable(&catalog, &[], in_days(days)).expect("readable");
    assert_eq!(prunable(0), []);
    let [item] = &prunable(2)[..] else { panic!("{:?}", prunable(2)) };
    assert!(matches!(&item.kind, PrunableKind::Quarantined(path) if *path == bench.quarantine()), "{item:?}");
    assert!(item.size_bytes >= SIZE as u64);
    bench.store.prune(item).expect("pruned");
    assert_eq!(bench.names(), ["manifest.json", FILE, "verified.json"]);
}

#[test]
fn deleting_a_model_deletes_them() {
    let bench = Bench::new();
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    bench.run().error();
    assert_eq!(bench.store.list().expect("readable").incomplete.len(), 1);
    assert!(bench.store.delete(&bench.entry.id).expect("deleted") >= SIZE as u64);
    assert!(!bench.directory().exists());
}

#[test]
fn they_make_room_for_the_right_ones() {
    let mut bench = Bench::new();
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    bench.run().error();
    bench.settings.free_bytes =
        |folder| Ok(if folder.join(format!("{FILE}.quarantine")).exists() { 0 } else { 2 * SIZE as u64 });
    bench.assert_installed(&bench.run());
}

#[test]
fn no_model_has_that_name() {
    assert!(format!("{FILE}.quarantine").parse::<FileName>().is_err());
    let bench = Bench::new();
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    bench.run().error();
    let reference = format!("file:{}", bench.quarantine().display()).parse().expect("a reference");
    let catalog = Catalog::parse("schema = 1", "test.toml").expect("a catalog");
    let resolved = resolve(&reference, &catalog, &bench.settings, &std::sync::atomic::AtomicBool::new(false));
    assert!(matches!(resolved, Err(ResolveError::NoModel { .. })), "{resolved:?}");
}

#[test]
fn an_interrupted_run_is_gone_on_with_although_wrong_bytes_are_kept() {
    let bench = Bench::new();
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    bench.run().error();
    bench.interrupt_after(100_000);
    let run = bench.run();
    assert!(run.has(|event| matches!(event, Event::Started { resumed_bytes: 100_000, .. })), "{:?}", run.events);
    bench.assert_installed(&run);
    assert_eq!(bench.bytes, content(SIZE));
}
