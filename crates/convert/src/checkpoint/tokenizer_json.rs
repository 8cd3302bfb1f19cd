//! What is read of `tokenizer.json` and `tokenizer_config.json`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerJson {
    #[serde(default)]
    pub(crate) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(crate) pre_tokenizer: Value,
    #[serde(default)]
    pub(crate) post_processor: Value,
    #[serde(default)]
    pub(crate) decoder: Value,
    #[serde(default)]
    pub(crate) model: Model,
}

/// A token that is matched as a whole.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) special: bool,
}

/// The model of `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Model {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) vocab: Pieces,
    #[serde(default)]
    pub(crate) merges: Vec<Merge>,
    #[serde(default)]
    pub(crate) byte_fallback: bool,
    #[serde(default)]
    pub(crate) ignore_merges: bool,
}

/// Tokens and ids; empty where the vocabulary is of another kind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pieces(pub(crate) BTreeMap<String, u32>);

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pieces;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pieces, A::Error> {
                let mut pieces = BTreeMap::new();
                while let Some((token, id)) = entries.next_entry()? {
                    pieces.insert(token, id);
                }
                Ok(Pieces(pieces))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pieces, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Pieces::default())
            }
        }
        deserializer.deserialize_any(Either)
    }
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
