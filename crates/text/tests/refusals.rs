//! Tokenizers that cannot be built say what is wrong, by name.

use gguf::{Array, Gguf, StringArray, Value};
use testkit::tiny_model::{TinyFile, TinyLlama};
use text::Tokenizer;

fn refusal(change: impl FnOnce(TinyFile) -> TinyFile) -> String {
    let directory = std::env::temp_dir().join(format!("text-refusals-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a folder");
    let path = directory.join(format!("{:?}.gguf", std::thread::current().id()));
    change(TinyLlama::default().build()).write(&path).expect("a file");
    let file = Gguf::open(&path).expect("the file is sound GGUF");
    let error = Tokenizer::from_gguf(file.metadata()).expect_err("it is refused");
    std::fs::remove_file(&path).expect("a file");
    error.to_string()
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
