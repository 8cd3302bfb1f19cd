//! Programs as data: printed, checked against tensors, counted.

use architectures::{
    ARCHITECTURES, Architecture, Configuration, MemoryPlan, MemoryRequest, Program, ProgramError, RotaryEmbedding,
};

fn configuration() -> Configuration {
    Configuration {
        vocab_size: 100,
        context_length: 64,
        embedding_length: 16,
        block_count: 1,
        feed_forward_length: 32,
        head_count: 4,
        head_count_kv: 2,
        head_length: 4,
        rotary: RotaryEmbedding { dimensions: 4, frequency_base: 10_000.0 },
        rms_epsilon: 1e-5,
    }
}

fn llama() -> &'static Architecture {
    ARCHITECTURES.iter().find(|architecture| architecture.name == "llama").expect("llama is a row")
}

fn program() -> Program {
    llama().program_for(&configuration()).expect("llama has a program")
}

/// Shapes as a file would give them, row length first.
fn shape(name: &str) -> Option<Vec<u64>> {
    let shape: &[u64] = match name.trim_start_matches("blk.0.") {
        "token_embd.weight" => &[16, 100],
        "attn_norm.weight" | "ffn_norm.weight" | "output_norm.weight" => &[16],
        "attn_q.weight" | "attn_output.weight" => &[16, 16],
        "attn_k.weight" | "attn_v.weight" => &[16, 8],
        "ffn_gate.weight" | "ffn_up.weight" => &[16, 32],
        "ffn_down.weight" => &[32, 16],
        _ => return None,
    };
    Some(shape.to_vec())
}

#[test]
fn llama_is_this_program() {
    let expected = "\
stream = embed token_embd.weight
normed = rms_norm stream blk.0.attn_norm.weight epsilon=1e-5
query = linear normed blk.0.attn_q.weight
key = linear normed blk.0.attn_k.weight
value = linear normed blk.0.attn_v.weight
query = rotary query heads=4 dimensions=4 base=10000 Interleaved
key = rotary key heads=2 dimensions=4 base=10000 Interleaved
attended = attention query key value block=0 heads=4/2 scale=0.5
normed = linear attended blk.0.attn_output.weight
stream += normed
normed = rms_norm stream blk.0.ffn_norm.weight epsilon=1e-5
gate = linear normed blk.0.ffn_gate.weight
up = linear normed blk.0.ffn_up.weight
gate = Silu(gate) * up
normed = linear gate blk.0.ffn_down.weight
stream += normed
outputs = outputs of stream
outputs = rms_norm outputs output_norm.weight epsilon=1e-5
logits = linear outputs output.weight
logits: logits
";
    assert_eq!(program().to_string(), expected);
}

#[test]
fn a_missing_output_layer_is_the_embedding() {
    let program = program();
    let resolved = program.resolve(shape).expect("every tensor is there");
    let output = program.weights.iter().position(|weight| weight.name == "output.weight").expect("a weight");
    assert_eq!(program.weights[resolved[output].0].name, "token_embd.weight");
    let own = |name: &str| if name == "output.weight" { Some(vec![16, 100]) } else { shape(name) };
    let resolved = program.resolve(own).expect("every tensor is there");
    assert_eq!(program.weights[resolved[output].0].name, "output.weight");
}

fn architecture_of(name: &str) -> Result<&'static Architecture, architectures::ConfigurationError> {
    let metadata = [("general.architecture".to_owned(), gguf::Value::from(name))];
    let bytes = gguf::Writer::new(Vec::new(), &metadata, &[]).expect("a valid header").finish().expect("complete");
    let header = gguf::Header::parse(&bytes, bytes.len() as u64).expect("valid");
    Architecture::runnable(&header.metadata)
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    assert_eq!(architecture_of("llama").map(|found| found.name), Ok("llama"));
    for known in ["gpt2", "qwen2", "phi3", "granite"] {
        let error = architecture_of(known).expect_err("no program yet");
        let expected = format!("architecture `{known}` is known, but cannot be run yet (supported: llama)");
        assert_eq!(error.to_string(), expected);
    }
    let error = architecture_of("mamba").expect_err("not a row");
    assert_eq!(error.to_string(), "architecture `mamba` is not supported (supported: llama)");
}

#[test]
fn checkpoints_of_every_architecture_have_names() {
    let cases = [
        ("GPT2LMHeadModel", "transformer.h.11.mlp.c_fc.bias", "blk.11.ffn_up.bias"),
        ("GPT2LMHeadModel", "wpe.weight", "position_embd.weight"),
        ("Qwen2ForCausalLM", "model.layers.0.self_attn.k_proj.bias", "blk.0.attn_k.bias"),
        ("Phi3ForCausalLM", "model.layers.3.mlp.gate_up_proj.weight", "blk.3.ffn_up.weight"),
        ("GraniteMoeHybridForCausalLM", "model.layers.1.shared_mlp.output_linear.weight", "blk.1.ffn_down.weight"),
        ("MistralForCausalLM", "lm_head.weight", "output.weight"),
    ];
    for (class, checkpoint, expected) in cases {
        let architecture = Architecture::of_checkpoint(class).expect("a known class");
        assert_eq!(architecture.gguf_tensor_name(checkpoint).as_deref(), Some(expected), "{class}");
    }
    let gpt2 = Architecture::of_checkpoint("GPT2LMHeadModel").expect("a known class");
    assert!(gpt2.ignores("transformer.h.0.attn.bias"));
    assert!(!gpt2.ignores("transformer.h.0.attn.c_attn.bias"));
    assert!(Architecture::of_checkpoint("MixtralForCausalLM").is_none());
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let without = |name: &str| if name == "blk.0.ffn_up.weight" { None } else { shape(name) };
    let error = program().resolve(without).expect_err("one is missing");
    assert_eq!(error, ProgramError::Missing { name: "blk.0.ffn_up.weight".into() });
    let transposed = |name: &str| if name == "blk.0.ffn_down.weight" { Some(vec![16, 32]) } else { shape(name) };
    let error = program().resolve(transposed).expect_err("one has another shape");
    assert_eq!(
        error,
        ProgramError::Shape { name: "blk.0.ffn_down.weight".into(), found: vec![16, 32], expected: vec![32, 16] }
    );
}

#[test]
fn costs_are_counted_before_anything_is_loaded() {
    // q, o: 16·16 each; k, v: 16·8 each; gate, up, down: 16·32 each; head: 16·100.
    assert_eq!(program().multiplications_per_token(), 2 * 256 + 2 * 128 + 3 * 512 + 1_600);
    let request = MemoryRequest { weights_bytes: 1_000, slots: 3, context_length: 64, batch_tokens: 10 };
    let plan = MemoryPlan::new(&configuration(), &program(), request).expect("small");
    // 2 heads · 4 elements · key and value · 4 bytes.
    assert_eq!(plan.key_value_bytes_per_position, 64);
    assert_eq!(plan.key_value_bytes, 64 * 64 * 3);
    assert_eq!(plan.total_bytes(), Some(1_000 + 64 * 64 * 3 + plan.buffer_bytes));
    let absurd = MemoryRequest { slots: u64::MAX, ..request };
    assert_eq!(MemoryPlan::new(&configuration(), &program(), absurd), None);
}

#[test]
fn checkpoint_names_have_one_counterpart() {
    let name = |checkpoint: &str| llama().gguf_tensor_name(checkpoint);
    assert_eq!(name("model.layers.12.self_attn.q_proj.weight").as_deref(), Some("blk.12.attn_q.weight"));
    assert_eq!(name("model.embed_tokens.weight").as_deref(), Some("token_embd.weight"));
    assert_eq!(name("lm_head.weight").as_deref(), Some("output.weight"));
    for unknown in ["model.layers.x.self_attn.q_proj.weight", "model.layers..mlp.up_proj.weight", "rotary.inv_freq", ""]
    {
        assert_eq!(name(unknown), None, "{unknown}");
    }
    // Every weight of the program can come from a checkpoint.
    let targets: Vec<String> = llama().tensor_names.iter().map(|(_, gguf)| gguf.replace("{}", "0")).collect();
    for weight in program().weights {
        assert!(targets.contains(&weight.name), "{} has no checkpoint name", weight.name);
    }
}
