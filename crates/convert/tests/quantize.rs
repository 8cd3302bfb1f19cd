//! Whole files through the quantizer: the reference's bytes, on tiny models and on the real one.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use convert::checkpoint::{self, Outtype};
use convert::quantize::{self, QuantizeType};
use convert::{ConvertError, Event, Report};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden().join(name)).expect("there")).expect("JSON")
}

const TYPES: [(&str, QuantizeType); 5] = [
    ("q4_0", QuantizeType::Q4_0),
    ("q4_k_m", QuantizeType::Q4KM),
    ("q5_k_m", QuantizeType::Q5KM),
    ("q6_k", QuantizeType::Q6K),
    ("q8_0", QuantizeType::Q8_0),
];

fn run(input: &Path, output: &Path, (to, allow_requantize): (QuantizeType, bool)) -> Result<Report, ConvertError> {
    let request = quantize::Request {
        input,
        output,
        to,
        allow_requantize,
        provenance: false,
        allow_nonfinite: false,
        threads: 2,
    };
    quantize::quantize(&request, &mut |_: Event| {}, &AtomicBool::new(false))
}

#[test]
fn small_files_are_the_references_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = json("quantize_small.json");
    let mut wrong = Vec::new();
    for (name, case) in cases.as_object().expect("an object") {
        let input = golden().join(case["input"].as_str().expect("a path"));
        for (type_name, to) in TYPES {
            let expected = &case["files"][type_name];
            let output = folder.path().join(format!("{name}.{type_name}.gguf"));
            let report =
                run(&input, &output, (to, false)).unwrap_or_else(|error| panic!("{name} {type_name}: {error}"));
            if report.sha256 != expected["sha256"] {
                wrong.push(format!("{name} {type_name}: {}", first_difference(&output, expected)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

fn first_difference(output: &Path, expected: &Value) -> String {
    use sha2::Digest;
    let gguf = gguf::Gguf::open(output).expect("a GGUF file");
    for (ours, theirs) in gguf.tensors().iter().zip(expected["tensors"].as_array().into_iter().flatten()) {
        let sum: String =
            sha2::Sha256::digest(gguf.tensor_bytes(ours)).iter().map(|byte| format!("{byte:02x}")).collect();
        let ours = [ours.name.clone(), ours.ggml_type.name().into_owned(), sum];
        if *theirs != serde_json::json!(ours) {
            return format!("ours {ours:?}, theirs {theirs}");
        }
    }
    format!("the tensors agree; size {} against {}", gguf.header().file_len, expected["size_bytes"])
}

#[test]
fn a_checkpoint_quantized_at_once_is_the_file_quantized_in_two_steps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = golden().join("inputs/llama3");
    let plain = folder.path().join("plain.gguf");
    let convert = |output: &Path, outtype: Outtype| {
        let request = checkpoint::Request {
            directory: &directory,
            output,
            outtype,
            model_name: None,
            pre: None,
            provenance: None,
            allow_nonfinite: false,
            threads: 1,
        };
        checkpoint::convert(&request, &mut |_: Event| {}, &AtomicBool::new(false)).expect("converts")
    };
    convert(&plain, Outtype::F32);
    for (name, to) in TYPES {
        let (once, twice) = (folder.path().join("once.gguf"), folder.path().join("twice.gguf"));
        let once = convert(&once, Outtype::Quantized(to));
        let twice = run(&plain, &twice, (to, false)).expect("quantizes");
        assert_eq!(once.sha256, twice.sha256, "{name}");
    }
}

#[test]
fn what_is_quantized_is_taken_on_demand_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = golden().join("expected/llama3.q8_0.gguf");
    let output = folder.path().join("out.gguf");
    let error = run(&input, &output, (QuantizeType::Q4_0, false)).expect_err("quantized already");
    assert!(error.to_string().contains("is Q8_0 already"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--allow-requantize")));
    assert!(!output.exists());
    run(&input, &output, (QuantizeType::Q4_0, true)).expect("on demand");
}

/// SmolLM2 through F32 to every mixture: the sums are of `llama-quantize`'s files.
#[test]
fn the_real_model_is_the_references_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = &json("quantize.json")["files"];
    let plain = folder.path().join("f32.gguf");
    let report = run(&testkit::real_model::path(), &plain, (QuantizeType::F32, true)).expect("dequantizes");
    assert_eq!(files["f32"]["sha256"], report.sha256, "f32");
    for (name, to) in TYPES {
        let output = folder.path().join("out.gguf");
        let report = run(&plain, &output, (to, false)).expect("quantizes");
        assert_eq!(files[name]["sha256"], report.sha256, "{name}: {:?}", report.types);
    }
}
