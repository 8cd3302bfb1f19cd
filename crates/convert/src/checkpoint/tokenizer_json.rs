//! What is read of `tokenizer.json` and `tokenizer_config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use text::{MAX_ADDED_TOKENS, MAX_MERGES};

use super::bounded::{Bounded, Ids, Part};

/// `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerJson {
    #[serde(default)]
    pub(crate) added_tokens: Bounded<AddedToken, MAX_ADDED_TOKENS>,
    #[serde(default)]
    pub(crate) normalizer: Part,
    #[serde(default)]
    pub(crate) pre_tokenizer: Part,
    #[serde(default)]
    pub(crate) post_processor: Part,
    #[serde(default)]
    pub(crate) decoder: Part,
    #[serde(default)]
    pub(crate) model: Model,
}

/// A token that is matched as a whole.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) special: bool,
    /// Whether it is looked for after the normalizer; absent, where it is no special one.
    pub(crate) normalized: Option<bool>,
    #[serde(default)]
    pub(crate) single_word: bool,
    #[serde(default)]
    pub(crate) lstrip: bool,
    #[serde(default)]
    pub(crate) rstrip: bool,
}

/// The model of `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Model {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) vocab: Ids,
    #[serde(default)]
    pub(crate) merges: Bounded<Merge, MAX_MERGES>,
    pub(crate) unk_token: Option<String>,
    pub(crate) continuing_subword_prefix: Option<String>,
    pub(crate) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(crate) fuse_unk: bool,
    #[serde(default)]
    pub(crate) byte_fallback: bool,
    #[serde(default)]
    pub(crate) ignore_merges: bool,
}

/// A merge, in either of the two styles.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Merge {
    Joined(String),
    Pair([String; 2]),
}

impl Merge {
    /// Both halves with a space between them; spaces within a half become their stand-in of the byte alphabet.
    pub(crate) fn text(&self) -> String {
        match self {
            Merge::Joined(text) => text.clone(),
            Merge::Pair([left, right]) => format!("{} {}", left.replace(' ', "\u{120}"), right.replace(' ', "\u{120}")),
        }
    }
}

/// `tokenizer_config.json`. The `*_token` keys are texts or objects with a `content`.
#[derive(Debug, Default, Clone, Deserialize)]
pub(crate) struct TokenizerConfig {
    pub(crate) add_prefix_space: Option<bool>,
    pub(crate) tokenizer_class: Option<String>,
    #[serde(default)]
    pub(crate) added_tokens_decoder: BTreeMap<String, DecoderEntry>,
    #[serde(default)]
    pub(crate) additional_special_tokens: Value,
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, Value>,
}

/// An entry of `added_tokens_decoder`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DecoderEntry {
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) special: bool,
}

impl TokenizerConfig {
    /// The text of `<kind>_token`.
    pub(crate) fn token_text(&self, kind: &str) -> Option<&str> {
        text_of(self.other.get(&format!("{kind}_token"))?)
    }
}

/// A token written as a text, or as an object with a `content`.
pub(crate) fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(object) => object.get("content")?.as_str(),
        _ => None,
    }
}
