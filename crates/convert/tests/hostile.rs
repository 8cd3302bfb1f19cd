//! T13 and T16: safetensors headers that must be refused, quickly and without memory; T20: indexes that must be refused.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use convert::safetensors::{Header, MAX_HEADER_BYTES, Shard};
use convert::{Code, ConvertError, Report};
use serde_json::{Value, json};
use support::{SMALL, convert_with, with_length};

/// What is refused at once takes milliseconds; what is read or reserved first, minutes. A busy machine lies between.
const CEILING: Duration = Duration::from_secs(10);

fn convert(directory: &Path, output: &Path) -> Result<Report, ConvertError> {
    convert_with(directory, output, None)
}

/// Two tensors of four bytes each, as text that a case may break.
fn two(first: [u64; 2], second: [u64; 2]) -> String {
    let tensor = |offsets: [u64; 2]| json!({"dtype": "F32", "shape": [1], "data_offsets": offsets});
    json!({"a": tensor(first), "b": tensor(second)}).to_string()
}

fn parse(text: &str, data: usize) -> Result<Header, String> {
    let mut bytes = with_length(text);
    bytes.extend(vec![0; data]);
    Header::parse(&bytes, bytes.len() as u64).map_err(|error| error.to_string())
}

#[test]
fn hostile_headers_are_refused_by_what_is_wrong() {
    let one = |dtype: &str, shape: Value, offsets: Value| {
        json!({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).to_string()
    };
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_metadata = format!("{{\"__metadata__\":{}1{}}}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let cases: Vec<(&str, String, usize, &str)> = vec![
        ("overlap", two([0, 4], [2, 6]), 6, "inside the one before"),
        ("same place", two([0, 4], [0, 4]), 4, "inside the one before"),
        ("hole", two([0, 4], [8, 12]), 12, "after a hole"),
        ("hole at the start", one("F32", json!([1]), json!([4, 8])), 8, "after a hole"),
        ("reversed", one("F32", json!([1]), json!([4, 0])), 4, "before it starts"),
        ("past the end", one("F32", json!([2]), json!([0, 8])), 4, "but the file has"),
        ("trailing bytes", one("F32", json!([1]), json!([0, 4])), 5, "follow the last tensor"),
        ("shape", one("F32", json!([2]), json!([0, 4])), 4, "do not fit the shape"),
        ("shape overflow", one("F32", json!([u64::MAX, u64::MAX]), json!([0, 4])), 4, "do not fit the shape"),
        ("size overflow", one("F32", json!([1_u64 << 62]), json!([0, 0])), 0, "do not fit the shape"),
        ("far offset", one("F32", json!([0]), json!([u64::MAX, u64::MAX])), 4, ""),
        ("sub-byte type", one("F4", json!([2]), json!([0, 1])), 1, "type `F4` is not supported"),
        ("unknown type", one("Q4", json!([1]), json!([0, 4])), 4, "is not supported"),
        ("negative", one("F32", json!([-1]), json!([0, 4])), 4, "invalid value"),
        ("fraction", one("F32", json!([1.5]), json!([0, 4])), 4, "invalid type"),
        ("nine dimensions", one("F32", json!(vec![1; 9]), json!([0, 4])), 4, "more than 8 dimensions"),
        ("three offsets", one("F32", json!([1]), json!([0, 4, 8])), 4, ""),
        ("unknown field", json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}}).to_string(), 4, "unknown field"),
        ("no field", json!({"a": {"dtype": "F32", "shape": [1]}}).to_string(), 4, "missing field"),
        ("duplicate name", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(), 8, "occurs twice"),
        ("duplicate escaped", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(), 8, "occurs twice"),
        ("duplicate field", r#"{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}"#.into(), 4, "duplicate field"),
        ("metadata number", r#"{"__metadata__":{"a":1}}"#.into(), 0, "expected"),
        ("metadata text", r#"{"__metadata__":"a"}"#.into(), 0, "expected"),
        ("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "occurs twice"),
        ("deep", deep, 0, ""),
        ("deep metadata", deep_metadata, 0, ""),
        ("list", "[]".into(), 0, "does not start"),
        ("empty", String::new(), 0, "does not start"),
        ("space in front", " {}".into(), 0, "does not start"),
        ("two values", "{}{}".into(), 0, "trailing"),
        ("name of nothing", r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.into(), 4, "0 bytes"),
        ("long name", format!(r#"{{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#, "a".repeat(2_000)), 4, "2000 bytes"),
    ];
    for (name, text, data, expected) in cases {
        let started = Instant::now();
        let error = parse(&text, data).expect_err(name);
        assert!(started.elapsed() < CEILING, "{name}");
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.len() < 4_000, "{name}: a text of {} bytes", error.len());
    }
    let mut bytes = with_length("{\"a\u{7f}\":1}");
    bytes[11] = 0xff;
    assert!(Header::parse(&bytes, bytes.len() as u64).is_err(), "not UTF-8");
    assert_eq!(parse("{}", 0).map(|header| header.tensors.len()), Ok(0));
    assert!(parse("{\"__metadata__\":{\"format\":\"pt\"}}   ", 0).is_ok(), "padding is usual");
}

#[test]
fn sizes_that_no_header_has_cost_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.safetensors");
    for (length, file_len) in
        [(100_000_001_u64, 200_000_000_u64), (MAX_HEADER_BYTES + 1, 1 << 40), (u64::MAX, 1 << 30), (1 << 20, 100)]
    {
        let file = File::create(&path).expect("created");
        std::os::unix::fs::FileExt::write_all_at(&file, &length.to_le_bytes(), 0).expect("written");
        file.set_len(file_len).expect("lengthened");
        let started = Instant::now();
        let error = Shard::open(&path).expect_err("too large");
        assert!(started.elapsed() < CEILING, "{length}");
        assert_eq!(error.code(), Code::ModelInvalid, "{error}");
    }
    let mut many = String::from("{");
    for index in 0..100_000 {
        many.push_str(&format!(
            "\"t{index}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{},{}]}},",
            index * 4,
            index * 4 + 4
        ));
    }
    many.push_str("\"__metadata__\":{}}");
    let started = Instant::now();
    let error = parse(&many, 400_000).expect_err("too many");
    assert!(started.elapsed() < CEILING, "{:?}", started.elapsed());
    assert!(error.contains("more than 65536 tensors"), "{error}");
    for short in 0..8 {
        std::fs::write(&path, vec![0; short]).expect("written");
        assert!(Shard::open(&path).is_err(), "{short} bytes");
    }
    assert!(Shard::open(folder.path()).is_err(), "a directory");
}

#[test]
fn every_cut_is_refused_and_every_flipped_bit_is_refused_or_harmless() {
    let (mut bytes, data) = support::header(&SMALL.tensors("F16"));
    let header_len = bytes.len();
    bytes.extend((0..data).map(|index| index as u8));
    let file_len = bytes.len() as u64;
    assert!(Header::parse(&bytes, file_len).is_ok());
    // A cut within the data is one check of lengths, whatever the byte: every place of the header, and some of the data.
    for cut in (0..header_len + 64).chain((header_len..bytes.len()).step_by(509)) {
        assert!(Header::parse(&bytes[..cut], cut as u64).is_err(), "cut at {cut}");
    }
    let mut refused = 0;
    for bit in 0..header_len * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match Header::parse(&bytes, file_len) {
            Err(_) => refused += 1,
            Ok(header) => {
                for tensor in &header.tensors {
                    let end = tensor.offset.checked_add(tensor.size_bytes).expect("no overflow");
                    assert!(tensor.offset >= header.data_offset && end <= file_len, "bit {bit}: `{}`", tensor.name);
                }
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(refused > header_len * 4, "{refused} of {}", header_len * 8);
}

fn write_index(directory: &Path, index: &Value) {
    std::fs::write(directory.join("model.safetensors.index.json"), index.to_string()).expect("written");
}

#[test]
fn hostile_indexes_are_refused_before_a_shard_is_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("checkpoint");
    std::fs::create_dir(&directory).expect("made");
    SMALL.write(&directory);
    let shard = "model-00001-of-00001.safetensors";
    std::fs::rename(directory.join("model.safetensors"), directory.join(shard)).expect("renamed");
    std::fs::copy(directory.join(shard), folder.path().join("outside.safetensors")).expect("copied");
    let names: Vec<String> = SMALL.tensors("F32").into_iter().map(|(name, ..)| name).collect();
    let map = |file: &str| names.iter().map(|name| (name.clone(), json!(file))).collect::<serde_json::Map<_, _>>();
    let output = folder.path().join("out.gguf");
    let sound = map(shard);
    write_index(&directory, &json!({"weight_map": sound}));
    convert(&directory, &output).expect("a sound index");
    std::fs::remove_file(&output).expect("removed");
    let hostile = [
        "../outside.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "..\\outside.safetensors",
        "C:model.safetensors",
        ".hidden.safetensors",
        "model\n.safetensors",
        "",
        "pytorch_model.bin",
        "model.pt",
        "model.pkl",
        "model.txt",
    ];
    for name in hostile {
        write_index(&directory, &json!({"weight_map": map(name)}));
        let error = convert(&directory, &output).expect_err(name);
        assert_eq!(error.code(), Code::ModelInvalid, "{name}: {error}");
        let expected = if name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pkl") {
            "never opened"
        } else {
            "shard"
        };
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    let total: u64 = SMALL.tensors("F32").iter().map(|(_, _, shape)| shape.iter().product::<u64>() * 4).sum();
    let mut extra = sound.clone();
    extra.insert("model.extra.weight".into(), json!(shard));
    let mut fewer = sound.clone();
    fewer.remove("model.norm.weight");
    let cases = [
        ("missing shard", json!({"weight_map": map("model-00002-of-00002.safetensors")}), "is missing"),
        ("missing tensor", json!({"weight_map": extra}), "is missing"),
        ("unlisted tensor", json!({"weight_map": fewer}), "is not in the index"),
        ("total size", json!({"metadata": {"total_size": total + 1}, "weight_map": sound}), "total_size"),
        ("empty", json!({"weight_map": {}}), "is empty"),
        ("no map", json!({}), "weight_map"),
        ("list", json!({"weight_map": [["a", "b"]]}), "expected a map"),
    ];
    for (name, index, expected) in cases {
        write_index(&directory, &index);
        let error = convert(&directory, &output).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    // The same tensor in two shards, and twice in the index: JSON allows both.
    let twice = format!("{{\"weight_map\":{{\"a\":\"{shard}\",\"a\":\"other.safetensors\"}}}}");
    std::fs::write(directory.join("model.safetensors.index.json"), twice).expect("written");
    assert!(convert(&directory, &output).expect_err("twice").to_string().contains("occurs twice"));
    std::fs::copy(directory.join(shard), directory.join("second.safetensors")).expect("copied");
    let mut torn = sound.clone();
    torn.insert("model.norm.weight".into(), json!("second.safetensors"));
    write_index(&directory, &json!({"weight_map": torn}));
    let error = convert(&directory, &output).expect_err("in two shards").to_string();
    assert!(error.contains("is not in the index"), "{error}");
    write_index(&directory, &json!({"metadata": {"total_size": total as f64}, "weight_map": sound}));
    convert(&directory, &output).expect("a total as a float is usual");
}

#[test]
fn pickles_are_never_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write_texts(folder.path());
    for name in ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.pkl"] {
        // A link to itself cannot be opened: whoever tries gets an error of the system, not ours.
        let path = folder.path().join(name);
        std::os::unix::fs::symlink(&path, &path).expect("linked");
        let error = convert(folder.path(), &folder.path().join("out.gguf")).expect_err("a pickle");
        assert_eq!(error.code(), Code::ModelUnsupported, "{error}");
        assert!(error.to_string().contains("never opened"), "{error}");
        std::fs::remove_file(&path).expect("removed");
    }
}

/// T18: the seeds of the fuzz target, and whatever a fuzzer found worth keeping.
#[test]
fn every_file_of_the_corpus_is_handled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/safetensors");
    let (mut files, mut accepted) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("the corpus is in the repository") {
        let bytes = std::fs::read(entry.expect("listed").path()).expect("readable");
        files += 1;
        let Ok(header) = Header::parse(&bytes, bytes.len() as u64) else { continue };
        accepted += 1;
        let data: u64 = header.tensors.iter().map(|tensor| tensor.size_bytes).sum();
        assert_eq!(header.data_offset + data, bytes.len() as u64);
    }
    assert!(files >= 14 && accepted >= 5, "{accepted} of {files}");
}
