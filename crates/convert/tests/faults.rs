//! T19: kills, interruptions, full disks, sources that change, weights that are no numbers. Through the real binary where a
//! process must die.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convert::checkpoint::{self, Outtype, SourceHash};
use convert::{Code, ConvertError, Event, Report};
use support::{SMALL, Sizes, Tensor, write_safetensors};

/// Some 40 MB: long enough to be killed within.
const MEDIUM: Sizes = Sizes { vocabulary: 8_192, width: 512, feed_forward: 4_096 };

fn request<'a>(directory: &'a Path, output: &'a Path, outtype: Outtype) -> checkpoint::Request<'a> {
    checkpoint::Request {
        directory,
        output,
        outtype,
        model_name: None,
        pre: None,
        provenance: None,
        allow_nonfinite: false,
        threads: 2,
    }
}

fn convert(directory: &Path, output: &Path, outtype: Outtype) -> Result<Report, ConvertError> {
    checkpoint::convert(&request(directory, output, outtype), &mut |_: Event| {}, &AtomicBool::new(false))
}

fn start(directory: &Path, output: &Path) -> duct::Handle {
    let arguments = [
        "checkpoint".as_ref(),
        directory.as_os_str(),
        "--outtype".as_ref(),
        "q4_k_m".as_ref(),
        "--output".as_ref(),
        output.as_os_str(),
        "--provenance".as_ref(),
        "none".as_ref(),
        "--threads".as_ref(),
        "1".as_ref(),
        "--json".as_ref(),
    ];
    let command = duct::cmd(env!("CARGO_BIN_EXE_llorch-convert"), arguments);
    command.stdout_capture().stderr_capture().unchecked().start().expect("the converter starts")
}

fn events(handle: &duct::Handle) -> Vec<serde_json::Value> {
    let output = handle.wait().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn part(output: &Path) -> PathBuf {
    output.with_extension("gguf.part")
}

#[test]
fn a_killed_conversion_goes_on_and_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("checkpoint");
    std::fs::create_dir(&directory).expect("made");
    MEDIUM.write(&directory);
    let undisturbed = folder.path().join("undisturbed.gguf");
    let q4 = Outtype::Quantized(convert::quantize::QuantizeType::Q4KM);
    let expected = convert(&directory, &undisturbed, q4).expect("converts").sha256;
    assert_eq!(convert(&directory, &undisturbed, q4).expect("again").sha256, expected, "the same bytes every run");
    let output = folder.path().join("out.gguf");
    let mut killed = 0;
    for attempt in 0..20_u64 {
        let handle = start(&directory, &output);
        std::thread::sleep(Duration::from_millis(15 * attempt));
        let had_ended = handle.try_wait().expect("a child").is_some();
        handle.kill().expect("killed");
        if had_ended || output.exists() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 0, "it was never killed within");
    if !output.exists() {
        let events = events(&start(&directory, &output));
        assert_eq!(events.last().expect("events")["sha256"], expected);
    }
    assert_eq!(std::fs::read(&output).expect("written"), std::fs::read(&undisturbed).expect("written"));
    // The journal may be left where the kill came between the name and the tidying up; it is of no use to anybody then.
    assert!(!part(&output).exists());
}

#[test]
fn an_interruption_keeps_what_is_done_and_what_was_damaged_since_is_done_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = folder.path().join("checkpoint");
    std::fs::create_dir(&directory).expect("made");
    MEDIUM.write(&directory);
    let expected = convert(&directory, &folder.path().join("whole.gguf"), Outtype::F16).expect("converts").sha256;
    let output = folder.path().join("out.gguf");
    let interrupt_after = |wanted: u64| {
        let cancel = AtomicBool::new(false);
        let mut resumed = 0;
        let mut observer = |event: Event| match event {
            Event::Started { resumed_bytes, .. } => resumed = resumed_bytes,
            Event::Progress { tensors_done, .. } if tensors_done >= wanted => cancel.store(true, Ordering::Relaxed),
            _ => {}
        };
        let result = checkpoint::convert(&request(&directory, &output, Outtype::F16), &mut observer, &cancel);
        (result, resumed)
    };
    let (first, resumed) = interrupt_after(2);
    let error = first.expect_err("interrupted");
    assert_eq!((error.code(), error.code().exit_code(), resumed), (Code::Cancelled, 130, 0));
    assert!(part(&output).exists() && !output.exists());
    let journal = std::fs::read_to_string(output.with_extension("gguf.part.journal")).expect("there");
    let (second, resumed) = interrupt_after(u64::MAX);
    assert_eq!(second.expect("goes on").sha256, expected);
    assert!(resumed > 0, "nothing was kept of {journal}");
    // Again, but with a byte of the partial file turned: the journal's checksum notices.
    let _interrupted = interrupt_after(3);
    let mut bytes = std::fs::read(part(&output)).expect("there");
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle.min(40_000)).step_by(10_000) {
        *byte ^= 1;
    }
    std::fs::write(part(&output), bytes).expect("written");
    let (third, _) = interrupt_after(u64::MAX);
    assert_eq!(third.expect("goes on").sha256, expected);
    // And with another source: nothing of the old one may be kept.
    let _interrupted = interrupt_after(3);
    let mut tensors = MEDIUM.write(&directory);
    for tensor in &mut tensors {
        tensor.bytes[0] ^= 1;
    }
    write_safetensors(&directory.join("model.safetensors"), &tensors);
    let (fourth, resumed) = interrupt_after(u64::MAX);
    assert_eq!(resumed, 0);
    let fresh = convert(&directory, &folder.path().join("fresh.gguf"), Outtype::F16).expect("converts");
    assert_eq!(fourth.expect("converts").sha256, fresh.sha256);
    assert_ne!(fresh.sha256, expected);
}

#[test]
fn a_signal_ends_the_program_with_130() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    MEDIUM.write(folder.path());
    let output = folder.path().join("out.gguf");
    for _ in 0..50 {
        let handle = start(folder.path(), &output);
        std::thread::sleep(Duration::from_millis(30));
        let pid = handle.pids()[0].to_string();
        // The process may have ended by itself; then it is tried again.
        let _gone = duct::cmd("kill", ["-TERM", &pid]).stderr_null().unchecked().run();
        let code = handle.wait().expect("it ends").status.code();
        if code == Some(130) {
            let last = events(&handle).pop().expect("events");
            assert_eq!((&last["event"], &last["code"]), (&"error".into(), &"CANCELLED".into()));
            assert!(!output.exists());
            return;
        }
        let _not_there = std::fs::remove_file(&output);
    }
    panic!("it never was interrupted");
}

#[test]
fn inputs_are_never_written_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write(folder.path());
    let weights = folder.path().join("model.safetensors");
    let before = std::fs::read(&weights).expect("there");
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink(&weights, &link).expect("linked");
    let hard = folder.path().join("hard.gguf");
    std::fs::hard_link(&weights, &hard).expect("linked");
    for output in [&weights, &link, &hard] {
        let error = convert(folder.path(), output, Outtype::F16).expect_err("the input");
        assert!(matches!(error, ConvertError::OutputIsInput { .. }), "{error}");
        assert_eq!(error.code().exit_code(), 2);
    }
    assert_eq!(std::fs::read(&weights).expect("there"), before);
    let error = convert(folder.path(), folder.path(), Outtype::F16).expect_err("a directory");
    assert!(error.to_string().contains("directory"), "{error}");
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.gguf");
    for (value, shown) in
        [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf"), (70_000.0, "F16 cannot hold")]
    {
        let mut tensors = SMALL.write(folder.path());
        tensors[3].bytes[400..404].copy_from_slice(&value.to_le_bytes());
        write_safetensors(&folder.path().join("model.safetensors"), &tensors);
        let error = convert(folder.path(), &output, Outtype::F16).expect_err(shown);
        assert_eq!(error.code(), Code::Numeric, "{error}");
        let text = error.to_string();
        assert!(text.contains("`model.layers.0.mlp.gate_proj.weight`") && text.contains(shown), "{text}");
        assert!(!output.exists());
        let allowed = checkpoint::Request { allow_nonfinite: true, ..request(folder.path(), &output, Outtype::F16) };
        checkpoint::convert(&allowed, &mut |_: Event| {}, &AtomicBool::new(false)).expect("on demand");
        std::fs::remove_file(&output).expect("removed");
    }
    let mut tensors = SMALL.write(folder.path());
    tensors[3].bytes[400..404].copy_from_slice(&1e7_f32.to_le_bytes());
    write_safetensors(&folder.path().join("model.safetensors"), &tensors);
    let error = convert(folder.path(), &output, Outtype::Q8_0).expect_err("a scale of 78,740");
    assert!(error.to_string().contains("whose scale Q8_0 cannot hold"), "{error}");
    let mut tensors = SMALL.write(folder.path());
    tensors[3].bytes[..4].copy_from_slice(&1e-40_f32.to_le_bytes());
    write_safetensors(&folder.path().join("model.safetensors"), &tensors);
    for outtype in [Outtype::F32, Outtype::F16, Outtype::Bf16, Outtype::Q8_0] {
        convert(folder.path(), &output, outtype).expect("denormals are numbers");
    }
}

#[test]
fn types_and_shapes_that_cannot_be_converted_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.gguf");
    for dtype in ["F64", "I8", "I64"] {
        let mut tensors = SMALL.write(folder.path());
        let elements: u64 = tensors[2].shape.iter().product();
        tensors[2].dtype = dtype;
        tensors[2].bytes = vec![0; (elements * if dtype == "I8" { 1 } else { 8 }) as usize];
        write_safetensors(&folder.path().join("model.safetensors"), &tensors);
        let error = convert(folder.path(), &output, Outtype::F32).expect_err(dtype);
        assert_eq!(error.code(), Code::ModelUnsupported);
        assert!(error.to_string().contains(&format!("is stored as {dtype}")), "{error}");
    }
    type Break = fn(&mut Vec<Tensor>);
    let cases: [(&str, Break, &str); 6] = [
        (
            "no elements",
            |tensors| {
                tensors[1].shape = vec![0];
                tensors[1].bytes.clear();
            },
            "has no elements",
        ),
        ("three dimensions", |tensors| tensors[2].shape.push(1), "3 dimensions"),
        ("a lost tensor", |tensors| drop(tensors.remove(2)), "0 of 1 blocks have a tensor `ffn_down.weight`"),
        ("a lost embedding", |tensors| drop(tensors.remove(0)), "no token embedding"),
        ("a stranger", |tensors| tensors[2].name = "model.layers.0.mixer.weight".into(), "has no place"),
        (
            "a block too many",
            |tensors| tensors[2].name = "model.layers.7.mlp.down_proj.weight".into(),
            "beyond the 1 blocks",
        ),
    ];
    for (name, damage, expected) in cases {
        let mut tensors = SMALL.write(folder.path());
        damage(&mut tensors);
        write_safetensors(&folder.path().join("model.safetensors"), &tensors);
        let error = convert(folder.path(), &output, Outtype::F32).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    assert!(!output.exists() && !part(&output).exists(), "refused before anything was written");
}

#[test]
fn a_source_that_changes_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.gguf");
    let weights = folder.path().join("model.safetensors");
    // Cut short, grown and replaced while the conversion is at its first tensor.
    let changes: [fn(&Path); 3] = [
        |path| File::options().write(true).open(path).expect("opened").set_len(100_000).expect("cut"),
        |path| File::options().write(true).open(path).expect("opened").set_len(1 << 30).expect("grown"),
        |path| {
            std::fs::copy(path, path.with_extension("new")).expect("copied");
            std::fs::rename(path.with_extension("new"), path).expect("replaced");
        },
    ];
    for change in changes {
        MEDIUM.write(folder.path());
        let mut changed = false;
        let mut observer = |event: Event| {
            if matches!(event, Event::Started { .. }) && !changed {
                change(&weights);
                changed = true;
            }
        };
        let result =
            checkpoint::convert(&request(folder.path(), &output, Outtype::F16), &mut observer, &AtomicBool::new(false));
        let error = result.expect_err("it changed");
        assert!(matches!(error, ConvertError::SourceChanged { .. }), "{error}");
        assert!(!output.exists());
    }
}

#[test]
fn a_full_disk_is_known_before_the_work_begins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Sparse: 2^19 tokens of 2^18 elements, 512 GiB as F32, more than the disk under a test has free.
    let sizes = Sizes { vocabulary: 1 << 19, width: 1 << 18, feed_forward: 64 };
    sizes.write_texts(folder.path());
    let (header, data) = support::header(&sizes.tensors("BF16"));
    let weights = folder.path().join("model.safetensors");
    std::fs::write(&weights, &header).expect("written");
    let lengthened = File::options().write(true).open(&weights).expect("opened").set_len(header.len() as u64 + data);
    if let Err(error) = lengthened {
        println!("skipped: this file system has no file of {data} bytes: {error}");
        return;
    }
    let output = folder.path().join("out.gguf");
    let error = convert(folder.path(), &output, Outtype::F32).expect_err("no room");
    assert!(matches!(error, ConvertError::NoSpace { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("free")));
    assert!(!output.exists());
}

#[test]
fn one_writer_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write(folder.path());
    let output = folder.path().join("out.gguf");
    let mut inner = None;
    let mut observer = |event: Event| {
        if matches!(event, Event::Started { .. }) {
            inner = Some(convert(folder.path(), &output, Outtype::F16));
        }
    };
    let outer =
        checkpoint::convert(&request(folder.path(), &output, Outtype::F16), &mut observer, &AtomicBool::new(false));
    assert!(matches!(inner, Some(Err(ConvertError::Busy { .. }))), "{inner:?}");
    outer.expect("the first one ends well");
}

#[test]
fn provenance_and_check_speak_of_the_source() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write(folder.path());
    let output = folder.path().join("out.gguf");
    let provenance = checkpoint::Provenance { repository: Some("org/name"), revision: Some("abc"), hashes: &[] };
    let full = checkpoint::Request { provenance: Some(provenance), ..request(folder.path(), &output, Outtype::Q8_0) };
    let report = checkpoint::convert(&full, &mut |_: Event| {}, &AtomicBool::new(false)).expect("converts");
    assert_eq!(report.sha256, sha256_of(&output), "the header was completed before it was hashed");
    let gguf = gguf::Gguf::open(&output).expect("opens");
    assert_eq!(gguf.metadata().str("llorch.source.repository"), Ok("org/name"));
    assert_eq!(gguf.metadata().str("llorch.source.revision"), Ok("abc"));
    let files = gguf.metadata().string_array("llorch.source.files").expect("there");
    let sums = gguf.metadata().string_array("llorch.source.sha256").expect("there");
    assert_eq!((files.len(), sums.len()), (3, 3));
    for (file, sum) in files.iter_str().zip(sums.iter_str()) {
        assert_eq!(sum, Ok(sha256_of(&folder.path().join(file.expect("a name"))).as_str()), "{file:?}");
    }
    drop(gguf);
    let cancel = AtomicBool::new(false);
    convert::check::file(&output, Some(&full), &cancel).expect("every row is the checkpoint's");
    let mut bytes = std::fs::read(&output).expect("there");
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&output, bytes).expect("written");
    let error = convert::check::file(&output, Some(&full), &cancel).expect_err("a bit was turned");
    assert!(error.to_string().contains("output_norm.weight"), "{error}");
}

/// Hashes that somebody knows make the same file; they are taken at their word for weights, and compared for what is read anyway.
#[test]
fn known_hashes_change_nothing_but_the_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SMALL.write(folder.path());
    let convert = |name: &str, hashes: &[SourceHash]| {
        let output = folder.path().join(name);
        let provenance = checkpoint::Provenance { repository: None, revision: None, hashes };
        let request =
            checkpoint::Request { provenance: Some(provenance), ..request(folder.path(), &output, Outtype::F16) };
        checkpoint::convert(&request, &mut |_: Event| {}, &AtomicBool::new(false))
    };
    let known = |file: &str, sha256: &str| format!("{file}={sha256}").parse::<SourceHash>().expect("a hash");
    let weights = sha256_of(&folder.path().join("model.safetensors"));
    let config = sha256_of(&folder.path().join("config.json"));
    let plain = convert("plain.gguf", &[]).expect("converts");
    let hashes = [known("model.safetensors", &weights), known("config.json", &config), known("other", &config)];
    assert_eq!(convert("known.gguf", &hashes).expect("converts").sha256, plain.sha256);
    let other = convert("other.gguf", &[known("model.safetensors", &config)]).expect("converts");
    assert_ne!(other.sha256, plain.sha256, "it is taken at its word");
    let error = convert("changed.gguf", &[known("config.json", &weights)]).expect_err("another config.json");
    assert!(matches!(error, ConvertError::SourceChanged { .. }), "{error}");
}

fn sha256_of(path: &Path) -> String {
    testkit::hub::sha256_hex(&std::fs::read(path).expect("there"))
}
