//! One file over several connections: the same promises as over one.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use models::fetch::{self, DownloadRequest, Event, FetchError, TransferShape};
use testkit::hub::{Content, Fault, Hub, On, Repo, Seen};

use crate::support::{Bench, COMMIT, FILE, content, pinned_entry, repo};

/// Sixteen parts and a bit.
const SIZE: usize = 1_050_000;
const STEP: u64 = 65_536;

fn bench() -> Bench {
    with(|hub| hub)
}

fn with(change: impl FnOnce(testkit::hub::HubBuilder) -> testkit::hub::HubBuilder) -> Bench {
    let bytes = content(SIZE);
    let mut bench = Bench::with(change(Hub::builder().repo(repo(&bytes))), pinned_entry(&bytes, ""));
    bench.bytes = bytes;
    bench.settings.shape = TransferShape { connections: 4, range_bytes: STEP };
    bench
}

fn gets(bench: &Bench) -> Vec<Seen> {
    bench.hub.requests_to(On::Store, "GET")
}

fn range(seen: &Seen) -> Option<Range<u64>> {
    let (start, last) = seen.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some(start.parse().ok()?..last.parse::<u64>().ok()? + 1)
}

#[test]
fn every_part_is_asked_for_once_and_under_the_tag_of_the_first() {
    let bench = bench();
    let run = bench.run();
    bench.assert_installed(&run);
    let gets = gets(&bench);
    assert_eq!(gets.len(), SIZE.div_ceil(STEP as usize));
    assert_eq!(bench.hub.body_bytes(), SIZE as u64);
    let mut ranges: Vec<Range<u64>> = gets.iter().filter_map(range).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
    assert_eq!(gets[0].header("if-range"), None);
    assert!(gets[1..].iter().all(|seen| seen.header("if-range").is_some_and(|tag| tag.starts_with("\"store-"))));
    assert!(gets.iter().all(|seen| seen.header("accept-encoding") == Some("identity") && !seen.has_token()));
    // For a repair: one waypoint between two chunks.
    let chunks = run.result.expect("installed").manifest.files[0].chunks.clone().expect("chunks");
    assert_eq!((chunks.chunk_bytes, chunks.waypoints.len()), (STEP, SIZE.div_ceil(STEP as usize) - 1));
}

#[test]
fn several_connections_are_open_at_once() {
    // Each part takes 0.3 s on its connection: one after the other would be five seconds.
    let bench = with(|hub| hub.bytes_per_second(200_000));
    let began = Instant::now();
    bench.assert_installed(&bench.run());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_server_without_ranges_or_without_a_strong_tag_is_asked_for_everything_once() {
    let no_ranges = vec![Fault::IgnoreRange];
    let no_tag = vec![Fault::Header("etag", None), Fault::Header("etag", None)];
    let weak = vec![Fault::Header("etag", Some("W/\"weak\"".to_owned())); 2];
    let refused = vec![Fault::status(416)];
    let shifted = vec![Fault::Header("content-range", Some("bytes 1-65536/1050000".to_owned()))];
    for (name, faults, requests) in [
        ("200", no_ranges, 1),
        ("no tag", no_tag, 2),
        ("weak tag", weak, 2),
        ("416", refused, 2),
        ("another range", shifted, 2),
    ] {
        let bench = bench();
        faults.into_iter().for_each(|fault| bench.hub.fault(On::Store, fault));
        let run = bench.run();
        assert!(run.result.is_ok(), "{name}: {:?}", run.result);
        bench.assert_installed(&run);
        let gets = gets(&bench);
        assert_eq!(gets.len(), requests, "{name}");
        assert!(gets.last().is_some_and(|seen| range(seen).is_none() || requests == 1), "{name}: {gets:?}");
    }
}

#[test]
fn whatever_happens_to_a_part_the_bytes_are_right() {
    let header = |name, value: &str| Fault::Header(name, Some(value.to_owned()));
    for (name, fault) in [
        ("a cut", Fault::DropAfter(1000)),
        ("a reset", Fault::Reset),
        ("silence", Fault::StallBeforeAnswer(Duration::from_secs(60))),
        ("silence within", Fault::StallAfter(30_000, Duration::from_secs(60))),
        ("503", Fault::status(503)),
        ("408", Fault::status(408)),
        ("rate limit", Fault::rate_limited(None)),
        ("expired", Fault::expired()),
        ("200 with everything", Fault::IgnoreRange),
        ("416", Fault::status(416)),
        ("another tag", header("etag", "\"other\"")),
        ("another range", header("content-range", "bytes 0-65535/1050000")),
        ("another total", header("content-range", "bytes 65536-131071/1050001")),
        ("a wrong length", Fault::ContentLength(7)),
        ("chunks", Fault::Chunked { terminated: true }),
        ("chunks without an end", Fault::Chunked { terminated: false }),
    ] {
        for at in [1, 6] {
            let bench = bench();
            bench.hub.faults(On::Store, at, Fault::Pass);
            bench.hub.fault(On::Store, fault.clone());
            let run = bench.run();
            assert!(run.result.is_ok(), "{name} at {at}: {:?} {:?}", run.result, run.events.last());
            bench.assert_installed(&run);
        }
    }
}

#[test]
fn bytes_that_nobody_would_accept_are_typed_errors() {
    let bench = bench();
    bench.hub.faults(On::Store, 5, Fault::Pass);
    bench.hub.fault(On::Store, Fault::FlipByte(123));
    assert!(matches!(bench.run().error(), FetchError::HashMismatch { .. }));
    bench.assert_nothing_final();
    assert_eq!(bench.names(), [format!("{FILE}.quarantine")]);

    for (fault, expected) in [
        (Fault::Header("content-encoding", Some("gzip".to_owned())), "Content-Encoding"),
        (Fault::status(404), "status 404"),
    ] {
        let bench = self::bench();
        bench.hub.faults(On::Store, 3, Fault::Pass);
        bench.hub.faults(On::Store, 100, fault);
        let error = bench.run().error().to_string();
        assert!(error.contains(expected), "{error}");
        bench.assert_nothing_final();
        bench.hub.clear_faults();
        bench.assert_installed(&bench.run());
    }
}

#[test]
fn a_part_that_never_comes_is_given_up_and_the_rest_is_kept() {
    let bench = bench();
    bench.hub.faults(On::Store, 8, Fault::Pass);
    bench.hub.faults(On::Store, 1000, Fault::Reset);
    assert!(matches!(bench.run().error(), FetchError::Connection { .. }));
    let before = bench.hub.body_bytes();
    assert!(before >= 8 * STEP);
    bench.hub.clear_faults();
    let run = bench.run();
    bench.assert_installed(&run);
    assert_eq!(bench.hub.body_bytes(), SIZE as u64, "bytes were fetched twice");
    assert!(run.has(|event| matches!(event, Event::Started { resumed_bytes: 500_000.., .. })), "{:?}", run.events);
}

#[test]
fn interrupted_at_any_point_it_goes_on_where_it_was() {
    let bench = with(|hub| hub.total_bytes_per_second(2_000_000));
    let mut rounds = 0;
    loop {
        let mut left = 3;
        let run = bench.run_until(|event| {
            left -= i32::from(matches!(event, Event::Progress { .. }));
            left <= 0
        });
        rounds += 1;
        match run.result {
            Ok(_) => break,
            Err(FetchError::Interrupted) => bench.assert_nothing_final(),
            Err(error) => panic!("{error}"),
        }
        assert!(rounds < 200);
    }
    assert!(rounds > 5, "{rounds}");
    bench.assert_installed(&bench.run());
    // What was on its way when it was interrupted comes again: at most the buffers of four connections a time.
    let wasted = bench.hub.body_bytes() - SIZE as u64;
    assert!(wasted <= rounds * 4 * STEP, "{wasted} in {rounds} rounds");
}

#[test]
fn a_side_file_that_lies_costs_a_fetch_and_never_a_wrong_model() {
    for lie in
        ["[[0,1050000]]", "[[0,10],[5,20]]", "[[0,99999999]]", "[[3,2]]", "[]", "\"x\"", "[[0,65536],[131072,900000]]"]
    {
        let bench = bench();
        bench.hub.faults(On::Store, 6, Fault::Pass);
        bench.hub.faults(On::Store, 1000, Fault::Reset);
        assert!(bench.run().result.is_err());
        bench.hub.clear_faults();
        let side = bench.partial().with_added_extension("json");
        let text = std::fs::read_to_string(&side).expect("a side file");
        let (before, _) = text.split_once("\"done\":").expect("a map");
        std::fs::write(&side, format!("{before}\"done\":{lie}}}")).expect("written");
        bench.assert_installed(&bench.run());
    }
}

#[test]
fn what_a_killed_process_left_half_written_is_cleared_away() {
    let bench = bench();
    std::fs::create_dir_all(bench.directory()).expect("a folder");
    std::fs::write(bench.directory().join(format!(".{FILE}.part.json.0123abcd")), "{").expect("a scrap");
    bench.assert_installed(&bench.run());
    assert!(models::verify::verify(&bench.run().result.expect("installed")).is_good());
}

#[test]
fn a_damaged_partial_file_is_found_although_it_was_hashed_before() {
    let bench = bench();
    bench.hub.faults(On::Store, 8, Fault::Pass);
    bench.hub.faults(On::Store, 1000, Fault::Reset);
    assert!(bench.run().result.is_err());
    bench.hub.clear_faults();
    let mut bytes = std::fs::read(bench.partial()).expect("the partial file");
    bytes[100_000] ^= 4;
    std::fs::write(bench.partial(), bytes).expect("written");
    bench.assert_installed(&bench.run());
}

#[test]
fn cancelling_returns_at_once_and_not_one_byte_is_written_afterwards() {
    let mut bench = bench();
    (bench.settings.clocks.first_byte, bench.settings.clocks.idle) = (Duration::from_secs(60), Duration::from_secs(60));
    bench.hub.faults(On::Store, 2, Fault::Pass);
    bench.hub.faults(On::Store, 100, Fault::StallAfter(20_000, Duration::from_secs(2)));
    let cancel = AtomicBool::new(false);
    let began = Instant::now();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cancel.store(true, Ordering::Relaxed);
        });
        let request =
            DownloadRequest { entry: &bench.entry, store: &bench.store, sources: &bench.settings, force: false };
        fetch::download(&request, &mut |_| {}, &cancel)
    });
    assert!(matches!(result, Err(FetchError::Interrupted)), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let before = std::fs::read(bench.partial()).expect("the partial file");
    std::thread::sleep(Duration::from_secs(3));
    assert!(std::fs::read(bench.partial()).expect("the partial file") == before, "it was written to");
    bench.hub.clear_faults();
    bench.assert_installed(&bench.run());
}

#[test]
fn what_one_connection_is_told_holds_for_all() {
    // A part takes 0.16 s: the others would ask again within the second.
    let bench = with(|hub| hub.bytes_per_second(400_000));
    bench.hub.faults(On::Store, 3, Fault::Pass);
    bench.hub.fault(On::Store, Fault::rate_limited(Some(1)));
    let run = bench.run();
    bench.assert_installed(&run);
    let gets = gets(&bench);
    let refused_at = gets.iter().find(|seen| seen.status == 429).expect("a refusal").at;
    // Those that were on their way may still arrive.
    let grace = Duration::from_millis(50);
    let inside: Vec<&Seen> = gets
        .iter()
        .filter(|seen| seen.at > refused_at + grace && seen.at < refused_at + Duration::from_millis(990))
        .collect();
    assert!(inside.is_empty(), "{inside:?}");
}

#[test]
fn a_server_that_says_nothing_is_left_is_not_asked_before_its_time() {
    let bench = bench();
    bench.hub.fault(On::Hub, Fault::Header("ratelimit", Some("\"resolvers\";r=0;t=1".to_owned())));
    bench.assert_installed(&bench.run());
    // The bytes come from another server; the hub itself is asked again after a second.
    let began = Instant::now();
    let run = bench.run_with(true, |_| false);
    assert!(run.result.is_ok());
    let heads = bench.hub.requests_to(On::Hub, "HEAD");
    assert!(heads[1].at - heads[0].at >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_file_larger_than_memory_should_be_takes_little_of_it() {
    // A GiB that is nowhere: 64 parts of 16 MiB.
    let size = 1_u64 << 30;
    let zeros = Content::zeros(size);
    let file = format!("file = \"{FILE}\"\nsize_bytes = {size}\nsha256 = \"{}\"", zeros.sha256());
    let hub = Hub::builder().repo(Repo::new("org/tiny", COMMIT).huge(FILE, zeros));
    let bench = Bench::with(hub, crate::support::entry(&crate::support::entry_text(&file, "")));
    let before = peak_bytes();
    let installed = bench.run().result.expect("installed");
    let grown = peak_bytes().saturating_sub(before);
    assert_eq!(installed.size_bytes(), size);
    assert!(grown < 256 << 20, "{grown} bytes");
    bench.store.delete(&bench.entry.id).expect("deleted");
}

/// The most memory this process ever held; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
