//! What a conversion costs in memory: a sparse tensor of 3 GiB. One test in one process, because it measures the process.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

#[path = "support/gpt2.rs"]
mod gpt2;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use convert::checkpoint::{self, Outtype};
use convert::{Event, Report};
use gpt2::Gpt2;
use support::Sizes;
use testkit::memory::own_peak_resident_bytes;

/// What the issue allows.
const MAX_GROWTH_BYTES: u64 = 128 << 20;

/// Converts a sparse checkpoint of these tensors.
fn convert(folder: &Path, tensors: &[(String, &'static str, Vec<u64>)], threads: usize) -> (u64, Report) {
    let (header, data) = support::header(tensors);
    let weights = folder.join("model.safetensors");
    std::fs::write(&weights, &header).expect("written");
    let file = std::fs::File::options().write(true).open(&weights).expect("opened");
    file.set_len(header.len() as u64 + data).expect("lengthened");
    let output = folder.join("out.gguf");
    let request = checkpoint::Request {
        directory: folder,
        output: &output,
        outtype: Outtype::Q8_0,
        model_name: None,
        pre: None,
        provenance: None,
        allow_nonfinite: false,
        threads,
    };
    (data, checkpoint::convert(&request, &mut |_: Event| {}, &AtomicBool::new(false)).expect("converts"))
}

#[test]
fn a_tensor_of_three_gibibytes_takes_a_few_mebibytes() {
    let Some(before) = own_peak_resident_bytes() else {
        println!("skipped: this system does not say how much memory a process took");
        return;
    };
    let growth = || own_peak_resident_bytes().map_or(0, |peak| peak.saturating_sub(before));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sizes = Sizes { vocabulary: 98_500, width: 8_192, feed_forward: 64 };
    sizes.write_texts(folder.path());
    let (data, report) = convert(folder.path(), &sizes.tensors("F32"), 2);
    println!("{data} bytes of input, {} of output, {} of memory", report.size_bytes, growth());
    assert!(data > 3 << 30);
    assert!(growth() <= MAX_GROWTH_BYTES, "grew by {} bytes", growth());

    // GPT-2 XL's transposed matrices, of which every thread works on a part.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sizes = Gpt2 { width: 1_600, heads: 25, blocks: 6, vocabulary: 300 };
    sizes.write_texts(folder.path());
    let (data, report) = convert(folder.path(), &sizes.tensors(false), 64);
    println!("{data} bytes of input, {} of output, {} of memory", report.size_bytes, growth());
    assert!(growth() <= MAX_GROWTH_BYTES, "grew by {} bytes", growth());
}
