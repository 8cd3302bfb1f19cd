//! GPT-2 at its full size, with weights that mean nothing: how long a conversion takes and what it costs in memory.
//!
//! `cargo run --release --workspace --example gpt2_full_size -- FOLDER [--without-masks]` writes 548 MB of checkpoint into FOLDER
//! (kept for the next run, and for other converters: the reference stops at the masks), converts it to each type, and prints a
//! line each. Too slow for a test; what it prints is in `docs/performance.md`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use convert::Event;
use convert::checkpoint::{self, Outtype};
use convert::quantize::QuantizeType;
use serde_json::{Map, json};

const WIDTH: u64 = 768;
const BLOCKS: u64 = 12;
const VOCABULARY: u64 = 50_257;

/// Names and dimensions. The masks are constants that the published checkpoint carries along.
fn tensors(with_masks: bool) -> Vec<(String, Vec<u64>)> {
    let mut tensors = vec![
        ("wte.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("wpe.weight".to_owned(), vec![1_024, WIDTH]),
        ("ln_f.weight".to_owned(), vec![WIDTH]),
        ("ln_f.bias".to_owned(), vec![WIDTH]),
    ];
    for block in 0..BLOCKS {
        let pair = |name: &str, shape: Vec<u64>| {
            let bias = vec![shape.last().copied().unwrap_or(1)];
            [(format!("h.{block}.{name}.weight"), shape), (format!("h.{block}.{name}.bias"), bias)]
        };
        tensors.extend(pair("ln_1", vec![WIDTH]));
        tensors.extend(pair("ln_2", vec![WIDTH]));
        tensors.extend(pair("attn.c_attn", vec![WIDTH, 3 * WIDTH]));
        tensors.extend(pair("attn.c_proj", vec![WIDTH, WIDTH]));
        tensors.extend(pair("mlp.c_fc", vec![WIDTH, 4 * WIDTH]));
        tensors.extend(pair("mlp.c_proj", vec![4 * WIDTH, WIDTH]));
        if with_masks {
            tensors.push((format!("h.{block}.attn.bias"), vec![1, 1, 1_024, 1_024]));
        }
    }
    tensors.sort();
    tensors
}

fn write_checkpoint(folder: &Path, with_masks: bool) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": BLOCKS, "n_embd": WIDTH, "n_head": 12,
        "n_ctx": 1_024, "n_positions": 1_024, "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5,
        "bos_token_id": VOCABULARY - 1, "eos_token_id": VOCABULARY - 1,
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let mut vocabulary: Map<_, _> = (0..VOCABULARY - 1).map(|id| (format!("t{id}"), json!(id))).collect();
    vocabulary.insert("<|endoftext|>".to_owned(), json!(VOCABULARY - 1));
    std::fs::write(folder.join("vocab.json"), serde_json::to_string(&vocabulary)?)?;
    std::fs::write(folder.join("merges.txt"), "#version: 0.2\n")?;
    let mut header = Map::new();
    let mut offset = 0;
    for (name, shape) in tensors(with_masks) {
        let size = shape.iter().product::<u64>() * 4;
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}));
        offset += size;
    }
    let header = serde_json::to_string(&header)?;
    let mut file = BufWriter::new(File::create(folder.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut state = 1_u64;
    for _ in 0..offset / 4 {
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
