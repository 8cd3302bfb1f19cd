//! Bodies and headers that say one thing and are another.

use models::fetch::FetchError;
use testkit::hub::{Fault, Hub, On, Repo};

use crate::support::{Bench, COMMIT, Expected, FILE, SIZE, content, entry, entry_text, pinned_entry, repo};

#[test]
fn a_hub_that_announces_other_bytes_is_not_asked_for_them() {
    let other = content(SIZE + 1);
    let bench = Bench::with(Hub::builder().repo(repo(&other)), pinned_entry(&content(SIZE), ""));
    assert!(matches!(bench.run().error(), FetchError::HashMismatch { .. }));
    assert!(bench.hub.requests_to(On::Store, "GET").is_empty());

    let bench = Bench::new();
    bench.hub.fault(On::Hub, Fault::Header("x-linked-size", Some("7".to_owned())));
    assert!(matches!(bench.run().error(), FetchError::SizeMismatch { actual: 7, .. }));
    assert!(bench.hub.requests_to(On::Store, "GET").is_empty());
}

#[test]
fn without_any_hash_nothing_is_trusted() {
    let bytes = content(SIZE);
    let bench = Bench::with(Hub::builder().repo(repo(&bytes)), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    for name in ["etag", "x-linked-etag"] {
        // Without the linked tag the answer is no description of a file any more: the hub's own redirect is followed.
        bench.hub.fault(On::Hub, Fault::Header(name, None));
    }
    let first = bench.run();
    assert!(first.result.is_ok(), "the linked tag alone is enough: {:?}", first.result);

    let repo = Repo::new("org/tiny", COMMIT).small(FILE, "small");
    let bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    bench.hub.fault(On::Hub, Fault::Header("etag", None));
    let error = bench.run().error();
    assert!(matches!(error, FetchError::NoHash { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("sha256")));
}

#[test]
fn lying_lengths_end_in_the_right_file_or_a_typed_error() {
    let size_error: Expected = |error| matches!(error, FetchError::SizeMismatch { .. });
    let protocol: Expected = |error| matches!(error, FetchError::Protocol { .. });
    let wrong = [
        ("length too big", Fault::ContentLength(SIZE as u64 + 5), size_error),
        ("length too small", Fault::ContentLength(SIZE as u64 - 5), size_error),
        ("length absurd", Fault::ContentLength(u64::MAX), size_error),
        ("more bytes than announced", Fault::Append(vec![1; 100_000]), size_error),
        ("compressed without being asked", Fault::Header("content-encoding", Some("gzip".to_owned())), protocol),
        ("an error page with status 200", Fault::status(200), size_error),
    ];
    for (name, fault, expected) in wrong {
        let bench = Bench::new();
        bench.hub.fault(On::Store, fault);
        let error = bench.run().error();
        assert!(expected(&error), "{name}: {error:?}");
        bench.assert_nothing_final();
        let partial_bytes = std::fs::metadata(bench.partial()).map_or(0, |metadata| metadata.len());
        assert!(partial_bytes <= SIZE as u64, "{name}: {partial_bytes} bytes were written");
    }
    for (name, fault) in [
        ("chunks", Fault::Chunked { terminated: true }),
        ("chunks without an end", Fault::Chunked { terminated: false }),
        ("a cut", Fault::DropAfter(7)),
    ] {
        let bench = Bench::new();
        bench.hub.fault(On::Store, fault);
        let run = bench.run();
        assert!(run.result.is_ok(), "{name}: {:?}", run.result);
        bench.assert_installed(&run);
    }
}

#[test]
fn an_error_names_the_network_not_the_disk() {
    let bench = Bench::new();
    bench.hub.faults(On::Store, 100, Fault::Reset);
    let error = bench.run().error();
    assert!(matches!(error, FetchError::Connection { .. }), "{error:?}");
    assert!(error.to_string().starts_with("reading from `127.0.0.1:"), "{error}");
}
