//! The tiny model is a sound file, always the same, and breaks exactly where it is told to.

use gguf::{Gguf, Header, TensorType, Value};

use super::{TinyLlama, WeightType};

fn parse(bytes: &[u8]) -> Header {
    Header::parse(bytes, bytes.len() as u64).expect("a sound file")
}

#[test]
fn it_opens_and_has_what_a_loader_needs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for weights in [WeightType::F32, WeightType::Q8_0, WeightType::Q4_1] {
        let path = folder.path().join("tiny.gguf");
        TinyLlama { weights, ..TinyLlama::default() }.write(&path).expect("written");
        let model = Gguf::open(&path).expect("a sound file");
        let metadata = model.metadata();
        assert_eq!(metadata.iter().next().map(|(key, _)| key), Some("general.architecture"));
        assert_eq!(metadata.str("general.architecture"), Ok("llama"));
        let vocabulary = u64::from(TinyLlama::vocab_size());
        assert_eq!(metadata.u64("llama.vocab_size"), Ok(vocabulary));
        let tokens = metadata.string_array("tokenizer.ggml.tokens").expect("tokens");
        assert_eq!(tokens.len() as u64, vocabulary);
        assert_eq!(tokens.get(2), Some(&b"<|im_end|>"[..]));
        let embedding = model.require("token_embd.weight").expect("there is one");
        assert_eq!(embedding.shape, [64, vocabulary]);
        assert_eq!(embedding.ggml_type, weights.tensor_type());
        assert_eq!(model.require("blk.1.ffn_down.weight").expect("there is one").shape, [128, 64]);
        assert_eq!(model.require("blk.0.attn_k.weight").expect("there is one").shape, [64, 32]);
        assert_eq!(model.require("blk.0.ffn_norm.weight").expect("there is one").ggml_type, TensorType::F32);
        assert_eq!(model.tensors().len(), 1 + 2 * 9 + 1);
    }
}

#[test]
fn weights_are_finite_and_varied() {
    let bytes = TinyLlama::default().build().to_bytes().expect("written");
    for tensor in &parse(&bytes).tensors {
        let data = &bytes[tensor.offset as usize..][..tensor.size_bytes as usize];
        let weights: Vec<f32> = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert!(weights.iter().all(|w| w.is_finite() && w.abs() < 12.0), "`{}`", tensor.name);
        assert_ne!(weights[0], weights[1], "`{}`", tensor.name);
    }
}

#[test]
fn the_seed_decides_the_bytes() {
    let bytes = |seed| TinyLlama { seed, ..TinyLlama::default() }.build().to_bytes().expect("written");
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn keys_and_tensors_can_be_broken_one_at_a_time() {
    let file = || TinyLlama::default().build();
    let good = file().to_bytes().expect("written");
    let broken = file()
        .set("llama.attention.head_count", Value::U32(0))
        .set("llama.new", 1u8)
        .remove("llama.rope.dimension_count")
        .remove_tensor("blk.0.ffn_up.weight")
        .set_tensor("output_norm.weight", &[64], TensorType::F16)
        .set_tensor("extra", &[1], TensorType::F32)
        .to_bytes()
        .expect("sound GGUF all the same");
    let header = parse(&broken);
    assert_eq!(header.metadata.u32("llama.attention.head_count"), Ok(0));
    assert_eq!(header.metadata.u32("llama.new"), Ok(1));
    assert_eq!(header.metadata.get("llama.rope.dimension_count"), None);
    assert_eq!(header.tensor("blk.0.ffn_up.weight"), None);
    assert_eq!(header.tensor("output_norm.weight").map(|t| t.ggml_type), Some(TensorType::F16));
    assert_eq!(header.tensor("extra").map(|t| t.size_bytes), Some(4));
    let data = |header: &Header, bytes: &[u8], name: &str| {
        let tensor = header.tensor(name).expect("there is one").clone();
        bytes[tensor.offset as usize..][..tensor.size_bytes as usize].to_vec()
    };
    let name = "blk.1.ffn_gate.weight";
    assert_eq!(data(&header, &broken, name), data(&parse(&good), &good, name), "the others are as they were");
}

#[test]
#[should_panic(expected = "no tensor `blk.9.ffn_up.weight`")]
fn removing_what_is_not_there_is_a_slip_of_the_test() {
    let _file = TinyLlama::default().build().remove_tensor("blk.9.ffn_up.weight");
}
