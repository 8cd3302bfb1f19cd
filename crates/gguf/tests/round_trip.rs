//! Writer and reader against each other, and the writer against its own contract.

use std::path::Path;

use gguf::{Array, Gguf, Header, StringArray, TensorSpec, TensorType, Value, WriteError, Writer};

fn entry(key: &str, value: impl Into<Value>) -> (String, Value) {
    (key.to_owned(), value.into())
}

fn spec(name: &str, shape: &[u64], ggml_type: TensorType) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), ggml_type }
}

/// Every value type and every array type.
fn every_value() -> Vec<(String, Value)> {
    let strings: StringArray = [&b"plain"[..], b"", b"\xff\x00", "é".as_bytes()].into_iter().collect();
    let nested = Array::Nested(vec![
        Array::Nested(vec![vec![1u8].into(), Array::U8(vec![])]),
        Array::String(["x"].into_iter().collect()),
    ]);
    vec![
        entry("general.architecture", "llama"),
        entry("u8", u8::MAX),
        entry("i8", i8::MIN),
        entry("u16", u16::MAX),
        entry("i16", i16::MIN),
        entry("u32", u32::MAX),
        entry("i32", i32::MIN),
        entry("u64", u64::MAX),
        entry("i64", i64::MIN),
        entry("f32", 1.5e-5f32),
        entry("f64", -1.5e-300f64),
        entry("bool", true),
        entry("empty", ""),
        entry("a.u8", vec![0u8, 255]),
        entry("a.i8", vec![-1i8]),
        entry("a.u16", vec![65_535u16, 1]),
        entry("a.i16", vec![-2i16]),
        entry("a.u32", vec![3u32]),
        entry("a.i32", vec![-3i32]),
        entry("a.u64", vec![u64::MAX]),
        entry("a.i64", vec![i64::MIN]),
        entry("a.f32", vec![0.5f32, -0.0]),
        entry("a.f64", vec![0.25f64]),
        entry("a.bool", vec![true, false]),
        entry("a.string", strings),
        entry("a.nested", nested),
        entry("a.empty", Array::String(StringArray::default())),
    ]
}

fn write(path: &Path, metadata: &[(String, Value)]) -> Vec<u8> {
    let tensors = [
        spec("a", &[32, 3], TensorType::Q4_0),
        spec("b", &[5], TensorType::F32),
        spec("c", &[256, 2, 2], TensorType::Q6K),
    ];
    let file = std::io::BufWriter::new(std::fs::File::create(path).expect("created"));
    let mut writer = Writer::new(file, metadata, &tensors).expect("valid");
    for (index, spec) in tensors.iter().enumerate() {
        let size = spec.ggml_type.tensor_bytes(&spec.shape).expect("known") as usize;
        let data = vec![index as u8 + 1; size];
        for chunk in data.chunks(7) {
            writer.write_tensor(&spec.name, chunk).expect("in order");
        }
    }
    writer.finish().expect("complete");
    std::fs::read(path).expect("readable")
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let metadata = every_value();
    let bytes = write(&path, &metadata);
    assert_eq!(bytes.len() % 32, 0, "the last tensor is padded too");

    let gguf = Gguf::open(&path).expect("the reader takes what the writer makes");
    assert_eq!(gguf.header().version, 3);
    let read: Vec<(String, Value)> =
        gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    assert_eq!(read, metadata);
    let names: Vec<&str> = gguf.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    for (index, info) in gguf.tensors().iter().enumerate() {
        let data = gguf.tensor_bytes(info);
        assert_eq!(data.len() as u64, info.size_bytes);
        assert!(data.iter().all(|byte| *byte == index as u8 + 1));
        assert_eq!(gguf.tensor(&info.name), Some(info));
        assert_eq!(info.offset % 32, 0);
    }
    assert_eq!(gguf.tensor("c").map(|t| t.elements()), Some(1024));
    assert_eq!(gguf.tensor("d"), None);

    let map = gguf.map().clone();
    drop(gguf);
    assert_eq!(map.as_ref().as_ref(), bytes, "the mapping outlives the reader");
    assert_eq!(write(&folder.path().join("again"), &metadata), bytes);
}

#[test]
fn alignment_is_honoured() {
    let metadata = [entry("general.alignment", 4096u32)];
    let tensors = [spec("a", &[1], TensorType::I8), spec("b", &[1], TensorType::I8)];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).expect("valid");
    writer.write_tensor("a", &[1]).expect("first");
    writer.write_tensor("b", &[2]).expect("second");
    let bytes = writer.finish().expect("complete");
    assert_eq!(bytes.len(), 3 * 4096);
    let header = Header::parse(&bytes, bytes.len() as u64).expect("readable");
    assert_eq!(header.alignment, 4096);
    assert_eq!(header.tensor("b").map(|t| t.offset), Some(2 * 4096));
}

#[test]
fn padding_that_is_missing_at_the_very_end_is_no_loss() {
    let tensors = [spec("a", &[1], TensorType::F32)];
    let mut writer = Writer::new(Vec::new(), &[], &tensors).expect("valid");
    writer.write_tensor("a", &[1, 2, 3, 4]).expect("whole");
    let bytes = writer.finish().expect("complete");
    let end = bytes.len() - 28;
    assert!(Header::parse(&bytes[..end], end as u64).is_ok());
    assert!(Header::parse(&bytes[..end - 1], end as u64 - 1).is_err());
}

#[test]
fn short_long_missing_and_misplaced_data_are_errors() {
    let tensors = [spec("a", &[4], TensorType::I8), spec("b", &[4], TensorType::I8)];
    let new = || Writer::new(Vec::new(), &[], &tensors).expect("valid");

    let error = new().finish().expect_err("nothing was written");
    assert_eq!(error.to_string(), "tensor `a` got 0 of its 4 bytes");

    let mut writer = new();
    assert!(matches!(writer.write_tensor("b", &[0; 4]), Err(WriteError::OutOfOrder { .. })));
    writer.write_tensor("a", &[0; 3]).expect("a part");
    let error = writer.write_tensor("b", &[0; 4]).expect_err("`a` lacks a byte");
    assert_eq!(error.to_string(), "tensor `a` got 3 of its 4 bytes");
    let error = writer.write_tensor("a", &[0; 2]).expect_err("a byte too many");
    assert!(matches!(error, WriteError::TooLong { size_bytes: 4, .. }));
    writer.write_tensor("a", &[0; 1]).expect("the last byte");
    writer.write_tensor("b", &[0; 4]).expect("whole");
    assert!(matches!(writer.write_tensor("b", &[0]), Err(WriteError::Unexpected { .. })));
    writer.finish().expect("complete");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let refuse = |metadata: &[(String, Value)], tensors: &[TensorSpec]| {
        Writer::new(Vec::new(), metadata, tensors).map(|_| ()).expect_err("not writable").to_string()
    };
    let tensor = |shape: &[u64], ggml_type| [spec("t", shape, ggml_type)];
    let deep = (0..9).fold(Array::U8(vec![]), |array, _| Array::Nested(vec![array]));
    let cases = [
        (refuse(&[entry("k", 1u8), entry("k", 2u8)], &[]), "metadata key `k` is given twice"),
        (refuse(&[entry("", 1u8)], &[]), "is empty"),
        (refuse(&[entry("general.alignment", 12u32)], &[]), "power of two"),
        (refuse(&[entry("k", deep)], &[]), "deeper than 8"),
        (refuse(&[entry("k", vec![0u8; 33 << 20])], &[]), "a header may take"),
        (
            refuse(&[], &[tensor(&[1], TensorType::F32), tensor(&[1], TensorType::F32)].concat()),
            "tensor `t` is given twice",
        ),
        (refuse(&[], &tensor(&[], TensorType::F32)), "0 dimensions"),
        (refuse(&[], &tensor(&[1, 0], TensorType::F32)), "dimension 1 is zero"),
        (refuse(&[], &tensor(&[33], TensorType::Q8_0)), "rows of 33"),
        (refuse(&[], &tensor(&[1 << 40, 1 << 40], TensorType::I8)), "64 bits"),
        (refuse(&[], &tensor(&[1], TensorType::Unknown(77))), "cannot write unknown type 77"),
    ];
    for (text, expected) in cases {
        assert!(text.contains(expected), "no `{expected}` in: {text}");
    }
}
