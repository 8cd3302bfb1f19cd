//! Replays the fuzz corpus (the seeds and whatever a fuzzer found worth keeping): no file may panic or break a promise.

#[path = "support/families.rs"]
#[allow(dead_code, reason = "the seeds need a part of it")]
mod families;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/raw.rs"]
mod raw;

use std::path::{Path, PathBuf};

use gguf::Header;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/gguf")
}

#[test]
fn every_file_of_the_corpus_is_handled() {
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is in the repository") {
        let path = entry.expect("listed").path();
        let bytes = std::fs::read(&path).expect("readable");
        let file_len = bytes.len() as u64;
        for given in [bytes.len(), bytes.len() / 2] {
            let Ok(header) = Header::parse(&bytes[..given], file_len) else {
                continue;
            };
            for tensor in &header.tensors {
                let end = tensor.offset + tensor.size_bytes;
                assert!(end <= file_len, "{}: `{}`", path.display(), tensor.name);
                assert_eq!(header.tensor(&tensor.name), Some(tensor));
            }
            for (key, value) in header.metadata.iter() {
                assert_eq!(header.metadata.get(key).map(|v| v.type_name()), Some(value.type_name()));
            }
        }
        files += 1;
    }
    assert!(files >= 20, "{files} files");
}

#[test]
fn the_seeds_are_those_of_the_families() {
    let seeds = families::corpus();
    assert!((20..=80).contains(&seeds.len()), "{} seeds", seeds.len());
    for case in seeds {
        let stored = std::fs::read(folder().join(&case.name));
        assert!(
            stored.is_ok_and(|bytes| bytes == case.bytes),
            "`{}` differs: run `cargo run -p gguf --example fuzz_corpus`",
            case.name
        );
    }
}
