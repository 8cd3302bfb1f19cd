//! Resuming: whatever the server makes of a range, the bytes are right in the end or the error is typed.

use models::fetch::{Event, FetchError};
use testkit::hub::{Fault, On};

use crate::support::{Bench, Expected, SIZE};

const CUT: u64 = 100_000;

#[test]
fn a_resumed_download_asks_for_the_rest_only() {
    let bench = Bench::new();
    bench.interrupt_after(CUT);
    bench.assert_nothing_final();
    let before = bench.hub.body_bytes();
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(run.has(|event| matches!(event, Event::Started { resumed_bytes: CUT, .. })));
    assert_eq!(bench.hub.body_bytes() - before, SIZE as u64 - CUT);
    let last = bench.hub.requests_to(On::Store, "GET").pop().expect("a request");
    assert_eq!(last.header("range"), Some("bytes=100000-"));
    assert!(last.header("if-range").is_some_and(|tag| tag.starts_with("\"store-")), "{last:?}");
    assert_eq!(last.status, 206);
}

#[test]
fn a_cut_within_one_run_resumes_too() {
    let bench = Bench::new();
    for cut in [1, 70_000, 150_000] {
        bench.hub.fault(On::Store, Fault::DropAfter(cut));
    }
    let run = bench.run();
    bench.assert_installed(&run);
    assert_eq!(bench.hub.body_bytes(), SIZE as u64);
    assert_eq!(run.events.iter().filter(|event| matches!(event, Event::Retrying { .. })).count(), 3);
}

/// What a server may answer to a range, and whether the model must be there afterwards.
fn cases() -> Vec<(&'static str, Vec<Fault>)> {
    let headers =
        |range: &str, kind: &str| vec![("content-range", range.to_owned()), ("content-type", kind.to_owned())];
    let partial = |headers| Fault::Answer { status: 206, headers, body: vec![b'x'; 200_000] };
    vec![
        ("206 as asked", vec![]),
        ("206 with another start", vec![Fault::Header("content-range", Some("bytes 99999-299999/300000".to_owned()))]),
        ("206 with another end", vec![Fault::Header("content-range", Some("bytes 100000-299998/300000".to_owned()))]),
        ("206 with another total", vec![Fault::Header("content-range", Some("bytes 100000-299999/300001".to_owned()))]),
        ("206 with an unknown total", vec![Fault::Header("content-range", Some("bytes 100000-299999/*".to_owned()))]),
        ("206 without a range", vec![Fault::Header("content-range", None)]),
        ("206 with another tag", vec![Fault::Header("etag", Some("\"other\"".to_owned()))]),
        ("206 without a tag", vec![Fault::Header("etag", None)]),
        ("206 of several parts", vec![partial(headers("", "multipart/byteranges; boundary=x"))]),
        ("206 that overflows", vec![Fault::Header("content-range", Some(format!("bytes {}-1/2", u128::MAX)))]),
        ("206 cut again", vec![Fault::DropAfter(5)]),
        ("200 with everything", vec![Fault::IgnoreRange]),
        ("416 although there is more", vec![Fault::status(416)]),
        ("416 twice, the second time without a range", vec![Fault::status(416), Fault::Pass]),
        ("403 because the address has expired", vec![Fault::expired()]),
        ("503 at first", vec![Fault::status(503)]),
    ]
}

#[test]
fn every_answer_to_a_range_ends_in_the_right_bytes() {
    for (name, faults) in cases() {
        let bench = Bench::new();
        bench.interrupt_after(CUT);
        faults.into_iter().for_each(|fault| bench.hub.fault(On::Store, fault));
        let run = bench.run();
        assert!(run.result.is_ok(), "{name}: {:?}", run.result);
        bench.assert_installed(&run);
    }
}

#[test]
fn answers_that_cannot_be_the_bytes_are_typed_errors() {
    let short = Fault::Answer { status: 200, headers: vec![], body: vec![b'x'; 1000] };
    let unasked = Fault::Answer { status: 206, headers: vec![], body: vec![b'x'; 1000] };
    let cases: [(&str, Vec<Fault>, Expected); 4] = [
        ("200 with a shorter body", vec![short], |error| {
            matches!(error, FetchError::SizeMismatch { actual: 1000, .. })
        }),
        ("404", vec![Fault::status(404)], |error| matches!(error, FetchError::Status { status: 404, .. })),
        ("416 and then 416 to no range", vec![Fault::status(416), Fault::status(416)], |error| {
            matches!(error, FetchError::Protocol { .. })
        }),
        ("416 and then 206 to no range", vec![Fault::status(416), unasked], |error| {
            matches!(error, FetchError::Protocol { .. })
        }),
    ];
    for (name, faults, expected) in cases {
        let bench = Bench::new();
        bench.interrupt_after(CUT);
        faults.into_iter().for_each(|fault| bench.hub.fault(On::Store, fault));
        let error = bench.run().error();
        assert!(expected(&error), "{name}: {error:?}");
        bench.assert_nothing_final();
        // The next run, with an honest server, mends it.
        bench.assert_installed(&bench.run());
    }
}

#[test]
fn an_address_that_always_expires_is_given_up() {
    let bench = Bench::new();
    bench.hub.faults(On::Store, 100, Fault::expired());
    let error = bench.run().error();
    assert!(matches!(error, FetchError::AddressExpired { .. }), "{error:?}");
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), 6);
}

#[test]
fn a_partial_file_that_is_complete_too_long_or_foreign_is_handled() {
    let bench = Bench::new();
    bench.interrupt_after(CUT);
    std::fs::write(bench.partial(), &bench.bytes).expect("a complete partial file");
    let before = bench.hub.requests_to(On::Store, "GET").len();
    bench.assert_installed(&bench.run());
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), before, "nothing was missing");

    let bench = Bench::new();
    bench.interrupt_after(CUT);
    std::fs::write(bench.partial(), vec![0; SIZE + 1]).expect("a long partial file");
    bench.assert_installed(&bench.run());

    // Bytes of an unknown past are not continued, with or without a side file that fits.
    let bench = Bench::new();
    bench.interrupt_after(CUT);
    let side = bench.partial().with_added_extension("json");
    std::fs::write(side, "{\"schema\":1,\"identity\":\"sha256:00\",\"size_bytes\":300000}").expect("a side file");
    let run = bench.run();
    bench.assert_installed(&run);
    assert!(run.has(|event| matches!(event, Event::Started { resumed_bytes: 0, .. })));
}

#[test]
fn a_damaged_partial_file_costs_one_more_fetch() {
    let bench = Bench::new();
    bench.interrupt_after(CUT);
    let mut bytes = std::fs::read(bench.partial()).expect("the partial file");
    bytes[50_000] ^= 4;
    std::fs::write(bench.partial(), bytes).expect("written");
    bench.assert_installed(&bench.run());
    let statuses: Vec<u16> = bench.hub.requests_to(On::Store, "GET").iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [200, 206, 200]);
}

#[test]
fn bytes_may_move_to_another_host() {
    let bench = Bench::new();
    bench.interrupt_after(CUT);
    let elsewhere = format!(
        "{}/repos/{}?X-Amz-Signature=2",
        bench.hub.store_origin().replace("127.0.0.1", "localhost"),
        testkit::hub::sha256_hex(&bench.bytes)
    );
    for status in [301, 302, 307, 308] {
        bench
            .hub
            .fault(On::Store, Fault::Answer { status, headers: vec![("location", elsewhere.clone())], body: vec![] });
    }
    bench.assert_installed(&bench.run());

    let bench = Bench::new();
    let loop_home =
        Fault::Answer { status: 302, headers: vec![("location", "/again?X-Amz-Signature=1".to_owned())], body: vec![] };
    bench.hub.faults(On::Store, 50, loop_home);
    assert!(matches!(bench.run().error(), FetchError::Protocol { .. }));
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), 6);
}
