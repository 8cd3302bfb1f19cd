//! Replays the fuzz corpus of `protocol::sse`, and watches over the size of all corpora together.

#[path = "../../../fuzz/checks/sse_parser.rs"]
mod sse_parser;

use std::path::Path;

/// What a clone can bear.
const MOST_BYTES: u64 = 2 << 20;

#[test]
fn every_stream_of_the_corpus_is_handled() {
    testkit::corpus::replay("sse_parser", sse_parser::check);
}

#[test]
fn all_corpora_together_stay_small() {
    let bytes = bytes_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus"));
    assert!((1..=MOST_BYTES).contains(&bytes), "{bytes} bytes");
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("listed"));
    entries
        .map(|entry| match entry.metadata().expect("metadata") {
            metadata if metadata.is_dir() => bytes_below(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}
