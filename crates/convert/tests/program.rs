//! The program: what it prints, and how it ends.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;
use support::SMALL;

struct Ended {
    code: i32,
    lines: Vec<String>,
    errors: String,
}

impl Ended {
    fn json(&self) -> Vec<Value> {
        self.lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect()
    }
}

fn run(arguments: &[&OsStr]) -> Ended {
    let command = duct::cmd(env!("CARGO_BIN_EXE_llorch-convert"), arguments).unchecked();
    let output = command.stdout_capture().stderr_capture().run().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Ended {
        code: output.status.code().expect("it exits"),
        lines: text(&output.stdout).lines().map(str::to_owned).collect(),
        errors: text(&output.stderr),
    }
}

fn words(text: &str) -> Vec<&OsStr> {
    text.split(' ').map(OsStr::new).collect()
}

#[test]
fn a_conversion_is_a_stream_of_events_and_a_quantization_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("tiny");
    std::fs::create_dir(&directory).expect("made");
    SMALL.write(&directory);
    let (plain, small) = (folder.path().join("plain.gguf"), folder.path().join("small.gguf"));
    let mut arguments = words("--json checkpoint --outtype f32 --output");
    arguments.extend([plain.as_os_str(), directory.as_os_str()]);
    let ended = run(&arguments);
    assert_eq!((ended.code, ended.errors.as_str()), (0, ""));
    let events = ended.json();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"started"));
    assert_eq!(kinds[kinds.len() - 2..], ["verifying", "done"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "progress").count(), 11);
    assert_eq!(events[0]["tensors_total"], 11);
    assert_eq!(events[0]["resumed_bytes"], 0);
    let done = events.last().expect("events");
    assert_eq!(done["path"], plain.to_str().expect("UTF-8"));
    assert_eq!(done["size_bytes"], std::fs::metadata(&plain).expect("there").len());
    assert_eq!(done["types"], serde_json::json!({"F32": 11}));
    assert_eq!(done["tokenizer"], "ok");
    assert_eq!(done["sha256"].as_str().map(str::len), Some(64));
    let mut arguments = words("quantize --type q4_0 --output");
    arguments.extend([small.as_os_str(), plain.as_os_str()]);
    let ended = run(&arguments);
    assert_eq!((ended.code, ended.lines.len()), (0, 1), "{}", ended.errors);
    assert!(ended.lines[0].contains("7 Q4_0"), "{}", ended.lines[0]);
    let ended = run(&[OsStr::new("check"), small.as_os_str()]);
    assert_eq!(ended.code, 0, "{}", ended.errors);
    let mut arguments = words("check --outtype f32 --against");
    arguments.extend([directory.as_os_str(), plain.as_os_str()]);
    assert_eq!(run(&arguments).code, 0);
}

#[test]
fn errors_have_a_code_a_hint_and_an_exit_code() {
    let nowhere = Path::new("/nonexistent");
    let ended = run(&[&words("--json checkpoint --outtype f16 --output x.gguf")[..], &[nowhere.as_os_str()]].concat());
    assert_eq!(ended.code, 1);
    assert_eq!(ended.json()[0]["code"], "MODEL_NOT_FOUND");
    assert!(ended.errors.starts_with("error: the configuration is missing"), "{}", ended.errors);
    for usage in ["checkpoint", "quantize x --type q3_k --output y", "--json check", "frobnicate"] {
        let ended = run(&words(usage));
        assert_eq!(ended.code, 2, "{usage}");
        assert!(!ended.errors.is_empty());
    }
    let ended = run(&words("--json frobnicate"));
    assert_eq!((ended.code, &ended.json()[0]["code"]), (2, &Value::from("INVALID_PARAMS")));
}

#[test]
fn it_says_what_it_is() {
    let ended = run(&words("--version --json"));
    assert_eq!(ended.code, 0);
    assert_eq!(ended.json()[0]["program"], "llorch-convert");
    assert!(run(&words("--version")).lines[0].starts_with("llorch-convert "));
    let help = run(&words("--help"));
    assert_eq!(help.code, 0);
    assert!(help.lines.iter().any(|line| line.contains("llorch-convert quantize")));
}
