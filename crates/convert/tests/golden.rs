//! The reference converter's output, byte for byte, for every tiny checkpoint of `golden/` (see its README for versions).

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use convert::checkpoint::{self, Outtype};
use convert::{Event, Report};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    input: String,
    outtype: String,
    model_name: Option<String>,
    expected: String,
    sha256: String,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn convert(case: &Case, output: &Path, outtype: Outtype) -> Report {
    let request = checkpoint::Request {
        directory: &golden().join(&case.input),
        output,
        outtype,
        model_name: case.model_name.as_deref(),
        pre: None,
        provenance: None,
        // The fixtures hold a weight that overflows F16; the reference writes infinity, we only on demand.
        allow_nonfinite: true,
        threads: 2,
    };
    let mut done = 0;
    let mut observer = |event: Event| done += u32::from(matches!(event, Event::Done(_)));
    let report = checkpoint::convert(&request, &mut observer, &AtomicBool::new(false));
    let report = report.unwrap_or_else(|error| panic!("{}: {error}", case.id));
    assert_eq!(done, 1, "{}", case.id);
    report
}

/// Where two headers differ, as text: a difference in bytes says little.
fn difference(ours: &[u8], theirs: &[u8]) -> String {
    let parse = |bytes: &[u8]| gguf::Header::parse(bytes, bytes.len() as u64);
    let (Ok(ours), Ok(theirs)) = (parse(ours), parse(theirs)) else { return "one is no GGUF file".to_owned() };
    let lines = |header: &gguf::Header| -> Vec<String> {
        let metadata = header.metadata.iter().map(|(key, value)| format!("{key} {} {value:?}", value.type_name()));
        let tensors = header.tensors.iter().map(|tensor| format!("{tensor:?}"));
        metadata.chain(tensors).collect()
    };
    let (ours, theirs) = (lines(&ours), lines(&theirs));
    let pair = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
    let cut = |line: &String| line.chars().take(400).collect::<String>();
    pair.map_or_else(
        || format!("{} lines against {}, or data", ours.len(), theirs.len()),
        |(ours, theirs)| format!("ours   {}\ntheirs {}", cut(ours), cut(theirs)),
    )
}

#[test]
fn every_case_is_the_references_bytes() {
    let text = std::fs::read_to_string(golden().join("cases.json")).expect("the cases are in the repository");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("a list of cases");
    assert!(cases.len() >= 20, "{} cases", cases.len());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    for case in &cases {
        let outtype = match case.outtype.as_str() {
            "f32" => Outtype::F32,
            "f16" => Outtype::F16,
            "bf16" => Outtype::Bf16,
            "q8_0" => Outtype::Q8_0,
            other => panic!("{}: outtype {other}", case.id),
        };
        let output = folder.path().join(format!("{}.gguf", case.id));
        let report = convert(case, &output, outtype);
        let (ours, theirs) =
            (std::fs::read(&output).expect("written"), std::fs::read(golden().join(&case.expected)).expect("there"));
        if ours != theirs {
            wrong.push(format!("{}:\n{}", case.id, difference(&ours, &theirs)));
            continue;
        }
        assert_eq!(report.sha256, case.sha256, "{}", case.id);
        assert_eq!(report.size_bytes, ours.len() as u64, "{}", case.id);
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").flatten().collect();
    assert_eq!(left.len(), cases.len(), "nothing but the outputs is left");
}
