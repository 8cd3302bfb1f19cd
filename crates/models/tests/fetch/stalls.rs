//! Silence, slowness, limits of rate, and the user's patience.

use std::time::{Duration, Instant};

use models::fetch::{Event, FetchError};
use testkit::hub::{Fault, Hub, On};

use crate::support::{Bench, SIZE, content, pinned_entry, repo};

const LONG: Duration = Duration::from_secs(60);
/// A generous ceiling: what must end at the 0.7 s clock must not take the minute the hub would be silent for.
const CEILING: Duration = Duration::from_secs(15);

#[test]
fn silence_before_or_within_an_answer_is_retried_from_where_it_was() {
    for (on, fault) in [
        (On::Hub, Fault::StallBeforeAnswer(LONG)),
        (On::Store, Fault::StallBeforeAnswer(LONG)),
        (On::Store, Fault::StallAfter(0, LONG)),
        (On::Store, Fault::StallAfter(200_000, LONG)),
    ] {
        let bench = Bench::new();
        bench.hub.fault(on, fault.clone());
        let began = Instant::now();
        let run = bench.run();
        bench.assert_installed(&run);
        assert!(began.elapsed() < CEILING, "{fault:?}: {:?}", began.elapsed());
        assert_eq!(bench.hub.body_bytes(), SIZE as u64, "{fault:?}: bytes were fetched twice");
    }
}

#[test]
fn slow_but_alive_is_not_aborted() {
    let bytes = content(4000);
    let mut bench = Bench::with(Hub::builder().repo(repo(&bytes)), pinned_entry(&bytes, ""));
    bench.bytes = bytes;
    // 20 pieces at 100 ms: longer than the 700 ms clock in all, never silent that long.
    bench.hub.fault(On::Store, Fault::Trickle(200, Duration::from_millis(100)));
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(!run.has(|event| matches!(event, Event::Retrying { .. })), "{:?}", run.events);
}

#[test]
fn cancelling_during_any_silence_returns_at_once_and_keeps_the_partial_file() {
    for (on, fault, kept) in [
        (On::Hub, Fault::StallBeforeAnswer(LONG), None),
        (On::Store, Fault::StallBeforeAnswer(LONG), Some(0)),
        (On::Store, Fault::StallAfter(100_000, LONG), Some(100_000)),
    ] {
        let mut bench = Bench::new();
        (bench.settings.clocks.first_byte, bench.settings.clocks.idle) = (LONG, LONG);
        bench.hub.fault(on, fault.clone());
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let cancelled_at = std::sync::Mutex::new(Instant::now());
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(400));
                *cancelled_at.lock().expect("a lock") = Instant::now();
                cancel.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let request = models::fetch::DownloadRequest {
                entry: &bench.entry,
                store: &bench.store,
                sources: &bench.settings,
                force: false,
            };
            models::fetch::download(&request, &mut |_| {}, &cancel)
        });
        // The promise is 300 ms; a busy machine gets more.
        let late = cancelled_at.lock().expect("a lock").elapsed();
        assert!(late < Duration::from_secs(2), "{fault:?}: {late:?}");
        assert!(matches!(result, Err(FetchError::Interrupted)), "{fault:?}: {result:?}");
        let size = std::fs::metadata(bench.partial()).ok().map(|metadata| metadata.len());
        assert_eq!(size, kept, "{fault:?}");
        bench.assert_nothing_final();
        bench.assert_installed(&bench.run());
        assert_eq!(bench.hub.body_bytes(), SIZE as u64, "{fault:?}: what was there is fetched again");
    }
}

#[test]
fn what_may_pass_is_tried_again_but_not_for_ever() {
    for (on, fault) in [
        (On::Hub, Fault::status(503)),
        (On::Store, Fault::status(503)),
        (On::Store, Fault::status(408)),
        (On::Hub, Fault::rate_limited(None)),
        (On::Store, Fault::Reset),
    ] {
        let bench = Bench::new();
        bench.hub.faults(on, 4, fault.clone());
        let run = bench.run();
        assert!(run.result.is_ok(), "{fault:?}: {:?}", run.result);

        let bench = Bench::new();
        bench.hub.faults(on, 1000, fault.clone());
        assert!(bench.run().result.is_err(), "{fault:?}");
        let asked = bench.hub.requests().iter().filter(|seen| seen.on == on).count();
        assert_eq!(asked, 6, "{fault:?}");
    }
    // What does not pass is not tried again.
    let bench = Bench::new();
    bench.hub.faults(On::Hub, 1000, Fault::status(500 - 95));
    assert!(matches!(bench.run().error(), FetchError::Status { status: 405, .. }));
    assert_eq!(bench.hub.requests().len(), 1);
}

#[test]
fn no_request_falls_into_the_time_a_server_asked_for() {
    let bench = Bench::new();
    bench.hub.fault(On::Hub, Fault::rate_limited(Some(1)));
    let began = Instant::now();
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let told = run.events.iter().find_map(|event| match event {
        Event::Retrying { delay, .. } => Some(*delay),
        _ => None,
    });
    assert!(told.is_some_and(|delay| (1000..=3000).contains(&delay.as_millis())), "{told:?}");

    // Longer than anybody should wait for: said, not waited.
    let bench = Bench::new();
    bench.hub.fault(On::Hub, Fault::rate_limited(Some(3600)));
    let error = bench.run().error();
    assert!(matches!(error, FetchError::RateLimited { retry_after: Some(_) }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("3600 s")));
}
