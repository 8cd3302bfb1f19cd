//! T17: tokenizer files that must be refused, or must not matter. What they may cost is in `tokenizer_cost`.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::path::{Path, PathBuf};

use convert::{Code, ConvertError, Report};
use serde_json::{Value, json};
use support::{SMALL, convert_with};

/// A checkpoint whose tokenizer files can be changed.
struct Checkpoint(tempfile::TempDir);

impl Checkpoint {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        SMALL.write(folder.path());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn convert(&self, pre: Option<&str>) -> Result<Report, ConvertError> {
        convert_with(self.0.path(), &self.path("out.gguf"), pre)
    }

    fn json(&self) -> Value {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inputs/llama-tied/tokenizer.json");
        serde_json::from_slice(&std::fs::read(original).expect("there")).expect("JSON")
    }

    /// Converts with a tokenizer.json that was changed.
    fn changed(&self, pre: Option<&str>, change: impl FnOnce(&mut Value)) -> Result<Report, ConvertError> {
        let mut json = self.json();
        change(&mut json);
        std::fs::write(self.path("tokenizer.json"), json.to_string()).expect("written");
        self.convert(pre)
    }
}

fn assert_invalid(name: &str, result: Result<Report, ConvertError>, expected: &str) {
    let error = result.map(|report| report.tokenizer).expect_err(name);
    assert_eq!(error.code(), Code::TokenizerInvalid, "{name}: {error}");
    let text = error.to_string();
    assert!(text.contains(expected) && text.len() < 1_000, "{name}: {text}");
}

type Change = fn(&mut Value);

/// The six parts of the library that are known to panic on what a file says, by the change that made them.
#[test]
fn what_makes_the_library_panic_is_refused_or_never_reached() {
    let checkpoint = Checkpoint::new();
    assert_eq!(checkpoint.changed(None, |_| ()).expect("sound").tokenizer, "ok");
    let invalid: [(&str, &str, Change); 4] = [
        ("merge beyond the longest token", "merges` entry 0", |json| {
            let long = "h".repeat(4_000);
            json["model"]["vocab"][&long] = json!(299);
            json["model"]["merges"] = json!([["t", long]]);
        }),
        ("merge of no tokens", "entry 0", |json| json["model"]["merges"] = json!(["zzzz yyyy"])),
        ("table of a normalizer", "normalizer `Precompiled`", |json| {
            json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
        }),
        ("prefix longer than a token", "continuing_subword_prefix", |json| {
            json["model"]["continuing_subword_prefix"] = json!("ééééé");
        }),
    ];
    for (name, expected, change) in invalid {
        let error = checkpoint.changed(None, change);
        assert_invalid(name, error, expected);
    }
    let harmless: [(&str, Change); 3] = [
        ("truncation", |json| {
            json["truncation"] =
                json!({"max_length": 1, "stride": 5, "strategy": "LongestFirst", "direction": "Right"});
        }),
        ("template", |json| {
            let text =
                json!([{"SpecialToken": {"id": "[NONE]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
            json["post_processor"] =
                json!({"type": "TemplateProcessing", "single": text, "pair": [], "special_tokens": {}});
        }),
        ("decoder", |json| {
            json["decoder"] = json!({"type": "Strip", "content": "a", "start": 1_u64 << 40, "stop": 1_u64 << 40});
        }),
    ];
    for (name, change) in harmless {
        let report = checkpoint.changed(None, change).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.tokenizer, "ok", "{name}");
    }
}

/// An expression of a file is compared with the known ones and never compiled, also where the name is given by hand.
#[test]
fn expressions_of_a_file_are_never_run() {
    let checkpoint = Checkpoint::new();
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
    let bombs = [
        split("(a+)+$"),
        split(&format!("(?=({}))", "(a{1000}){1000}".repeat(100))),
        split(&"(".repeat(100_000)),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, split("(?:(?:x*)*)*y")]}),
    ];
    for bomb in bombs {
        let name: String = bomb.to_string().chars().take(60).collect();
        let error = checkpoint.changed(None, |json| json["pre_tokenizer"] = bomb.clone()).expect_err(&name);
        assert_eq!(error.code(), Code::ModelUnsupported, "{name}: {error}");
        assert!(error.to_string().len() < 1_000, "{name}");
        let report = checkpoint.changed(Some("smollm"), |json| json["pre_tokenizer"] = bomb.clone()).expect(&name);
        assert!(report.tokenizer.starts_with("not checked: "), "{name}: {}", report.tokenizer);
    }
    let replace = json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""});
    let sequence = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, replace]});
    assert_invalid(
        "normalizer",
        checkpoint.changed(None, |json| json["normalizer"] = sequence),
        "normalizer `Sequence`",
    );
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let checkpoint = Checkpoint::new();
    let added = |content: &str, id: u64| json!({"id": id, "content": content, "special": true});
    let push = |json: &mut Value, token: Value| json["added_tokens"].as_array_mut().expect("a list").push(token);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_invalid("empty", checkpoint.changed(None, |json| json["model"]["vocab"] = json!({})), "is empty");
    for id in [json!(1_u64 << 32), json!(-1), json!(1.5), json!(1e30), json!("1"), json!(null)] {
        let name = id.to_string();
        let error = checkpoint.changed(None, |json| json["model"]["vocab"]["new"] = id.clone());
        assert_invalid(&name, error, "tokenizer.json");
        let error = checkpoint.changed(None, |json| push(json, json!({"id": id, "content": "new"})));
        assert_invalid(&name, error, "tokenizer.json");
    }
    let beyond = checkpoint.changed(None, |json| push(json, added("new", u64::from(u32::MAX))));
    assert_invalid("beyond the embedding", beyond, "but `vocab_size` is 300");
    assert_invalid("twice", checkpoint.changed(None, |json| json["model"]["vocab"]["new"] = json!(5)), "have the id 5");
    assert_invalid("empty special", checkpoint.changed(None, |json| push(json, added("", 299))), "has no text");
    let long = checkpoint.changed(None, |json| push(json, added(&"x".repeat(5_000), 299)));
    assert_invalid("long", long, "5000 bytes");
    std::fs::write(checkpoint.path("tokenizer.json"), format!("{{\"decoder\":{deep}}}")).expect("written");
    assert_invalid("deep", checkpoint.convert(None), "recursion");
    std::fs::write(checkpoint.path("tokenizer.json"), format!("{{\"other\":{deep}}}")).expect("written");
    assert_invalid("deep where nobody looks", checkpoint.convert(None), "");
    std::fs::write(checkpoint.path("tokenizer.json"), "{\"model\":{\"vocab\":{\"a\":").expect("written");
    assert_invalid("cut", checkpoint.convert(None), "EOF");

    // Ids without a token are filled, and special tokens may begin each other: the longest is found.
    let report = checkpoint.changed(None, |json| {
        push(json, added("<|x", 295));
        push(json, added("<|x|>", 297));
        push(json, added("<|x|><|x|>", 299));
    });
    assert_eq!(report.expect("gaps").tokenizer, "ok");
}

#[test]
fn the_other_files_of_a_tokenizer_are_refused_alike() {
    let checkpoint = Checkpoint::new();
    let cases = [
        ("tokenizer_config.json", "[".repeat(100_000), ""),
        (
            "tokenizer_config.json",
            format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
            "recursion",
        ),
        ("tokenizer_config.json", format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20)), "more than 4194304 bytes"),
        ("tokenizer_config.json", json!({"added_tokens_decoder": {"1": {"special": true}}}).to_string(), "content"),
        ("chat_template.json", "[".repeat(100_000), "recursion"),
        ("chat_template.jinja", " ".repeat(65 << 20), "more than"),
    ];
    for (name, text, expected) in cases {
        // Templates are looked for where there is a configuration.
        std::fs::write(checkpoint.path("tokenizer_config.json"), "{}").expect("written");
        std::fs::write(checkpoint.path(name), text).expect("written");
        assert_invalid(name, checkpoint.convert(None), expected);
        std::fs::remove_file(checkpoint.path(name)).expect("removed");
    }
    // The same vocabulary as vocab.json and merges.txt.
    let json = checkpoint.json();
    std::fs::remove_file(checkpoint.path("tokenizer.json")).expect("removed");
    std::fs::write(checkpoint.path("vocab.json"), json["model"]["vocab"].to_string()).expect("written");
    checkpoint.convert(Some("smollm")).expect("sound");
    let cases = [
        ("vocab.json", json!({"a": 1_u64 << 32}).to_string(), "invalid value"),
        ("vocab.json", json!({"a": 1, "b": 1}).to_string(), "two tokens have the id 1"),
        ("vocab.json", "{}".to_owned(), "is empty"),
        ("added_tokens.json", json!({"": 299}).to_string(), "has no text"),
        ("added_tokens.json", json!({"a": 4_000_000_000_u64}).to_string(), "but `vocab_size` is 300"),
        ("tokenizer_config.json", json!({"added_tokens_decoder": {"x": {"content": "x"}}}).to_string(), "is no id"),
        ("merges.txt", "t h\n".repeat((1 << 20) + 2), "more than 1048576 merges"),
    ];
    for (name, text, expected) in cases {
        let kept = std::fs::read(checkpoint.path(name)).ok();
        std::fs::write(checkpoint.path(name), text).expect("written");
        assert_invalid(name, checkpoint.convert(Some("smollm")), expected);
        match kept {
            Some(bytes) => std::fs::write(checkpoint.path(name), bytes).expect("written"),
            None => std::fs::remove_file(checkpoint.path(name)).expect("removed"),
        }
    }
}

/// A field of a protobuf message: number, wire type 2, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    [&[number << 3 | 2, length], bytes].concat()
}

#[test]
fn sentencepiece_models_are_refused_alike() {
    let checkpoint = Checkpoint::new();
    let piece = |text: &[u8], score: f32, kind: u8| {
        let score = [&[0x15], &score.to_le_bytes()[..]].concat();
        field(1, &[field(1, text), score, vec![0x18, kind]].concat())
    };
    let sound = [piece(b"<s>", 0.0, 3), piece(b"a", -1.0, 1)].concat();
    let with = |more: Vec<u8>| [sound.clone(), more].concat();
    let cases = [
        ("no pieces", vec![0x12, 0], "no pieces"),
        ("not one", b"<!DOCTYPE html>".to_vec(), "damaged at byte 0"),
        ("cut", with(piece(b"b", 0.0, 1)[..7].to_vec()), "damaged"),
        ("too many", [0x0a, 0].repeat((1 << 19) + 1), "more than 524288 pieces"),
        ("longer than the file", with(vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), "damaged"),
        ("empty special", with(piece(b"", 0.0, 3)), "token 2 is matched as a whole"),
        ("no text", with(piece(b"\xff\xfe", 0.0, 1)), "token 2 is not UTF-8"),
        ("score", with(piece(b"b", f32::NAN, 1)), "token 2 has a score"),
    ];
    std::fs::write(checkpoint.path("tokenizer.model"), &sound).expect("written");
    checkpoint.convert(None).expect("sound");
    for (name, bytes, expected) in cases {
        std::fs::write(checkpoint.path("tokenizer.model"), bytes).expect("written");
        assert_invalid(name, checkpoint.convert(None), expected);
    }
}

/// The program says it to whoever called it.
#[test]
fn the_program_ends_with_the_code() {
    let checkpoint = Checkpoint::new();
    let _ = checkpoint.changed(None, |json| json["model"]["merges"] = json!(["zzzz yyyy"]));
    let output = checkpoint.path("out.gguf");
    let words = ["checkpoint".as_ref(), checkpoint.0.path().as_os_str(), "--outtype".as_ref(), "f16".as_ref()];
    let words = [&words[..], &["--output".as_ref(), output.as_os_str(), "--json".as_ref()]].concat();
    let ended = duct::cmd(env!("CARGO_BIN_EXE_llorch-convert"), words)
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .expect("it runs");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("\"code\":\"TOKENIZER_INVALID\"") && text.contains("merges"), "{text}");
    assert!(!output.exists());
}
