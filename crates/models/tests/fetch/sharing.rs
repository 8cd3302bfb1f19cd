//! Several downloads of one model at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use models::fetch::{self, DownloadRequest, Event, FetchError};
use testkit::hub::{Hub, On};

use crate::support::{Bench, SIZE, content, pinned_entry, repo};

fn slow_bench() -> Bench {
    let bytes = content(SIZE);
    // About 1.5 s for the file: the others come while it runs.
    Bench::with(Hub::builder().repo(repo(&bytes)).bytes_per_second(200_000), pinned_entry(&bytes, ""))
}

#[test]
fn one_fetches_and_the_others_wait_and_adopt() {
    let bench = slow_bench();
    let waited = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = DownloadRequest {
                    entry: &bench.entry,
                    store: &bench.store,
                    sources: &bench.settings,
                    force: false,
                };
                let mut observer = |event: Event| {
                    if matches!(event, Event::Waiting { .. }) {
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                };
                fetch::download(&request, &mut observer, &AtomicBool::new(false)).expect("installed");
            });
        }
    });
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), 1);
    assert_eq!(bench.hub.body_bytes(), SIZE as u64);
    assert!(waited.load(Ordering::Relaxed) > 0, "nobody waited");
    bench.assert_installed(&bench.run());
}

#[test]
fn when_the_first_gives_up_another_takes_over_and_resumes() {
    let bench = slow_bench();
    let first_is_going = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            bench.run_until(|event| {
                let is_enough = matches!(event, Event::Progress { bytes } if *bytes > 100_000);
                first_is_going.store(true, Ordering::Relaxed);
                is_enough
            })
        });
        while !first_is_going.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let second = bench.run();
        assert!(matches!(first.join().expect("a thread").result, Err(FetchError::Interrupted)));
        bench.assert_installed(&second);
        assert!(
            second.has(|event| matches!(event, Event::Started { resumed_bytes: 100_001.., .. })),
            "{:?}",
            second.events
        );
    });
}

#[test]
fn a_waiting_download_can_be_cancelled() {
    let bench = slow_bench();
    let first_is_going = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            bench.run_until(|_| {
                first_is_going.store(true, Ordering::Relaxed);
                false
            })
        });
        while !first_is_going.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let second = bench.run_until(|event| matches!(event, Event::Waiting { .. }));
        assert!(matches!(second.result, Err(FetchError::Interrupted)), "{:?}", second.result);
        bench.assert_installed(&first.join().expect("a thread"));
    });
}
