//! A GPT-2 of any size without its weights: names and dimensions of its tensors, and the files around them.

use std::path::Path;

use serde_json::{Map, json};

/// Sizes of a GPT-2.
pub struct Gpt2 {
    pub width: u64,
    pub heads: u64,
    pub blocks: u64,
    pub vocabulary: u64,
}

impl Gpt2 {
    /// Names, types and dimensions. The masks are constants that the published checkpoint carries along.
    pub fn tensors(&self, with_masks: bool) -> Vec<(String, &'static str, Vec<u64>)> {
        let width = self.width;
        let mut tensors = vec![
            ("wte.weight".to_owned(), "F32", vec![self.vocabulary, width]),
            ("wpe.weight".to_owned(), "F32", vec![1_024, width]),
            ("ln_f.weight".to_owned(), "F32", vec![width]),
            ("ln_f.bias".to_owned(), "F32", vec![width]),
        ];
        for block in 0..self.blocks {
            let pair = |name: &str, shape: Vec<u64>| {
                let bias = vec![shape.last().copied().unwrap_or(1)];
                [(format!("h.{block}.{name}.weight"), "F32", shape), (format!("h.{block}.{name}.bias"), "F32", bias)]
            };
            tensors.extend(pair("ln_1", vec![width]));
            tensors.extend(pair("ln_2", vec![width]));
            tensors.extend(pair("attn.c_attn", vec![width, 3 * width]));
            tensors.extend(pair("attn.c_proj", vec![width, width]));
            tensors.extend(pair("mlp.c_fc", vec![width, 4 * width]));
            tensors.extend(pair("mlp.c_proj", vec![4 * width, width]));
            if with_masks {
                tensors.push((format!("h.{block}.attn.bias"), "F32", vec![1, 1, 1_024, 1_024]));
            }
        }
        tensors.sort();
        tensors
    }

    /// Configuration and a vocabulary of the right size without merges.
    pub fn write_texts(&self, folder: &Path) {
        let Gpt2 { width, heads, blocks, vocabulary } = self;
        let config = json!({
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": blocks, "n_embd": width, "n_head": heads,
            "n_ctx": 1_024, "n_positions": 1_024, "vocab_size": vocabulary, "layer_norm_epsilon": 1e-5,
            "bos_token_id": vocabulary - 1, "eos_token_id": vocabulary - 1,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
        let mut tokens: Map<_, _> = (0..vocabulary - 1).map(|id| (format!("t{id}"), json!(id))).collect();
        tokens.insert("<|endoftext|>".to_owned(), json!(vocabulary - 1));
        std::fs::write(folder.join("vocab.json"), json!(tokens).to_string()).expect("written");
        std::fs::write(folder.join("merges.txt"), "#version: 0.2\n").expect("written");
    }
}
