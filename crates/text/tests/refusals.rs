//! Tokenizers that cannot be built say what is wrong, by name.

use gguf::{Array, Gguf, StringArray, Value};
use testkit::tiny_model::{TinyFile, TinyLlama};
use text::{MAX_ADDED_BYTES, MAX_TOKEN_BYTES, Tokenizer, TokenizerError};

/// The tokenizer of a tiny model that was changed.
fn read(change: impl FnOnce(TinyFile) -> TinyFile) -> Result<Tokenizer, TokenizerError> {
    let directory = std::env::temp_dir().join(format!("text-refusals-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a folder");
    let path = directory.join(format!("{:?}.gguf", std::thread::current().id()));
    change(TinyLlama::default().build()).write(&path).expect("a file");
    let file = Gguf::open(&path).expect("the file is sound GGUF");
    let tokenizer = Tokenizer::from_gguf(file.metadata());
    std::fs::remove_file(&path).expect("a file");
    tokenizer
}

fn refusal(change: impl FnOnce(TinyFile) -> TinyFile) -> String {
    let text = read(change).expect_err("it is refused").to_string();
    assert!(text.len() < 500, "{} bytes of error", text.len());
    text
}

fn strings(texts: &[&str]) -> Value {
    Value::Array(Array::String(texts.iter().collect::<StringArray>()))
}

#[test]
fn unknown_kinds_are_named_with_what_is_known() {
    let error = refusal(|file| file.set("tokenizer.ggml.pre", Value::String("llama-bpe".into())));
    assert!(error.contains("`llama-bpe`") && error.contains("smollm"), "{error}");
    let error = refusal(|file| file.set("tokenizer.ggml.model", Value::String("t5".into())));
    assert!(error.contains("`t5`") && error.contains("gpt2"), "{error}");
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let error = refusal(|file| file.set("tokenizer.ggml.eos_token_id", Value::U32(70_000)));
    assert!(error.contains("eos_token_id") && error.contains("70000"), "{error}");
    let error = refusal(|file| file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 1]))));
    assert!(error.contains("token_type") && error.contains('2'), "{error}");
    // A merge whose result is no token makes the merging library panic, longer than every token or not.
    for merges in [&["t h", "zzzz yyyy"][..], &["a"], &["", " "], &["a b c"]] {
        let error = refusal(|file| file.set("tokenizer.ggml.merges", strings(merges)));
        assert!(error.contains("merges"), "{error}");
    }
    let error = refusal(|file| file.set("tokenizer.ggml.tokens", strings(&["a", "a"])));
    assert!(error.contains("tokens") || error.contains("token_type"), "{error}");
}

/// A file whose whole vocabulary is these tokens of these types.
fn vocabulary(entries: &[(&str, i32)]) -> impl FnOnce(TinyFile) -> TinyFile {
    let tokens = strings(&entries.iter().map(|(token, _)| *token).collect::<Vec<_>>());
    let types = Value::Array(Array::I32(entries.iter().map(|(_, kind)| *kind).collect()));
    move |file| {
        let file = file.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types);
        let file = file.set("tokenizer.ggml.merges", strings(&[]));
        file.set("tokenizer.ggml.bos_token_id", Value::U32(0)).set("tokenizer.ggml.eos_token_id", Value::U32(0))
    }
}

/// T17: ids that no vocabulary has, and vocabularies that have no ids.
#[test]
fn ids_outside_the_vocabulary_are_refused() {
    for id in [Value::U32(u32::MAX), Value::U64(1 << 32), Value::U64(u64::MAX), Value::I32(-1)] {
        let shown = format!("{id:?}");
        for key in ["bos", "eos", "eot", "eom"] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            let error = refusal(|file| file.set(&key, id.clone()));
            assert!(error.contains(&key), "{shown}: {error}");
        }
    }
    let error = refusal(vocabulary(&[]));
    assert!(error.contains("`tokenizer.ggml.tokens` is empty"), "{error}");
}

/// T17: tokens that are matched as a whole.
#[test]
fn special_tokens_have_a_text_and_the_longest_is_found() {
    for kind in [3, 4] {
        let error = refusal(vocabulary(&[("a", 1), ("", kind)]));
        assert!(error.contains("entry 1") && error.contains("no text"), "{error}");
    }
    read(vocabulary(&[("a", 1), ("", 1)])).expect("an empty token that is never matched");
    // Line ends of one published vocabulary begin each other, so this is no reason to refuse.
    let tokenizer =
        read(vocabulary(&[("<s>", 3), ("<s><s>", 3), ("<s", 4), ("a", 1)])).expect("prefixes of each other");
    assert_eq!(tokenizer.encode("<s><s>a<s>a<sa").expect("a text"), [1, 3, 0, 3, 2, 3]);
    let half = "x".repeat(MAX_TOKEN_BYTES);
    let many: Vec<String> = (0..=MAX_ADDED_BYTES / MAX_TOKEN_BYTES).map(|id| format!("{id}{half}")).collect();
    let many: Vec<(&str, i32)> = many.iter().map(|token| (&token[..MAX_TOKEN_BYTES], 3)).collect();
    let error = refusal(vocabulary(&many));
    assert!(error.contains("are matched as a whole, the limits"), "{error}");
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    let error = refusal(vocabulary(&[("a", 1), (&long, 1)]));
    assert!(error.contains("entry 1") && error.contains("the limit is 4096"), "{error}");
    let error = refusal(|file| file.set("tokenizer.ggml.merges", strings(&["a b", &long.repeat(3)])));
    assert!(error.contains("merges") && error.contains("entry 1"), "{error}");
}
