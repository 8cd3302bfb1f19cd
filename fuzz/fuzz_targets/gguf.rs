//! Arbitrary bytes through the GGUF header parser: no panic, and what it accepts keeps the parser's promises.

#![no_main]

use gguf::{Header, ParseErrorKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file_len = bytes.len() as u64;
    let whole = Header::parse(bytes, file_len);
    if let Ok(header) = &whole {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for tensor in &header.tensors {
            let end = tensor.offset.checked_add(tensor.size_bytes);
            let end = end.expect("an accepted tensor has an end");
            assert!(end <= file_len, "`{}` leaves the file", tensor.name);
            assert_eq!(header.tensor(&tensor.name), Some(tensor));
            spans.push((tensor.offset, end));
        }
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
    // A prefix either suffices and says the same, or asks for more; it never finds another fault first.
    if let Err(error) = Header::parse(&bytes[..bytes.len() / 2], file_len)
        && let ParseErrorKind::Truncated { needed } = error.kind
    {
        assert!(needed > file_len / 2 && needed <= file_len);
    }
});
