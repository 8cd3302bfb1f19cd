//! T13: a valid file of about 20 KB, versions 2 and 3, cut at every byte and with every bit of its header flipped.

use std::time::{Duration, Instant};

use gguf::{Array, Header, StringArray, TensorSpec, TensorType, Value, Writer};

const CEILING: Duration = Duration::from_millis(5);

/// About 20 KB: every value type, 300 tokens, tensors of four types. Ends with the last byte of its last tensor, no padding.
fn file(version: u8) -> Vec<u8> {
    let tokens: StringArray = (0..300).map(|id| format!("token{id}")).collect();
    let entries = [
        ("general.architecture", Value::from("llama")),
        ("general.alignment", Value::U32(64)),
        ("a.u8", Value::U8(1)),
        ("a.i8", Value::I8(-1)),
        ("a.u16", Value::U16(2)),
        ("a.i16", Value::I16(-2)),
        ("a.i32", Value::I32(-3)),
        ("a.u64", Value::U64(4)),
        ("a.i64", Value::I64(-4)),
        ("a.f32", Value::F32(0.5)),
        ("a.f64", Value::F64(0.25)),
        ("a.bool", Value::Bool(true)),
        ("a.bools", Value::from(vec![true, false, true])),
        ("a.nested", Value::Array(Array::Nested(vec![vec![1u16, 2].into(), vec![0.5f64].into()]))),
        ("tokenizer.ggml.tokens", Value::from(tokens)),
        ("tokenizer.ggml.scores", Value::from(vec![0.0f32; 300])),
        ("tokenizer.ggml.token_type", Value::from(vec![1i32; 300])),
    ];
    let metadata = entries.map(|(key, value)| (key.to_owned(), value));
    let tensor =
        |name: &str, shape: &[u64], ggml_type| TensorSpec { name: name.to_owned(), shape: shape.to_vec(), ggml_type };
    let tensors = [
        tensor("token_embd.weight", &[64, 60], TensorType::Q8_0),
        tensor("blk.0.attn_norm.weight", &[64], TensorType::F32),
        tensor("blk.0.attn_q.weight", &[64, 64], TensorType::Q4_1),
        tensor("blk.0.ffn_up.weight", &[256, 16], TensorType::Q4K),
    ];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).expect("a valid header");
    for spec in &tensors {
        let size = spec.ggml_type.tensor_bytes(&spec.shape).expect("sizes fit");
        writer.write_tensor(&spec.name, &vec![0x5a; size as usize]).expect("in order");
    }
    let mut bytes = writer.finish().expect("complete");
    bytes[4] = version;
    bytes
}

/// Parses within the ceiling. A case that took longer is tried again: on a busy machine any step may have to wait once.
fn parse_timed(bytes: &[u8], what: &str) -> Result<Header, gguf::ParseError> {
    for _ in 0..5 {
        let started = Instant::now();
        let result = Header::parse(bytes, bytes.len() as u64);
        if started.elapsed() < CEILING {
            return result;
        }
    }
    panic!("{what}: five times longer than {CEILING:?}");
}

#[test]
fn every_cut_is_refused() {
    for version in [2, 3] {
        let bytes = file(version);
        assert!((16_000..24_000).contains(&bytes.len()), "{}", bytes.len());
        let header = parse_timed(&bytes, "whole").expect("valid");
        assert_eq!(header.version, u32::from(version));
        let last = header.tensors.last().expect("four tensors");
        assert_eq!(last.offset + last.size_bytes, bytes.len() as u64);
        for cut in 0..bytes.len() {
            let error = parse_timed(&bytes[..cut], "cut").expect_err("a cut file is refused");
            assert_eq!(error.needed_bytes(), None, "cut at {cut}: {error}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    for version in [2, 3] {
        let mut bytes = file(version);
        let file_len = bytes.len() as u64;
        let header_len = parse_timed(&bytes, "whole").expect("valid").data_offset as usize;
        let mut refused = 0;
        for bit in 0..header_len * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match parse_timed(&bytes, "flip") {
                Err(_) => refused += 1,
                Ok(header) => check_inside(&header, file_len, bit),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        // Most bits are content of names and values; those that carry structure must all have been caught.
        assert!(refused > 500, "{refused} of {} refused", header_len * 8);
    }
}

fn check_inside(header: &Header, file_len: u64, bit: usize) {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for tensor in &header.tensors {
        assert!(tensor.offset >= header.data_offset, "bit {bit}");
        let end = tensor.offset.checked_add(tensor.size_bytes).expect("no overflow");
        assert!(end <= file_len, "bit {bit}: `{}` ends at {end}", tensor.name);
        assert!(!tensor.shape.contains(&0), "bit {bit}");
        spans.push((tensor.offset, end));
    }
    spans.sort_unstable();
    let apart = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    assert!(apart, "bit {bit}: {spans:?}");
}
