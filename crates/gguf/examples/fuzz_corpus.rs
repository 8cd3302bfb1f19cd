//! Writes the seeds of the fuzz target `gguf`: `cargo run -p gguf --example fuzz_corpus`, after the hostile families changed.

#[path = "../tests/support/families.rs"]
#[allow(dead_code, reason = "the seeds need a part of it")]
mod families;
#[allow(dead_code, reason = "the seeds need a part of it")]
#[path = "../tests/support/raw.rs"]
mod raw;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/gguf");
    std::fs::create_dir_all(&folder)?;
    let corpus = families::corpus();
    for case in &corpus {
        std::fs::write(folder.join(&case.name), &case.bytes)?;
    }
    let bytes: usize = corpus.iter().map(|case| case.bytes.len()).sum();
    eprintln!("{} files, {bytes} bytes", corpus.len());
    Ok(())
}
