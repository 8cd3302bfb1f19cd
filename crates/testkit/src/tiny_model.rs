//! A tiny random llama in a GGUF file, written by code: the same bytes for the same settings on every machine.
//!
//! It computes and it tokenizes (byte-level BPE), it says nothing sensible. [`TinyLlama::write`] gives a good file;
//! [`TinyLlama::build`] gives a [`TinyFile`] whose keys and tensors a test may break before writing.
//! What does not live here: damage below the level of keys and tensors (bytes, lengths, counts), which crate `gguf` tests.

mod blocks;
mod vocabulary;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use gguf::{StringArray, TensorSpec, TensorType, Value, Writer};

/// The text of `tokenizer.chat_template`: ChatML, without a default system message.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// How the matrices are stored; norms are F32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes a weight.
    F32,
    /// Blocks of 32 in 34 bytes.
    Q8_0,
    /// Blocks of 32 in 20 bytes.
    Q4_1,
}

impl WeightType {
    fn tensor_type(self) -> TensorType {
        match self {
            WeightType::F32 => TensorType::F32,
            WeightType::Q8_0 => TensorType::Q8_0,
            WeightType::Q4_1 => TensorType::Q4_1,
        }
    }

    /// The number for `general.file_type` (llama.cpp's list of file types).
    fn file_type(self) -> u32 {
        match self {
            WeightType::F32 => 0,
            WeightType::Q8_0 => 7,
            WeightType::Q4_1 => 3,
        }
    }
}

/// What a tiny model looks like. `TinyLlama::default()` is 2 blocks of width 64: some 480 KB in F32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyLlama {
    /// Decides every weight.
    pub seed: u64,
    /// Number of transformer blocks.
    pub blocks: u32,
    /// Width; a multiple of 32 where weights are quantized, and of twice `heads`.
    pub embedding: u32,
    /// Width of the feed-forward layer; a multiple of 32 where weights are quantized.
    pub feed_forward: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Context length.
    pub context: u32,
    /// How the matrices are stored.
    pub weights: WeightType,
    /// Whether the output layer is the embedding table (then there is no `output.weight`).
    pub tied: bool,
}

impl Default for TinyLlama {
    fn default() -> TinyLlama {
        TinyLlama {
            seed: 0,
            blocks: 2,
            embedding: 64,
            feed_forward: 128,
            heads: 4,
            kv_heads: 2,
            context: 512,
            weights: WeightType::F32,
            tied: true,
        }
    }
}

impl TinyLlama {
    /// Number of tokens: 3 special ones, 256 bytes, and what the merges make.
    pub fn vocab_size() -> u32 {
        vocabulary::tokens().len() as u32
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        self.build().write(path)
    }

    /// Keys and tensors, still to be changed.
    pub fn build(&self) -> TinyFile {
        TinyFile { seed: self.seed, metadata: self.metadata(), tensors: self.tensors() }
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let head_length = self.embedding.checked_div(self.heads).unwrap_or(0);
        let strings = |texts: Vec<String>| Value::from(texts.into_iter().collect::<StringArray>());
        // The order is that of the reference converter.
        let entries = [
            ("general.architecture", Value::from("llama")),
            ("general.type", Value::from("model")),
            ("general.name", Value::from("Tiny Random Llama")),
            ("llama.block_count", Value::U32(self.blocks)),
            ("llama.context_length", Value::U32(self.context)),
            ("llama.embedding_length", Value::U32(self.embedding)),
            ("llama.feed_forward_length", Value::U32(self.feed_forward)),
            ("llama.attention.head_count", Value::U32(self.heads)),
            ("llama.attention.head_count_kv", Value::U32(self.kv_heads)),
            ("llama.rope.freq_base", Value::F32(10_000.0)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("general.file_type", Value::U32(self.weights.file_type())),
            ("llama.vocab_size", Value::U32(TinyLlama::vocab_size())),
            ("llama.rope.dimension_count", Value::U32(head_length)),
            ("general.quantization_version", Value::U32(2)),
            ("tokenizer.ggml.model", Value::from("gpt2")),
            ("tokenizer.ggml.pre", Value::from("smollm")),
            ("tokenizer.ggml.tokens", strings(vocabulary::tokens())),
            ("tokenizer.ggml.token_type", Value::from(vocabulary::token_types())),
            ("tokenizer.ggml.merges", strings(vocabulary::merges())),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
            ("tokenizer.chat_template", Value::from(CHAT_TEMPLATE)),
        ];
        entries.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let width = u64::from(self.embedding);
        let hidden = u64::from(self.feed_forward);
        let head_length = width.checked_div(u64::from(self.heads)).unwrap_or(0);
        let key_width = head_length * u64::from(self.kv_heads);
        let vocabulary = u64::from(TinyLlama::vocab_size());
        let norm = |name: String| spec(name, &[width], TensorType::F32);
        let matrix = |name: String, columns: u64, rows: u64| spec(name, &[columns, rows], self.weights.tensor_type());
        let mut tensors = vec![matrix("token_embd.weight".to_owned(), width, vocabulary)];
        for block in 0..self.blocks {
            let name = |part: &str| format!("blk.{block}.{part}.weight");
            tensors.extend([
                norm(name("attn_norm")),
                matrix(name("attn_q"), width, width),
                matrix(name("attn_k"), width, key_width),
                matrix(name("attn_v"), width, key_width),
                matrix(name("attn_output"), width, width),
                norm(name("ffn_norm")),
                matrix(name("ffn_gate"), width, hidden),
                matrix(name("ffn_up"), width, hidden),
                matrix(name("ffn_down"), hidden, width),
            ]);
        }
        tensors.push(norm("output_norm.weight".to_owned()));
        if !self.tied {
            tensors.push(matrix("output.weight".to_owned(), width, vocabulary));
        }
        tensors
    }
}

fn spec(name: String, shape: &[u64], ggml_type: TensorType) -> TensorSpec {
    TensorSpec { name, shape: shape.to_vec(), ggml_type }
}

/// A model file before it is written. Weights are made while writing, from seed, name, shape and type, so that changing one
/// tensor changes no other. The file that comes out is sound GGUF, whatever nonsense its keys say.
#[derive(Debug, Clone)]
pub struct TinyFile {
    seed: u64,
    metadata: Vec<(String, Value)>,
    tensors: Vec<TensorSpec>,
}

impl TinyFile {
    /// The value of a key as it stands.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Sets a key to a list of texts.
    pub fn set_texts<S: AsRef<[u8]>>(self, key: &str, texts: impl IntoIterator<Item = S>) -> TinyFile {
        self.set(key, texts.into_iter().collect::<StringArray>())
    }

    /// Sets a key, in its place if it is there, else at the end.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> TinyFile {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Takes a key out.
    ///
    /// # Panics
    ///
    /// If it is not there: a test that removes nothing tests nothing.
    pub fn remove(mut self, key: &str) -> TinyFile {
        let before = self.metadata.len();
        self.metadata.retain(|(k, _)| k != key);
        assert!(self.metadata.len() < before, "there is no key `{key}` to remove");
        self
    }

    /// Sets shape and type of a tensor, in its place if it is there, else at the end.
    pub fn set_tensor(mut self, name: &str, shape: &[u64], ggml_type: TensorType) -> TinyFile {
        let new = spec(name.to_owned(), shape, ggml_type);
        match self.tensors.iter_mut().find(|tensor| tensor.name == name) {
            Some(old) => *old = new,
            None => self.tensors.push(new),
        }
        self
    }

    /// Takes a tensor out.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn remove_tensor(mut self, name: &str) -> TinyFile {
        let before = self.tensors.len();
        self.tensors.retain(|tensor| tensor.name != name);
        assert!(self.tensors.len() < before, "there is no tensor `{name}` to remove");
        self
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = fs_err::File::create(path)?;
        self.write_to(std::io::BufWriter::new(file))
            .with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(())
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        self.write_to(Vec::new())
    }

    fn write_to<W: Write>(&self, sink: W) -> anyhow::Result<W> {
        let mut writer = Writer::new(sink, &self.metadata, &self.tensors)?;
        for tensor in &self.tensors {
            let Some(data) = blocks::random_tensor(self.seed, tensor) else {
                bail!("tensor `{}`: no weights can be made as {}", tensor.name, tensor.ggml_type);
            };
            writer.write_tensor(&tensor.name, &data)?;
        }
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests;
