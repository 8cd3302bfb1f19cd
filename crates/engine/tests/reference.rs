//! The engine against llama.cpp on the same file: perplexity over a fixed text, greedy continuations.
//!
//! docs/accuracy.md says how `data/reference.json` was made. The model comes from the store, where
//! `cargo xtask test` puts it; see `testkit::real_model`.

use std::ops::ControlFlow;

use engine::{BackendKind, Engine, GenerationParameters, LoadOptions, Output, SamplingParameters};

const EVALUATION_TEXT: &str = include_str!("data/evaluation.txt");

fn reference() -> serde_json::Value {
    serde_json::from_str(include_str!("data/reference.json")).expect("the reference is JSON")
}

fn load(slots: u32) -> Engine {
    let options = LoadOptions {
        path: testkit::real_model::path(),
        backend: BackendKind::Cpu,
        device: 0,
        context_length: None,
        slots,
    };
    Engine::load(&options, &mut |_| ControlFlow::Continue(())).expect("the real model loads")
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn sampling(temperature: f32, seed: u64) -> SamplingParameters {
    SamplingParameters { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed }
}

/// Runs everything that was started; the text of each sequence, in the order of `ids`.
fn run(engine: &mut Engine, ids: &[engine::SequenceId]) -> Vec<String> {
    let mut texts = vec![String::new(); ids.len()];
    while engine.busy() > 0 {
        for (id, output) in engine.step(&|_| true) {
            let index = ids.iter().position(|known| *known == id).expect("a known sequence");
            match output {
                Output::Token(text) => texts[index].push_str(&text),
                Output::Finished(_) => {}
                Output::Failed { error, .. } => panic!("sequence {id} failed: {error}"),
            }
        }
    }
    texts
}

#[test]
fn tokenization_equals_the_reference() {
    let engine = load(1);
    let reference = reference();
    let tokens = engine.frontend().encode(EVALUATION_TEXT).expect("tokens");
    assert_eq!(tokens.len() as u64, reference["tokens"].as_u64().expect("a count"));
    assert_eq!(tokens[..32], ids(&reference["first_ids"])[..]);
    assert_eq!(tokens.iter().map(|&id| u64::from(id)).sum::<u64>(), reference["id_sum"].as_u64().expect("a sum"));
    for prompt in reference["prompts"].as_array().expect("prompts") {
        let text = prompt["prompt"].as_str().expect("a text");
        assert_eq!(engine.frontend().encode(text).expect("tokens"), ids(&prompt["prompt_ids"]), "{text:?}");
    }
    // What was cut into tokens is the text again.
    assert_eq!(engine.frontend().decode(&tokens), EVALUATION_TEXT);
}

#[test]
fn perplexity_is_within_half_a_percent_of_the_reference() {
    let mut engine = load(1);
    let tokens = engine.frontend().encode(EVALUATION_TEXT).expect("tokens");
    assert!(tokens.len() >= 2_000, "{} tokens", tokens.len());
    let scores = engine.log_probabilities(&tokens).expect("scores");
    let perplexity = (-scores.iter().sum::<f64>() / scores.len() as f64).exp();
    let expected = reference()["perplexity"].as_f64().expect("a figure");
    println!("perplexity {perplexity:.4}, reference {expected:.4}, ratio {:.5}", perplexity / expected);
    assert!((perplexity / expected - 1.0).abs() < 0.005, "perplexity {perplexity} against {expected}");
}

/// How many of the reference's greedy tokens `text` begins with, of how many.
fn agreement(frontend: &engine::Frontend, prompt: &serde_json::Value, text: &str) -> (usize, usize) {
    let mut expected = ids(&prompt["greedy_ids"]);
    if let Some(end) = prompt["ends_after"].as_u64() {
        expected.truncate(end as usize);
    }
    let agrees = |count: &usize| text.starts_with(&frontend.decode(&expected[..*count]));
    ((0..=expected.len()).rev().find(agrees).expect("the empty beginning is common"), expected.len())
}

/// Of forty prompts the reference decides five by the widest margins over all 24 tokens: of those, four must agree in full
/// and the fifth may differ first where its two best are closer than 0.1. The others pass through nearer ties, at which the
/// reference, evaluating a prompt in one batch or token by token, differs from itself by up to 0.94 in a logit
/// (docs/accuracy.md): there only a difference across a wide gap is an error. All forty run side by side.
#[test]
fn greedy_continuations_agree_with_the_reference() {
    let reference = reference();
    let prompts = reference["prompts"].as_array().expect("prompts");
    let mut engine = load(prompts.len() as u32);
    let parameters = GenerationParameters { sampling: sampling(0.0, 0), max_tokens: 24, stop: Vec::new() };
    let start = |prompt: &serde_json::Value| engine.start(ids(&prompt["prompt_ids"]), parameters.clone());
    let sequences: Vec<_> = prompts.iter().map(start).collect::<Result<_, _>>().expect("slots");
    let texts = run(&mut engine, &sequences);
    let (mut decided, mut differing) = (0, 0);
    for (prompt, text) in prompts.iter().zip(&texts) {
        let (common, expected) = agreement(&engine.frontend(), prompt, text);
        println!("{:?}: {common} of {expected} tokens agree: {text:?}", prompt["prompt"]);
        let is_decided = prompt["decided"] == true;
        decided += usize::from(is_decided);
        if common < expected {
            let gap = prompt["top_two_gaps"][common].as_f64().expect("a gap");
            differing += usize::from(is_decided);
            let allowed = if is_decided { 0.1 } else { 1.25 };
            assert!(gap < allowed, "token {common} differs although the reference's two best are {gap} apart");
        }
    }
    assert_eq!(decided, 5);
    assert!(differing <= 1, "{differing} of 5 prompts differ");
}

#[test]
fn the_same_seed_gives_the_same_tokens_alone_and_beside_others() {
    let mut engine = load(4);
    let frontend = engine.frontend();
    let start = |engine: &mut Engine, prompt: &str, seed: u64, max_tokens: u32| {
        let parameters = GenerationParameters { sampling: sampling(0.9, seed), max_tokens, stop: Vec::new() };
        engine.start(frontend.encode(prompt).expect("tokens"), parameters).expect("a slot")
    };
    let id = start(&mut engine, "Once upon a time", 42, 40);
    let alone = run(&mut engine, &[id]).remove(0);
    // Beside others: one that started before, one with a prompt of several chunks, one that ends early.
    let long = EVALUATION_TEXT.get(..1_000).expect("a boundary");
    let first = start(&mut engine, "The sea", 1, 50);
    for _ in 0..5 {
        engine.step(&|_| true);
    }
    let same = start(&mut engine, "Once upon a time", 42, 40);
    let third = start(&mut engine, long, 2, 30);
    let fourth = start(&mut engine, "Hello", 3, 3);
    let texts = run(&mut engine, &[first, same, third, fourth]);
    assert_eq!(texts[1], alone);
    let other = start(&mut engine, "Once upon a time", 43, 40);
    assert_ne!(run(&mut engine, &[other]).remove(0), alone, "another seed gives another text");
}
