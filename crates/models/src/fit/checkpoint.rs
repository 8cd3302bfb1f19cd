//! The shape of a model that is still a checkpoint: `config.json` under its many names, and the tensor lists of its
//! safetensors files. Pure; nothing of the weights is looked at.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FitError, Shape};

/// `config.json`, as far as it decides what the model takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Configuration(Map<String, Value>);

impl Configuration {
    /// The shape, for `elements` weights of `element_bytes` bytes each.
    pub(crate) fn shape(&self, elements: u64, element_bytes: u64) -> Result<Shape, FitError> {
        let embedding_length = self.required(&["hidden_size", "n_embd"])?;
        let head_count = self.required(&["num_attention_heads", "n_head"])?;
        let head_length = self.number(&["head_dim"]).unwrap_or(embedding_length / head_count.max(1));
        let feed_forward_length = self.number(&["intermediate_size", "shared_intermediate_size", "n_inner"]);
        Ok(Shape {
            weights_bytes: elements.saturating_mul(element_bytes),
            block_count: self.required(&["num_hidden_layers", "n_layer"])?,
            head_count_kv: self.number(&["num_key_value_heads"]).unwrap_or(head_count),
            key_length: head_length,
            value_length: head_length,
            embedding_length,
            feed_forward_length: feed_forward_length.unwrap_or(embedding_length.saturating_mul(4)),
            vocab_size: self.number(&["vocab_size"]).unwrap_or(0),
            context_length: self.required(&["max_position_embeddings", "n_positions", "n_ctx"])?,
        })
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| self.0.get(*name)?.as_u64()).filter(|number| *number > 0)
    }

    fn required(&self, names: &[&str]) -> Result<u64, FitError> {
        self.number(names).ok_or_else(|| FitError::Unsaid { what: format!("`{}`", names.join("` or `")) })
    }
}

#[derive(Deserialize)]
struct RawTensor {
    shape: Vec<u64>,
}

/// Weights of a safetensors file, from its header alone; buffers that conversion leaves out are not counted.
pub(crate) fn elements(header: &[u8]) -> Result<u64, FitError> {
    let broken = |_| FitError::Unsaid { what: "tensors: a safetensors header is broken".to_owned() };
    let tensors: Map<String, Value> = serde_json::from_slice(header).map_err(broken)?;
    let mut sum = 0_u64;
    for (name, value) in tensors {
        // Causal masks of old GPT-2 checkpoints are no weights.
        if name == "__metadata__" || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            continue;
        }
        let tensor: RawTensor = serde_json::from_value(value).map_err(broken)?;
        let elements = tensor.shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
        let counted = elements.and_then(|elements| sum.checked_add(elements));
        sum = counted.ok_or_else(|| FitError::Unsaid { what: "size in a number that can be counted".to_owned() })?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::{Configuration, elements};

    #[test]
    fn the_two_checkpoints_of_the_catalog_have_a_shape() {
        let shape =
            |text: &str| serde_json::from_str::<Configuration>(text).expect("JSON").shape(10, 4).expect("a shape");
        let gpt2 = shape(r#"{"n_layer":12,"n_head":12,"n_embd":768,"n_positions":1024,"vocab_size":50257}"#);
        assert_eq!(
            (gpt2.block_count, gpt2.key_length, gpt2.head_count_kv, gpt2.feed_forward_length),
            (12, 64, 12, 3072)
        );
        assert_eq!((gpt2.weights_bytes, gpt2.context_length), (40, 1024));
        let granite = shape(
            r#"{"num_hidden_layers":40,"num_attention_heads":40,"num_key_value_heads":8,"hidden_size":2560,
                "intermediate_size":8192,"max_position_embeddings":131072,"vocab_size":100352}"#,
        );
        assert_eq!((granite.head_count_kv, granite.key_length, granite.context_length), (8, 64, 131_072));
        assert!(serde_json::from_str::<Configuration>("{}").expect("JSON").shape(1, 1).is_err());
    }

    #[test]
    fn weights_are_counted_and_masks_are_not() {
        let header = br#"{"__metadata__":{"format":"pt"},"wte":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]},
            "h.0.attn.bias":{"dtype":"F32","shape":[1,1,9,9],"data_offsets":[48,372]}}"#;
        assert_eq!(elements(header), Ok(12));
        assert!(elements(b"[]").is_err() && elements(b"{\"a\":1}").is_err());
        let huge = br#"{"a":{"shape":[18446744073709551615,2]}}"#;
        assert!(elements(huge).is_err());
    }
}
