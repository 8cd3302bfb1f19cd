//! What a conversion costs in memory: a sparse tensor of 3 GiB. One test in one process, because it measures the process.

#[path = "support/checkpoint.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::sync::atomic::AtomicBool;

use convert::Event;
use convert::checkpoint::{self, Outtype};
use support::Sizes;
use testkit::memory::own_peak_resident_bytes;

/// What the issue allows.
const MAX_GROWTH_BYTES: u64 = 128 << 20;

#[test]
fn a_tensor_of_three_gibibytes_takes_a_few_mebibytes() {
    let Some(before) = own_peak_resident_bytes() else {
        println!("skipped: this system does not say how much memory a process took");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sizes = Sizes { vocabulary: 98_500, width: 8_192, feed_forward: 64 };
    sizes.write_texts(folder.path());
    let (header, data) = support::header(&sizes.tensors("F32"));
    let weights = folder.path().join("model.safetensors");
    std::fs::write(&weights, &header).expect("written");
    let file = std::fs::File::options().write(true).open(&weights).expect("opened");
    file.set_len(header.len() as u64 + data).expect("lengthened");
    let output = folder.path().join("out.gguf");
    let request = checkpoint::Request {
        directory: folder.path(),
        output: &output,
        outtype: Outtype::Q8_0,
        model_name: None,
        pre: None,
        provenance: None,
        allow_nonfinite: false,
        threads: 2,
    };
    let report = checkpoint::convert(&request, &mut |_: Event| {}, &AtomicBool::new(false)).expect("converts");
    let growth = own_peak_resident_bytes().map_or(0, |peak| peak.saturating_sub(before));
    println!("{} bytes of input, {} of output, {growth} of memory", data, report.size_bytes);
    assert!(data > 3 << 30);
    assert!(growth <= MAX_GROWTH_BYTES, "grew by {growth} bytes");
}
