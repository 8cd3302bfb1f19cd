//! The front matter of a model card (`README.md`): the few keys that reach a GGUF file, in the YAML that cards are written in.
//!
//! Scalars, lists of scalars in either style, and nothing else: a key that holds a mapping or a text block is passed over,
//! because no published card has one among the keys that are read here.

use std::collections::BTreeMap;

/// Longest front matter that is looked at.
const MAX_BYTES: usize = 64 * 1024;

/// A value of the front matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CardValue {
    Text(String),
    List(Vec<String>),
}

impl CardValue {
    /// A list; a single text is a list of one.
    pub(crate) fn items(&self) -> Vec<String> {
        match self {
            CardValue::Text(text) => vec![text.clone()],
            CardValue::List(items) => items.clone(),
        }
    }
}

/// Top-level keys of the front matter.
pub(crate) fn parse(text: &str) -> BTreeMap<String, CardValue> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines();
    if lines.next() != Some("---") {
        return values;
    }
    let mut key: Option<String> = None;
    let mut read = 0;
    for line in lines {
        read += line.len();
        if line == "---" || read > MAX_BYTES {
            break;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(item) = trimmed.strip_prefix("- ") {
            if let Some(key) = &key
                && let Some(item) = scalar(item)
                && let CardValue::List(items) = values.entry(key.clone()).or_insert(CardValue::List(Vec::new()))
            {
                items.push(item);
            }
            continue;
        }
        if line.starts_with([' ', '\t']) {
            // Inside a mapping or a text block.
            continue;
        }
        let Some((name, value)) = trimmed.split_once(':') else { continue };
        key = Some(name.trim().to_owned());
        if let Some(value) = flow_list(value.trim()) {
            values.insert(name.trim().to_owned(), CardValue::List(value));
        } else if let Some(value) = scalar(value) {
            values.insert(name.trim().to_owned(), CardValue::Text(value));
        }
    }
    values
}

/// `[a, "b"]`.
fn flow_list(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.split(',').filter_map(scalar).collect())
}

/// A plain or quoted scalar; `None` for an empty one and for what opens a block.
fn scalar(text: &str) -> Option<String> {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return Some(inner.to_owned());
        }
    }
    let plain = text.split(" #").next().unwrap_or_default().trim();
    let opens_block = plain.starts_with(['|', '>', '{', '&', '*', '!']) || plain.contains(": ");
    (!plain.is_empty() && plain != "null" && plain != "~" && !opens_block).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{CardValue, parse};

    #[test]
    fn scalars_and_lists_are_read() {
        let card = "---\nlicense: apache-2.0 # permissive\ntags:\n- a\n- 'b c'\nlanguage: [en, \"no\"]\nbase_model:\n  - x/y\n\
                    model-index:\n  - name: z\n    results: []\n---\n# Title\nlicense: mit\n";
        let values = parse(card);
        assert_eq!(values["license"], CardValue::Text("apache-2.0".into()));
        assert_eq!(values["tags"].items(), ["a", "b c"]);
        assert_eq!(values["language"].items(), ["en", "no"]);
        assert_eq!(values["base_model"].items(), ["x/y"]);
        assert!(parse("# no front matter\nlicense: mit\n").is_empty());
    }
}
