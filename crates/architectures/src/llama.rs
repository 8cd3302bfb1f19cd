//! `llama`: Llama 1 to 3, Mistral 7B, TinyLlama, SmolLM2 and what else is converted under that name, as long as its rotary
//! frequencies are not scaled: that is refused by name.
//!
//! Pre-norm decoder: RMS norm, grouped-query attention with rotary positions on interleaved pairs (GGUF stores the query
//! and key rows permuted for it), gated SiLU feed-forward, tied or separate output layer. Source of the shape: Touvron
//! et al., arXiv:2302.13971; grouped queries: arXiv:2305.13245.

use crate::configuration::Reader;
use crate::program::{Activation, Buffer, BufferId, Operation, Program, RotaryStyle, Weight, WeightId};
use crate::{Architecture, Configuration, ConfigurationError};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "llama",
    configuration,
    program: Some(program),
    checkpoint_classes: &["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"],
    tensor_names: TENSOR_NAMES,
    ignored_suffixes: COMPUTED,
};

/// Rotary tables that older checkpoints carry.
pub(crate) const COMPUTED: &[&str] = &[".rotary_emb.inv_freq"];

pub(crate) const TENSOR_NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
    ("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
    ("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
    ("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
    ("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
    ("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    ("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
    ("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"),
    ("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
    ("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"),
    ("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"),
    ("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"),
    ("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"),
    ("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"),
    ("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"),
    ("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"),
];

fn configuration(metadata: &gguf::Metadata) -> Result<Configuration, ConfigurationError> {
    let reader = Reader::new(metadata, "llama");
    reader.refuse_scaled_rotary()?;
    reader.decoder()
}

/// Buffers of the program, in the order they are declared.
struct Buffers {
    stream: BufferId,
    normed: BufferId,
    query: BufferId,
    key: BufferId,
    value: BufferId,
    attended: BufferId,
    gate: BufferId,
    up: BufferId,
    outputs: BufferId,
    logits: BufferId,
}

fn program(configuration: &Configuration) -> Program {
    let mut builder = Builder { program: empty_program(), configuration };
    let buffers = builder.buffers();
    let width = configuration.embedding_length;
    let table = builder.weight("token_embd.weight", (width, configuration.vocab_size), None);
    builder.push(Operation::Embed { table, into: buffers.stream });
    for block in 0..configuration.block_count {
        builder.attention(block, &buffers);
        builder.feed_forward(block, &buffers);
    }
    builder.push(Operation::SelectOutputs { from: buffers.stream, into: buffers.outputs });
    let scale = builder.weight("output_norm.weight", (width, 1), None);
    builder.norm(buffers.outputs, scale, buffers.outputs);
    let matrix = builder.weight("output.weight", (width, configuration.vocab_size), None);
    builder.program.weights[matrix.0].fallback = Some(table);
    builder.push(Operation::Linear { from: buffers.outputs, matrix, into: buffers.logits });
    builder.program.logits = buffers.logits;
    builder.program
}

fn empty_program() -> Program {
    Program { buffers: Vec::new(), weights: Vec::new(), operations: Vec::new(), logits: BufferId(0) }
}

struct Builder<'a> {
    program: Program,
    configuration: &'a Configuration,
}

impl Builder<'_> {
    fn buffers(&mut self) -> Buffers {
        let configuration = self.configuration;
        let width = configuration.embedding_length;
        let query_width = configuration.head_count * configuration.head_length;
        let key_width = configuration.head_count_kv * configuration.head_length;
        let mut declare = |name, width| {
            self.program.buffers.push(Buffer { name, width });
            BufferId(self.program.buffers.len() - 1)
        };
        Buffers {
            stream: declare("stream", width),
            normed: declare("normed", width),
            query: declare("query", query_width),
            key: declare("key", key_width),
            value: declare("value", key_width),
            attended: declare("attended", query_width),
            gate: declare("gate", configuration.feed_forward_length),
            up: declare("up", configuration.feed_forward_length),
            outputs: declare("outputs", width),
            logits: declare("logits", configuration.vocab_size),
        }
    }

    fn push(&mut self, operation: Operation) {
        self.program.operations.push(operation);
    }

    fn weight(&mut self, name: &str, (columns, rows): (u64, u64), block: Option<u64>) -> WeightId {
        let name = match block {
            Some(block) => format!("blk.{block}.{name}"),
            None => name.to_owned(),
        };
        self.program.weights.push(Weight { name, columns, rows, block, fallback: None });
        WeightId(self.program.weights.len() - 1)
    }

    fn norm(&mut self, from: BufferId, scale: WeightId, into: BufferId) {
        self.push(Operation::RmsNorm { from, scale, epsilon: self.configuration.rms_epsilon, into });
    }

    fn linear(&mut self, name: &str, block: u64, (from, into): (BufferId, BufferId)) {
        let shape = (self.program.buffers[from.0].width, self.program.buffers[into.0].width);
        let matrix = self.weight(name, shape, Some(block));
        self.push(Operation::Linear { from, matrix, into });
    }

    fn rotary(&mut self, buffer: BufferId, heads: u64) {
        let rotary = self.configuration.rotary;
        self.push(Operation::Rotary {
            buffer,
            heads,
            dimensions: rotary.dimensions,
            frequency_base: rotary.frequency_base,
            style: RotaryStyle::Interleaved,
        });
    }

    fn attention(&mut self, block: u64, buffers: &Buffers) {
        let configuration = self.configuration;
        let scale = self.weight("attn_norm.weight", (configuration.embedding_length, 1), Some(block));
        self.norm(buffers.stream, scale, buffers.normed);
        self.linear("attn_q.weight", block, (buffers.normed, buffers.query));
        self.linear("attn_k.weight", block, (buffers.normed, buffers.key));
        self.linear("attn_v.weight", block, (buffers.normed, buffers.value));
        self.rotary(buffers.query, configuration.head_count);
        self.rotary(buffers.key, configuration.head_count_kv);
        self.push(Operation::Attention {
            query: buffers.query,
            key: buffers.key,
            value: buffers.value,
            block,
            heads: configuration.head_count,
            heads_kv: configuration.head_count_kv,
            // 1/sqrt(d): Vaswani et al., arXiv:1706.03762, section 3.2.1.
            scale: 1.0 / (configuration.head_length as f32).sqrt(),
            into: buffers.attended,
        });
        self.linear("attn_output.weight", block, (buffers.attended, buffers.normed));
        self.push(Operation::Residual { from: buffers.normed, into: buffers.stream });
    }

    fn feed_forward(&mut self, block: u64, buffers: &Buffers) {
        let scale = self.weight("ffn_norm.weight", (self.configuration.embedding_length, 1), Some(block));
        self.norm(buffers.stream, scale, buffers.normed);
        self.linear("ffn_gate.weight", block, (buffers.normed, buffers.gate));
        self.linear("ffn_up.weight", block, (buffers.normed, buffers.up));
        self.push(Operation::Gate {
            activation: Activation::Silu,
            gate: buffers.gate,
            up: buffers.up,
            into: buffers.gate,
        });
        self.linear("ffn_down.weight", block, (buffers.gate, buffers.normed));
        self.push(Operation::Residual { from: buffers.normed, into: buffers.stream });
    }
}
