//! T17: what the largest vocabularies cost that a file can hold. One test in one process, because it measures the process.

use std::time::{Duration, Instant};

use gguf::Gguf;
use testkit::memory::own_peak_resident_bytes;
use testkit::tiny_model::TinyLlama;
use text::{MAX_ADDED_BYTES, MAX_ADDED_TOKENS, MAX_MERGES, MAX_TOKEN_BYTES, MAX_TOKENS, Tokenizer};

const MAX_PEAK_BYTES: u64 = 512 << 20;
/// What a test on a busy machine allows; optimised and alone, each takes a tenth.
const CEILING: Duration = Duration::from_secs(10);

/// Tokens with their types.
type Tokens = (Vec<String>, Vec<i32>);

/// A token of four characters of the byte alphabet, another one for each `index` below 64⁴.
fn token(index: usize) -> String {
    (0..4).map(|place| char::from(b'0' + (index >> (6 * place) & 63) as u8)).collect()
}

#[test]
fn the_largest_vocabularies_cost_little_whether_they_are_taken_or_not() {
    let folder = std::env::temp_dir().join(format!("text-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let ordinary = |count: usize| (0..count).map(|index| (token(index), 1)).unzip();
    let special = |count: usize| (0..count).map(|index| (token(index), 3)).unzip();
    let long = |count: usize| (0..count).map(|index| (token(index).repeat(MAX_TOKEN_BYTES / 4), 3)).unzip();
    let cases: [(&str, Tokens, usize, bool); 7] = [
        ("as many tokens as are taken", ordinary(MAX_TOKENS), 0, true),
        ("one more", ordinary(MAX_TOKENS + 1), 0, false),
        ("as many as a header holds", ordinary(1_400_000), 0, false),
        ("as many special ones as are taken", special(MAX_ADDED_TOKENS), 0, true),
        ("as long ones as are taken", long(MAX_ADDED_BYTES / MAX_TOKEN_BYTES), 0, true),
        ("all special", special(MAX_TOKENS), 0, false),
        ("more merges than are taken", ordinary(1), MAX_MERGES + 1, false),
    ];
    for (name, (tokens, types), merges, is_taken) in cases {
        let file = TinyLlama::default().build().set_texts("tokenizer.ggml.tokens", tokens);
        let file = file.set("tokenizer.ggml.token_type", types);
        let file = file.set("tokenizer.ggml.bos_token_id", 0_u32);
        let file = file.set("tokenizer.ggml.eos_token_id", 0_u32);
        let file = file.set_texts("tokenizer.ggml.merges", (0..merges).map(|_| "0 0"));
        let path = folder.join("model.gguf");
        file.write(&path).expect("a file");
        drop(file);
        let started = Instant::now();
        let file = Gguf::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tokenizer = Tokenizer::from_gguf(file.metadata());
        let elapsed = started.elapsed();
        println!("{name}: {elapsed:?}, peak {:?}", own_peak_resident_bytes());
        assert_eq!(tokenizer.is_ok(), is_taken, "{name}: {:?}", tokenizer.map(|_| ()));
        assert!(elapsed < CEILING, "{name}: {elapsed:?}");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    if let Some(peak_bytes) = own_peak_resident_bytes() {
        assert!(peak_bytes < MAX_PEAK_BYTES, "{peak_bytes} bytes");
    }
}
