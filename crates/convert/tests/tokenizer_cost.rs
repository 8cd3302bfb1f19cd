//! T17: what large tokenizer files cost. One test in one process, because it measures the process.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::fmt::Write;
use std::time::{Duration, Instant};

use convert::Code;
use support::{SMALL, convert_with};
use testkit::memory::own_peak_resident_bytes;

const SIZE_BYTES: usize = 50 << 20;
const MAX_PEAK_BYTES: u64 = 512 << 20;
/// What a test on a busy machine allows; alone, the slowest takes a fifth of it.
const CEILING: Duration = Duration::from_secs(8);

/// `open`, then `item` with running numbers up to the size, then `close`.
fn large(open: &str, item: impl Fn(usize) -> String, close: &str) -> String {
    let mut text = open.to_owned();
    let mut index = 0;
    while text.len() < SIZE_BYTES {
        write!(text, "{}{}", if index == 0 { "" } else { "," }, item(index)).expect("memory");
        index += 1;
    }
    text + close
}

/// What it is about, the file's name, and its text.
type Case = (&'static str, &'static str, fn() -> String);

/// An added token.
fn token(index: usize) -> String {
    format!("{{\"id\":{index},\"content\":\"t{index}\"}}")
}

#[test]
fn fifty_megabytes_are_refused_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write(folder.path());
    let cases: [Case; 11] = [
        ("tokens", "tokenizer.json", || large("{\"model\":{\"vocab\":{", |id| format!("\"t{id}\":{id}"), "}}}")),
        ("merges", "tokenizer.json", || large("{\"model\":{\"merges\":[", |_| "\"a b\"".to_owned(), "]}}")),
        ("pairs", "tokenizer.json", || large("{\"model\":{\"merges\":[", |_| "[\"a\",\"b\"]".to_owned(), "]}}")),
        ("added", "tokenizer.json", || large("{\"added_tokens\":[", token, "]}")),
        ("values", "tokenizer.json", || large("{\"post_processor\":[", |_| "[]".to_owned(), "]}")),
        ("keys", "tokenizer.json", || large("{\"normalizer\":{", |id| format!("\"{id}\":0"), "}}")),
        ("unknown", "tokenizer.json", || large("{\"what\":[", |_| "{}".to_owned(), "]}")),
        ("text", "tokenizer.json", || format!("{{\"decoder\":\"{}\"}}", "x".repeat(SIZE_BYTES))),
        ("list", "tokenizer.json", || large("{\"model\":{\"vocab\":[", |_| "[\"a\",0]".to_owned(), "]}}")),
        ("values", "tokenizer_config.json", || large("{\"a\":[", |_| "0".to_owned(), "]}")),
        ("ids", "added_tokens.json", || large("{", |id| format!("\"t{id}\":{id}"), "}")),
    ];
    for (name, file, text) in cases {
        // What lies beside a vocabulary of its own is read where there is no tokenizer.json.
        let path = folder.path().join(file);
        let kept = std::fs::read(folder.path().join("tokenizer.json")).expect("there");
        if file == "added_tokens.json" {
            std::fs::rename(folder.path().join("tokenizer.json"), folder.path().join("kept.json")).expect("moved");
            std::fs::write(folder.path().join("vocab.json"), "{\"a\":0}").expect("written");
        }
        std::fs::write(&path, text()).expect("written");
        let started = Instant::now();
        let result = convert_with(folder.path(), &folder.path().join("out.gguf"), Some("smollm"));
        let elapsed = started.elapsed();
        println!("{file}, {name}: {elapsed:?}, peak {:?}", own_peak_resident_bytes());
        let error = result.map(|report| report.tokenizer).expect_err(name);
        assert_eq!(error.code(), Code::TokenizerInvalid, "{file}, {name}: {error}");
        assert!(error.to_string().len() < 1_000, "{file}, {name}");
        assert!(elapsed < CEILING, "{file}, {name}: {elapsed:?}");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(folder.path().join("tokenizer.json"), kept).expect("written");
    }
    // The texts that the test itself holds are in this: one, and the file that is read.
    if let Some(peak_bytes) = own_peak_resident_bytes() {
        assert!(peak_bytes < MAX_PEAK_BYTES, "{peak_bytes} bytes");
    }
}
