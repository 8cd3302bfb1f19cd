//! Small checkpoints on disk, whole or damaged: a llama with one block, and any safetensors file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use convert::checkpoint::{self, Outtype};
use convert::{ConvertError, Event, Report};
use serde_json::{Map, Value, json};

/// A tensor to write: name, type, dimensions, bytes.
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// Bytes of an element of `dtype`.
fn element_bytes(dtype: &str) -> u64 {
    match dtype {
        "F64" | "I64" => 8,
        "F32" => 4,
        "I8" => 1,
        _ => 2,
    }
}

/// The header of a file with these tensors one after another, and the size of their data.
pub fn header(tensors: &[(String, &'static str, Vec<u64>)]) -> (Vec<u8>, u64) {
    let mut entries = Map::new();
    let mut offset = 0;
    for (name, dtype, shape) in tensors {
        let size = shape.iter().product::<u64>() * element_bytes(dtype);
        entries.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}));
        offset += size;
    }
    (with_length(&Value::Object(entries).to_string()), offset)
}

/// A header's text with its length in front.
pub fn with_length(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let names: Vec<_> = tensors.iter().map(|t| (t.name.clone(), t.dtype, t.shape.clone())).collect();
    let mut file = File::create(path).expect("created");
    file.write_all(&header(&names).0).expect("written");
    for tensor in tensors {
        file.write_all(&tensor.bytes).expect("written");
    }
}

/// Sizes of a llama with one block.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub vocabulary: u64,
    pub width: u64,
    pub feed_forward: u64,
}

pub const SMALL: Sizes = Sizes { vocabulary: 300, width: 64, feed_forward: 128 };

impl Sizes {
    /// Names, types and dimensions of its tensors.
    pub fn tensors(self, dtype: &'static str) -> Vec<(String, &'static str, Vec<u64>)> {
        let Sizes { vocabulary, width, feed_forward } = self;
        let block = |name: &str| format!("model.layers.0.{name}.weight");
        vec![
            ("model.embed_tokens.weight".to_owned(), dtype, vec![vocabulary, width]),
            (block("input_layernorm"), dtype, vec![width]),
            (block("mlp.down_proj"), dtype, vec![width, feed_forward]),
            (block("mlp.gate_proj"), dtype, vec![feed_forward, width]),
            (block("mlp.up_proj"), dtype, vec![feed_forward, width]),
            (block("post_attention_layernorm"), dtype, vec![width]),
            (block("self_attn.k_proj"), dtype, vec![width, width]),
            (block("self_attn.o_proj"), dtype, vec![width, width]),
            (block("self_attn.q_proj"), dtype, vec![width, width]),
            (block("self_attn.v_proj"), dtype, vec![width, width]),
            ("model.norm.weight".to_owned(), dtype, vec![width]),
        ]
    }

    /// Everything but the weights.
    pub fn write_texts(self, directory: &Path) {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": self.width, "intermediate_size": self.feed_forward,
            "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": self.vocabulary, "max_position_embeddings": 64,
        });
        std::fs::write(directory.join("config.json"), config.to_string()).expect("written");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inputs/llama-tied/tokenizer.json");
        std::fs::copy(source, directory.join("tokenizer.json")).expect("copied");
    }

    /// A whole checkpoint of F32 with values that differ everywhere.
    pub fn write(self, directory: &Path) -> Vec<Tensor> {
        self.write_texts(directory);
        let mut state = 7_u32;
        let mut value = move || {
            // Numerical Recipes' multiplier.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let tensors = self.tensors("F32").into_iter().map(|(name, dtype, shape)| {
            let count = shape.iter().product::<u64>();
            let bytes = (0..count).flat_map(|_| value().to_le_bytes()).collect();
            Tensor { name, dtype, shape, bytes }
        });
        let tensors: Vec<Tensor> = tensors.collect();
        write_safetensors(&directory.join("model.safetensors"), &tensors);
        tensors
    }
}

/// Converts to F16 with one thread and no provenance.
pub fn convert_with(directory: &Path, output: &Path, pre: Option<&str>) -> Result<Report, ConvertError> {
    let request = checkpoint::Request {
        directory,
        output,
        outtype: Outtype::F16,
        model_name: None,
        pre,
        provenance: None,
        allow_nonfinite: false,
        threads: 1,
    };
    checkpoint::convert(&request, &mut |_: Event| {}, &AtomicBool::new(false))
}
