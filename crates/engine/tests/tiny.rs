//! The engine on tiny random models: exact agreement with llama.cpp where no rounding hides it, independence of
//! sequences, and files that must be refused.

use std::ops::ControlFlow;
use std::path::Path;

use engine::{BackendKind, Engine, GenerationParameters, LoadError, LoadOptions, Output, SamplingParameters};
use gguf::Value;
use testkit::tiny_model::{TinyFile, TinyLlama, WeightType};

fn load(path: &Path, slots: u32) -> Result<Engine, LoadError> {
    let options =
        LoadOptions { path: path.to_owned(), backend: BackendKind::Cpu, device: 0, context_length: None, slots };
    Engine::load(&options, &mut |_| ControlFlow::Continue(()))
}

fn parameters(temperature: f32, max_tokens: u32) -> GenerationParameters {
    let sampling =
        SamplingParameters { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed: 11 };
    GenerationParameters { sampling, max_tokens, stop: Vec::new() }
}

/// Runs to the end; the texts in the order of `ids`.
fn run(engine: &mut Engine, ids: &[engine::SequenceId]) -> Vec<String> {
    let mut texts = vec![String::new(); ids.len()];
    while engine.busy() > 0 {
        for (id, output) in engine.step(&|_| true) {
            match output {
                Output::Token(text) => texts[ids.iter().position(|known| *known == id).expect("known")].push_str(&text),
                Output::Finished(_) => {}
                Output::Failed { error, .. } => panic!("{error}"),
            }
        }
    }
    texts
}

/// f32 weights are computed without rounding activations, so that every token must agree. The ids come from
/// llama-cpp-python 0.3.36 on the same file: prompt "the king and", greedy.
#[test]
fn greedy_tokens_of_an_f32_model_are_the_references() {
    const EXPECTED: [u32; 24] =
        [66, 38, 75, 109, 88, 123, 95, 79, 41, 50, 85, 41, 126, 265, 129, 119, 88, 119, 36, 73, 264, 89, 111, 112];
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("tiny.gguf");
    TinyLlama { weights: WeightType::F32, ..TinyLlama::default() }.write(&path).expect("a model");
    let mut engine = load(&path, 1).expect("it loads");
    let prompt = engine.frontend().encode("the king and").expect("tokens");
    assert_eq!(prompt, [119, 260, 35, 110, 271, 269]);
    let id = engine.start(prompt, parameters(0.0, 24)).expect("a slot");
    assert_eq!(run(&mut engine, &[id]), [engine.frontend().decode(&EXPECTED)]);
}

#[test]
fn a_sequence_computes_the_same_alone_and_beside_others_in_every_format() {
    for weights in [WeightType::F32, WeightType::Q8_0, WeightType::Q4_1] {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join("tiny.gguf");
        TinyLlama { weights, ..TinyLlama::default() }.write(&path).expect("a model");
        let mut engine = load(&path, 8).expect("it loads");
        let frontend = engine.frontend();
        let prompts: Vec<String> = (0..8).map(|number| "the king and ".repeat(1 + number * 3)).collect();
        let start = |engine: &mut Engine, prompt: &str, count| {
            engine.start(frontend.encode(prompt).expect("tokens"), parameters(0.8, count)).expect("a slot")
        };
        let alone: Vec<String> = prompts
            .iter()
            .map(|prompt| {
                let id = start(&mut engine, prompt, 30);
                run(&mut engine, &[id]).remove(0)
            })
            .collect();
        let together: Vec<_> = prompts.iter().map(|prompt| start(&mut engine, prompt, 30)).collect();
        assert_eq!(run(&mut engine, &together), alone, "{weights:?}");
        // And with some of them paused from time to time.
        let mut pauses = 0_usize;
        let paused: Vec<_> = prompts.iter().map(|prompt| start(&mut engine, prompt, 30)).collect();
        let mut texts = vec![String::new(); paused.len()];
        while engine.busy() > 0 {
            pauses += 1;
            let place = |id| paused.iter().position(|known| *known == id).unwrap_or(0);
            let outputs = engine.step(&|id| !(place(id) + pauses).is_multiple_of(3));
            for (id, output) in outputs {
                if let Output::Token(text) = output {
                    texts[paused.iter().position(|known| *known == id).expect("known")].push_str(&text);
                }
            }
        }
        assert_eq!(texts, alone, "{weights:?}, paused");
    }
}

#[test]
fn an_end_of_generation_token_ends_and_is_not_text() {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("tiny.gguf");
    // The fifth token of the reference's answer becomes the end: 88.
    let model = TinyLlama { weights: WeightType::F32, ..TinyLlama::default() };
    model.build().set("tokenizer.ggml.eos_token_id", Value::U32(88)).write(&path).expect("a model");
    let mut engine = load(&path, 1).expect("it loads");
    let prompt = engine.frontend().encode("the king and").expect("tokens");
    engine.start(prompt, parameters(0.0, 24)).expect("a slot");
    let mut finished = None;
    while engine.busy() > 0 {
        for (_, output) in engine.step(&|_| true) {
            if let Output::Finished(end) = output {
                finished = Some(end);
            }
        }
    }
    let finished = finished.expect("an end");
    assert_eq!(finished.reason, engine::FinishReason::EndOfGeneration);
    assert_eq!((finished.prompt_tokens, finished.tokens_out), (6, 4));
}

#[test]
fn a_stop_string_ends_and_does_not_leak() {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("tiny.gguf");
    TinyLlama { weights: WeightType::F32, ..TinyLlama::default() }.write(&path).expect("a model");
    let mut engine = load(&path, 1).expect("it loads");
    let prompt = engine.frontend().encode("the king and").expect("tokens");
    let id = engine.start(prompt.clone(), parameters(0.0, 24)).expect("a slot");
    let whole = run(&mut engine, &[id]).remove(0);
    // A stop string across the border of two tokens.
    let stop = whole.get(5..8).expect("readable ASCII").to_owned();
    let with_stop = GenerationParameters { stop: vec![stop.clone()], ..parameters(0.0, 24) };
    let id = engine.start(prompt, with_stop).expect("a slot");
    let text = run(&mut engine, &[id]).remove(0);
    assert_eq!(text, whole[..whole.find(&stop).expect("it occurs")]);
}

/// What a case does to a good file.
type Damage = fn(TinyFile) -> TinyFile;

#[test]
fn contradictions_and_gaps_are_refused_before_anything_is_allocated() {
    let cases: Vec<(&str, Damage)> = vec![
        ("`general.architecture`", |file| file.remove("general.architecture")),
        ("tensor `rope_freqs.weight` is not part of `llama`", |file| {
            file.set_tensor("rope_freqs.weight", &[8], gguf::TensorType::F32)
        }),
        ("`llama.rope.scaling.type` is `yarn`", |file| file.set("llama.rope.scaling.type", "yarn")),
        ("`mamba9` is not supported (supported: llama)", |file| {
            file.set("general.architecture", Value::String("mamba9".into()))
        }),
        ("llama.attention.head_count` is 0", |file| file.set("llama.attention.head_count", Value::U32(0))),
        ("multiple of the second", |file| file.set("llama.attention.head_count_kv", Value::U32(3))),
        ("llama.attention.head_count_kv", |file| file.set("llama.attention.head_count_kv", Value::U32(64))),
        ("llama.block_count", |file| file.set("llama.block_count", Value::U32(1 << 31))),
        ("blk.2.attn_norm.weight` is missing", |file| file.set("llama.block_count", Value::U32(3))),
        ("llama.context_length", |file| file.set("llama.context_length", Value::U64(1 << 40))),
        ("llama.context_length` is 0", |file| file.set("llama.context_length", Value::U32(0))),
        ("llama.rope.dimension_count", |file| file.set("llama.rope.dimension_count", Value::U32(7))),
        ("llama.rope.dimension_count", |file| file.set("llama.rope.dimension_count", Value::U32(4096))),
        ("llama.rope.freq_base", |file| file.set("llama.rope.freq_base", Value::F32(f32::NAN))),
        ("layer_norm_rms_epsilon", |file| file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(0.0))),
        ("llama.embedding_length", |file| file.set("llama.embedding_length", Value::String("64".into()))),
        ("token_embd.weight", |file| file.set("llama.embedding_length", Value::U32(128))),
        ("llama.vocab_size", |file| file.set("llama.vocab_size", Value::U32(12))),
        ("`blk.0.ffn_up.weight` is missing", |file| file.remove_tensor("blk.0.ffn_up.weight")),
        ("`output_norm.weight` is missing", |file| file.remove_tensor("output_norm.weight")),
    ];
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("tiny.gguf");
    for (expected, change) in cases {
        change(TinyLlama::default().build()).write(&path).expect("a file");
        let error = load(&path, 1).expect_err(expected).to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    }
    TinyLlama::default().write(&path).expect("a file");
    let options = LoadOptions {
        path: path.clone(),
        backend: BackendKind::Cpu,
        device: 0,
        context_length: Some(1 << 20),
        slots: 1,
    };
    let error = Engine::load(&options, &mut |_| ControlFlow::Continue(())).expect_err("more context than trained");
    assert!(error.to_string().contains("a context of 1048576 positions"), "{error}");
    let cancelled = Engine::load(&LoadOptions { context_length: None, ..options }, &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(LoadError::Cancelled)));
}
