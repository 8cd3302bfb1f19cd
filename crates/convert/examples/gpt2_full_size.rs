//! GPT-2 at its full size, with weights that mean nothing: how long a conversion takes and what it costs in memory.
//!
//! `target/release/examples/gpt2_full_size FOLDER [--without-masks]` writes 548 MB of checkpoint into FOLDER
//! (kept for the next run, and for other converters: the reference stops at the masks), converts it to each type, and prints a
//! line each. Too slow for a test, so a lane (`cargo xtask test lane conversion`); what it prints is in `docs/performance.md`.

#[path = "../tests/support/gpt2.rs"]
mod gpt2;
#[path = "../tests/support/checkpoint.rs"]
#[allow(dead_code, reason = "its other users are tests")]
mod support;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use convert::Event;
use convert::checkpoint::{self, Outtype};
use convert::quantize::QuantizeType;
use gpt2::Gpt2;

/// The published configuration.
const SIZES: Gpt2 = Gpt2 { width: 768, heads: 12, blocks: 12, vocabulary: 50_257 };

fn write_checkpoint(folder: &Path, with_masks: bool) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    SIZES.write_texts(folder);
    let (header, data_bytes) = support::header(&SIZES.tensors(with_masks));
    let mut file = BufWriter::new(File::create(folder.join("model.safetensors"))?);
    file.write_all(&header)?;
    let mut state = 1_u64;
    for _ in 0..data_bytes / 4 {
        // Knuth's MMIX multiplier; about the spread of trained weights.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.2;
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("name a folder for the checkpoint")?;
    let folder = Path::new(&folder).join("gpt2");
    if !folder.join("model.safetensors").exists() {
        write_checkpoint(&folder, !std::env::args().any(|argument| argument == "--without-masks"))?;
    }
    let types = [
        ("f32", Outtype::F32),
        ("f16", Outtype::F16),
        ("bf16", Outtype::Bf16),
        ("q8_0", Outtype::Q8_0),
        ("q4_0", Outtype::Quantized(QuantizeType::Q4_0)),
        ("q4_k_m", Outtype::Quantized(QuantizeType::Q4KM)),
        ("q6_k", Outtype::Quantized(QuantizeType::Q6K)),
    ];
    for (name, outtype) in types {
        let output = folder.with_file_name(format!("gpt2-{name}.gguf"));
        let request = checkpoint::Request {
            directory: &folder,
            output: &output,
            outtype,
            model_name: None,
            pre: None,
            provenance: None,
            allow_nonfinite: false,
            threads: 0,
        };
        let started = Instant::now();
        let mut written = None;
        let mut observer = |event: Event| {
            if event == Event::Verifying {
                written = Some(started.elapsed());
            }
        };
        let report = checkpoint::convert(&request, &mut observer, &AtomicBool::new(false))?;
        println!(
            "{name}: {} bytes, written after {:.2} s, checked and named after {:.2} s, peak {} MiB",
            report.size_bytes,
            written.unwrap_or_default().as_secs_f64(),
            started.elapsed().as_secs_f64(),
            testkit::memory::own_peak_resident_bytes().unwrap_or(0) >> 20
        );
    }
    Ok(())
}
