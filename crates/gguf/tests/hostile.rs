//! T14, the table: every hostile family is refused by name, every acceptable neighbour of one is taken.

#[path = "support/families.rs"]
mod families;
#[path = "support/raw.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod raw;

use std::io::Write;
use std::time::{Duration, Instant};

use gguf::{Gguf, Header, OpenError, ParseError, ParseErrorKind, TensorError, TensorType};

/// T14's figure. Table rows take microseconds.
const CEILING: Duration = Duration::from_millis(50);

/// Parses within the ceiling. A case that took longer is tried again: on a busy machine any step may have to wait once.
fn parse_timed(case: &families::Case) -> Result<Header, ParseError> {
    for _ in 0..5 {
        let started = Instant::now();
        let result = Header::parse(&case.bytes, case.bytes.len() as u64);
        if started.elapsed() < CEILING {
            return result;
        }
    }
    panic!("{}: five times longer than {CEILING:?}", case.name);
}

#[test]
fn each_family_is_refused_with_field_and_offset() {
    let cases = families::cases();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    for case in &cases {
        let result = parse_timed(case);
        match (&case.refused, result) {
            (None, Ok(_)) => {}
            (None, Err(error)) => panic!("{}: refused: {error}", case.name),
            (Some(_), Ok(_)) => panic!("{}: accepted", case.name),
            (Some(words), Err(error)) => {
                let text = error.to_string();
                for word in words {
                    assert!(text.contains(word), "{}: no `{word}` in: {text}", case.name);
                }
                assert!(text.contains(" at byte "), "{}: {text}", case.name);
                assert!(error.offset <= case.bytes.len() as u64, "{}", case.name);
                assert_eq!(error.needed_bytes(), None, "{}: the whole file was given", case.name);
            }
        }
    }
}

#[test]
fn the_same_files_are_refused_from_disk_with_their_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for case in families::cases() {
        let path = folder.path().join(&case.name);
        std::fs::write(&path, &case.bytes).expect("a small file");
        match (case.refused, Gguf::open(&path)) {
            (None, Ok(_)) => {}
            (Some(_), Err(OpenError::Invalid { path: named, .. })) => assert_eq!(named, path),
            (expected, other) => panic!("{}: {expected:?}: {other:?}", case.name),
        }
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = Gguf::open(folder.path()).expect_err("a folder is no file");
    assert!(matches!(error, OpenError::NotAFile { .. }), "{error}");
    let error = Gguf::open(&folder.path().join("absent")).expect_err("there is none");
    assert!(matches!(error, OpenError::Io { action: "open", .. }));
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn an_unknown_type_is_listed_and_refused_only_when_needed() {
    let bytes = raw::Raw::start(3, 2, 0).tensor("odd", &[8], (77, 0)).tensor("plain", &[8], (0, 32)).data(32, 64).0;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&bytes).expect("written");
    let gguf = Gguf::open(file.path()).expect("an unknown type alone is no error");
    let odd = gguf.tensor("odd").expect("listed");
    assert_eq!(odd.ggml_type, TensorType::Unknown(77));
    assert_eq!(gguf.tensor_bytes(odd), b"");
    let plain = gguf.require("plain").expect("its neighbour is usable");
    assert_eq!(gguf.tensor_bytes(plain), [0; 32]);
    assert_eq!(
        gguf.require("odd").expect_err("now it is needed").to_string(),
        "tensor `odd` is stored as unknown type 77, which this version does not know"
    );
    assert!(matches!(gguf.require("none"), Err(TensorError::Missing { .. })));
}

#[test]
fn a_prefix_says_how_much_is_needed_and_then_suffices() {
    let case = families::cases().into_iter().find(|case| case.name == "good-v3").expect("the table has it");
    let file_len = case.bytes.len() as u64;
    let whole = Header::parse(&case.bytes, file_len).expect("acceptable");
    let mut given = 0;
    let mut rounds = 0;
    let header = loop {
        match Header::parse(&case.bytes[..given], file_len) {
            Ok(header) => break header,
            Err(error) => {
                let needed = error.needed_bytes().expect("nothing else is wrong") as usize;
                assert!(needed > given, "{error}");
                assert!(matches!(error.kind, ParseErrorKind::Truncated { .. }));
                given = needed;
            }
        }
        rounds += 1;
    };
    assert_eq!(header, whole);
    assert!(given < case.bytes.len(), "the data was never asked for");
    assert!(rounds > 10);
}
