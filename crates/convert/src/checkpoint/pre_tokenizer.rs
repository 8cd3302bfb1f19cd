//! The name of a pre-tokenizer (`tokenizer.ggml.pre`) from its definition in `tokenizer.json`.
//!
//! The reference hashes the tokens of a test text, which only works for vocabularies it has seen. The definition itself says
//! more: one row a known definition. Names that differ for one definition behave alike; the architecture chooses.

use serde_json::Value;

use super::tokenizer_json::TokenizerJson;
use crate::error::ConvertError;

/// The split of GPT-4's tokenizer, numbers in groups of three.
const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same with every digit alone.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's `tekken`.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Steps of a pre-tokenizer, as far as they cut text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Every digit alone.
    Digits,
    /// GPT-2's expression.
    ByteLevel,
    /// An expression whose matches stay whole.
    Split(String),
    Other(String),
}

/// The name for `--pre`, or the one that the definition has.
pub(crate) fn name(tokenizer: &TokenizerJson, architecture: &str, given: Option<&str>) -> Result<String, ConvertError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let steps = steps(&tokenizer.pre_tokenizer.0);
    let known = match steps.as_slice() {
        [Step::ByteLevel] => Some("gpt-2"),
        [Step::Digits, Step::ByteLevel] if architecture == "granite" => Some("refact"),
        [Step::Digits, Step::ByteLevel] => Some("smollm"),
        [Step::Split(pattern)] => match pattern.as_str() {
            GPT4 if tokenizer.model.ignore_merges => Some("llama-bpe"),
            GPT4 => Some("dbrx"),
            QWEN2 => Some("qwen2"),
            TEKKEN => Some("tekken"),
            _ => None,
        },
        _ => None,
    };
    known.map(str::to_owned).ok_or_else(|| ConvertError::Unsupported {
        reason: format!("the pre-tokenizer of tokenizer.json is not known: {}", describe(&steps)),
        hint: Some(
            "if you know its name in other GGUF files of the model, give it with `--pre NAME` (gpt-2, smollm, llama-bpe, \
             qwen2, dbrx, tekken, …)"
                .to_owned(),
        ),
    })
}

/// Whether every step is one whose work is known, and bounded: an expression of somebody else's can take for ever.
pub(crate) fn is_known(definition: &Value) -> bool {
    steps(definition).iter().all(|step| match step {
        Step::Digits | Step::ByteLevel => true,
        Step::Split(pattern) => [GPT4, QWEN2, TEKKEN].contains(&pattern.as_str()),
        Step::Other(_) => false,
    })
}

fn describe(steps: &[Step]) -> String {
    let text: String = format!("{steps:?}").chars().take(300).collect();
    text
}

fn steps(definition: &Value) -> Vec<Step> {
    let kind = definition["type"].as_str().unwrap_or("none");
    let flag = |key: &str, default: bool| definition[key].as_bool().unwrap_or(default);
    match kind {
        "Sequence" => definition["pretokenizers"].as_array().into_iter().flatten().flat_map(steps).collect(),
        "ByteLevel" if flag("add_prefix_space", true) => {
            vec![Step::Other("ByteLevel with a space in front".to_owned())]
        }
        "ByteLevel" if flag("use_regex", true) => vec![Step::ByteLevel],
        // It only renames bytes.
        "ByteLevel" => Vec::new(),
        "Digits" if flag("individual_digits", false) => vec![Step::Digits],
        "Split" => {
            let pattern = definition["pattern"]["Regex"].as_str();
            let keeps = definition["behavior"] == "Isolated" && !flag("invert", false);
            let removes = definition["behavior"] == "Removed" && flag("invert", false);
            match pattern {
                Some(pattern) if keeps || removes => vec![Step::Split(pattern.to_owned())],
                _ => vec![Step::Other(definition.to_string())],
            }
        }
        other => vec![Step::Other(other.to_owned())],
    }
}
