//! Special tokens, whether they are put around a text, merges and chat templates, as the reference finds them.

use std::path::Path;

use serde_json::Value;
use text::MAX_MERGES;

use super::config::Hyperparameters;
use super::files;
use super::keys::Keys;
use super::tokenizer_json::{TokenizerConfig, TokenizerJson, text_of};
use crate::error::ConvertError;

/// Kinds of special tokens in the order in which they are looked for, with their keys.
const KINDS: [(&str, &str); 9] = [
    ("bos", "bos_token_id"),
    ("eos", "eos_token_id"),
    ("unk", "unknown_token_id"),
    ("sep", "seperator_token_id"),
    ("pad", "padding_token_id"),
    ("cls", "cls_token_id"),
    ("mask", "mask_token_id"),
    ("eot", "eot_token_id"),
    ("eom", "eom_token_id"),
];
/// Of these, what is looked for without further reason.
const USUAL_KINDS: usize = 7;

/// The files of a tokenizer.
pub(crate) struct Files<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) tokenizer: Option<&'a TokenizerJson>,
    pub(crate) config: Option<&'a TokenizerConfig>,
}

/// Collects what is written after the vocabulary.
struct Special<'a> {
    files: &'a Files<'a>,
    config: Option<TokenizerConfig>,
    kinds: usize,
    ids: Vec<(&'static str, u64)>,
    add: Vec<(&'static str, bool)>,
    /// Ids from here on do not exist.
    limit: Option<u64>,
}

/// Writes merges (if `with_merges`), special ids, flags and templates.
pub(crate) fn write(
    keys: &mut Keys,
    files: &Files<'_>,
    model: &Hyperparameters,
    (with_merges, limit): (bool, Option<u64>),
) -> Result<(), ConvertError> {
    if with_merges {
        keys.texts("tokenizer.ggml.merges", merges(files)?);
    }
    let mut special =
        Special { files, config: files.config.cloned(), kinds: USUAL_KINDS, ids: Vec::new(), add: Vec::new(), limit };
    special.post_processor();
    special.configured();
    for (kind, id) in &model.special_ids {
        let known = KINDS.iter().find(|(known, _)| known == kind);
        if let (Some((kind, _)), Ok(id)) = (known, u64::try_from(*id)) {
            special.set_id(kind, id);
        }
    }
    for (kind, id) in &special.ids {
        let key = KINDS.iter().find(|(known, _)| known == kind).map_or("", |(_, key)| key);
        keys.count(format!("tokenizer.ggml.{key}"), *id);
    }
    for (kind, add) in &special.add {
        // Only these three have a key.
        if ["bos", "eos", "sep"].contains(kind) {
            keys.set(format!("tokenizer.ggml.add_{kind}_token"), *add);
        }
    }
    chat_template(keys, files)
}

fn merges(files: &Files<'_>) -> Result<Vec<String>, ConvertError> {
    let in_json = files.tokenizer.map(|tokenizer| &tokenizer.model.merges.0).filter(|merges| !merges.is_empty());
    if let Some(merges) = in_json {
        return Ok(merges.iter().map(super::tokenizer_json::Merge::text).collect());
    }
    let path = files.directory.join("merges.txt");
    let Some(bytes) = files::read_text(&path)? else { return Ok(Vec::new()) };
    let text = String::from_utf8(bytes).map_err(|_| ConvertError::invalid(&path, "not UTF-8"))?;
    let lines = text.lines().enumerate().filter(|(index, line)| *index > 0 || !line.starts_with('#'));
    let pairs = lines.filter_map(|(_, line)| {
        let mut parts = line.split_whitespace();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) => Some(format!("{left} {right}")),
            _ => None,
        }
    });
    let merges: Vec<String> = pairs.take(MAX_MERGES + 1).collect();
    if merges.len() > MAX_MERGES {
        return Err(ConvertError::invalid(&path, format!("more than {MAX_MERGES} merges")));
    }
    Ok(merges)
}

fn special_token(entry: &Value) -> Option<&str> {
    entry["SpecialToken"]["id"].as_str()
}

impl Special<'_> {
    fn set_id(&mut self, kind: &'static str, id: u64) {
        let exists = self.limit.is_none_or(|limit| id < limit);
        if exists && !self.ids.iter().any(|(known, _)| *known == kind) {
            self.ids.push((kind, id));
        }
    }

    fn set_add(&mut self, kind: &'static str, add: bool) {
        match self.add.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => *known = add,
            None => self.add.push((kind, add)),
        }
    }

    fn token(&self, kind: &str) -> Option<Value> {
        let value = self.config.as_ref()?.other.get(&format!("{kind}_token"))?;
        (!value.is_null() && value.as_str() != Some("")).then(|| value.clone())
    }

    fn set_token(&mut self, kind: &str, value: Value) {
        if let Some(config) = &mut self.config {
            config.other.insert(format!("{kind}_token"), value);
        }
    }

    /// What the post-processor of tokenizer.json says about tokens around a text.
    fn post_processor(&mut self) {
        let Some(tokenizer) = self.files.tokenizer else { return };
        for (kind, stand_in) in [("bos", "cls"), ("eos", "sep")] {
            if self.token(kind).is_none()
                && let Some(value) = self.token(stand_in)
            {
                self.set_token(kind, value);
            }
        }
        let definition = &tokenizer.post_processor.0;
        let several = definition["processors"].as_array();
        let processors: Vec<&Value> = several.map_or_else(|| vec![definition], |several| several.iter().collect());
        for processor in processors {
            match processor["type"].as_str() {
                Some("ByteLevel") => {
                    self.set_add("bos", false);
                    self.set_add("eos", false);
                }
                Some("RobertaProcessing") => {
                    for kind in ["bos", "eos", "sep"] {
                        self.set_add(kind, true);
                    }
                }
                Some("TemplateProcessing") => self.template(processor),
                _ => {}
            }
        }
    }

    fn template(&mut self, processor: &Value) {
        let empty = Vec::new();
        let single = processor["single"].as_array().unwrap_or(&empty);
        let pair = processor["pair"].as_array().unwrap_or(&empty);
        let (mut first, mut last) = (None, None);
        if let [leading, .., trailing] = single.as_slice() {
            first = special_token(leading);
            last = special_token(trailing);
        }
        if let Some(first) = first {
            let is_known = |kind: &str| self.token(kind).is_some_and(|token| token == first);
            let add = self.config.is_none() || is_known("bos") || is_known("cls");
            self.set_add("bos", add);
        }
        if let Some(last) = last {
            let end = self.token("eos");
            if self.config.is_some() && end.as_ref().is_none_or(|end| end != last) {
                // The text's end is another token than the turn's, which keeps its place under another name.
                if self.kinds < KINDS.len() {
                    let (kind, _) = KINDS[self.kinds];
                    self.kinds += 1;
                    self.set_token(kind, end.unwrap_or_default());
                }
                self.set_token("eos", Value::from(last));
            }
            self.set_add("eos", true);
        }
        if !pair.is_empty() {
            self.separator(pair, (first, last));
        }
    }

    /// Whether a token stands between two texts.
    fn separator(&mut self, pair: &[Value], (first, last): (Option<&str>, Option<&str>)) {
        let starts = usize::from(first.is_some() && pair.first().and_then(special_token) == first);
        let ends = usize::from(last.is_some() && pair.last().and_then(special_token) == last);
        let Some(inner) = pair.get(starts..pair.len().saturating_sub(ends)).filter(|inner| !inner.is_empty()) else {
            return;
        };
        let sequence =
            |entry: Option<&Value>| entry.and_then(|entry| entry["Sequence"]["id"].as_str().map(str::to_owned));
        let is_plain =
            sequence(inner.first()).as_deref() == Some("A") && sequence(inner.last()).as_deref() == Some("B");
        let between = match inner {
            [_, between @ .., _] if is_plain && !between.is_empty() => between,
            _ => return,
        };
        let is_separator = |entry: &Value| {
            let token = special_token(entry);
            let is = |kind: &str| token.is_some() && self.token(kind).as_ref().and_then(Value::as_str) == token;
            is("sep") || is("eos")
        };
        let add = (is_separator(&between[0]) && last.is_none()) || (between.len() == 2 && is_separator(&between[1]));
        self.set_add("sep", add);
    }

    /// What tokenizer_config.json says, ids through the added tokens of tokenizer.json.
    fn configured(&mut self) {
        let Some(config) = self.config.clone() else { return };
        let added = self.files.tokenizer.map(|tokenizer| tokenizer.added_tokens.0.as_slice()).unwrap_or_default();
        for (kind, _) in KINDS.iter().take(self.kinds) {
            if let Some(add) = config.other.get(&format!("add_{kind}_token")).and_then(Value::as_bool) {
                self.set_add(kind, add);
            }
            let text = config.token_text(kind);
            if let Some(token) = added.iter().find(|token| Some(token.content.as_str()) == text) {
                self.set_id(kind, u64::from(token.id));
            }
        }
    }
}

/// A file of its own goes before the configuration's key.
fn chat_template(keys: &mut Keys, files: &Files<'_>) -> Result<(), ConvertError> {
    let Some(config) = files.config else { return Ok(()) };
    let path = files.directory.join("chat_template.jinja");
    let mut template = config.other.get("chat_template").cloned().unwrap_or_default();
    if let Some(bytes) = files::read_text(&path)? {
        let text = String::from_utf8(bytes).map_err(|_| ConvertError::invalid(&path, "not UTF-8"))?;
        // As text is read by the reference: line ends of other systems become ours.
        template = Value::from(text.replace("\r\n", "\n").replace('\r', "\n"));
    } else if let Some(json) = files::read_json::<Value>(&files.directory.join("chat_template.json"))?
        && let Some(text) = json.get("chat_template")
    {
        template = text.clone();
    }
    match template {
        Value::String(text) => keys.set("tokenizer.chat_template", text),
        Value::Array(choices) => named_templates(keys, &choices),
        _ => {}
    }
    Ok(())
}

/// Several templates by name; the one named `default` takes the plain key.
fn named_templates(keys: &mut Keys, choices: &[Value]) {
    let mut names = Vec::new();
    let mut default = None;
    for choice in choices {
        let name = choice["name"].as_str().unwrap_or_default();
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let Some(template) = text_of(&choice["template"]).filter(|_| !name.is_empty()) else { continue };
        if name == "default" {
            default = Some(template);
            continue;
        }
        keys.set(format!("tokenizer.chat_template.{name}"), template);
        names.push(name);
    }
    keys.texts("tokenizer.chat_templates", names);
    keys.set("tokenizer.chat_template", default.unwrap_or_default());
}
