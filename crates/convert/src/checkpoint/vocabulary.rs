//! The tokenizer's keys: tokens, scores and types from `tokenizer.model`, `tokenizer.json`, or `vocab.json` and `merges.txt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use text::{MAX_ADDED_BYTES, MAX_ADDED_TOKENS, MAX_TOKEN_BYTES};

use super::bounded::{Ids, Part};
use super::config::{Family, Hyperparameters};
use super::keys::Keys;
use super::special::{self, Files};
use super::tokenizer_json::{AddedToken, DecoderEntry, TokenizerConfig, TokenizerJson, text_of};
use super::{files, pre_tokenizer, sentencepiece};
use crate::error::ConvertError;

/// `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// A vocabulary as it is written.
struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    /// Of sentencepiece vocabularies only.
    scores: Vec<f32>,
    kinds: Vec<i32>,
}

impl Vocabulary {
    /// `size` entries that no token has taken yet.
    fn unused(size: u64) -> Vocabulary {
        Vocabulary {
            tokens: (0..size).map(|id| format!("[PAD{id}]").into_bytes()).collect(),
            scores: vec![-10_000.0; size as usize],
            kinds: vec![kind::UNUSED; size as usize],
        }
    }

    /// Puts a token in its place; one beyond the end is passed over, as in the reference.
    fn set(&mut self, id: usize, token: impl Into<Vec<u8>>, (score, kind): (f32, i32)) {
        if id < self.tokens.len() {
            self.tokens[id] = token.into();
            self.scores[id] = score;
            self.kinds[id] = kind;
        }
    }

    /// Refuses what no reader of the file could take: the limits of `text`, tokens without a text that are matched as a whole,
    /// scores that are no numbers. `path` is the file that the vocabulary is from.
    fn check(&self, path: &Path) -> Result<(), ConvertError> {
        let refuse = |reason: String| Err(ConvertError::invalid(path, reason));
        let (mut count, mut bytes) = (0, 0);
        for (id, (token, kind)) in self.tokens.iter().zip(&self.kinds).enumerate() {
            if token.len() > MAX_TOKEN_BYTES {
                return refuse(format!("token {id} has {} bytes, the limit is {MAX_TOKEN_BYTES}", token.len()));
            }
            if std::str::from_utf8(token).is_err() {
                return refuse(format!("token {id} is not UTF-8"));
            }
            if ![kind::CONTROL, kind::USER_DEFINED].contains(kind) {
                continue;
            }
            if token.is_empty() {
                return refuse(format!("token {id} is matched as a whole, but has no text"));
            }
            count += 1;
            bytes += token.len();
        }
        if count > MAX_ADDED_TOKENS || bytes > MAX_ADDED_BYTES {
            return refuse(format!("{count} tokens of {bytes} bytes are matched as a whole"));
        }
        match self.scores.iter().position(|score| !score.is_finite()) {
            Some(id) => refuse(format!("token {id} has a score that is no number")),
            None => Ok(()),
        }
    }
}

/// Writes the keys of the tokenizer. What comes back is the tokenizer.json that the finished file is compared with, if there
/// is one that tokenizes.
pub(crate) fn write(
    keys: &mut Keys,
    directory: &Path,
    model: &Hyperparameters,
    given_pre: Option<&str>,
) -> Result<Option<PathBuf>, ConvertError> {
    write_keys(keys, directory, model, given_pre).map_err(ConvertError::of_tokenizer)
}

fn write_keys(
    keys: &mut Keys,
    directory: &Path,
    model: &Hyperparameters,
    given_pre: Option<&str>,
) -> Result<Option<PathBuf>, ConvertError> {
    let json_path = directory.join("tokenizer.json");
    let tokenizer: Option<TokenizerJson> = files::read_large_json(&json_path)?;
    let config: Option<TokenizerConfig> = files::read_json(&directory.join("tokenizer_config.json"))?;
    let files = Files { directory, tokenizer: tokenizer.as_ref(), config: config.as_ref() };
    let is_llama = match model.family {
        Family::Llama | Family::Granite(None) => true,
        Family::Gpt2 | Family::Qwen2 | Family::Phi3 { .. } | Family::Granite(Some(_)) => false,
    };
    let prefix_space = config.as_ref().and_then(|config| config.add_prefix_space);
    if let (true, Some(add)) = (is_llama, prefix_space) {
        keys.set("tokenizer.ggml.add_space_prefix", add);
    }
    let class = config.as_ref().and_then(|config| config.tokenizer_class.as_deref());
    let is_phi3 = matches!(model.family, Family::Phi3 { .. }) && class != Some("GPT2Tokenizer");
    let pieces_path = directory.join("tokenizer.model");
    let pieces = if is_llama || is_phi3 { files::read_text(&pieces_path)? } else { None };
    let is_hf_llama = is_llama && tokenizer.as_ref().is_some_and(is_byte_fallback);
    match pieces {
        Some(bytes) => {
            let pieces = sentencepiece::pieces(&bytes).map_err(|reason| ConvertError::invalid(&pieces_path, reason))?;
            let vocabulary = from_pieces(&files, model, &pieces, is_phi3)?;
            vocabulary.check(&pieces_path)?;
            write_pieces(keys, &files, model, vocabulary)?;
        }
        None if is_phi3 => return Err(ConvertError::Missing { what: "the tokenizer", path: pieces_path }),
        None if is_hf_llama => {
            let vocabulary = from_byte_fallback(&files)?;
            vocabulary.check(&json_path)?;
            write_pieces(keys, &files, model, vocabulary)?;
        }
        None => write_bpe(keys, &files, model, given_pre)?,
    }
    if is_llama && model.vocab_size == 49_152 {
        keys.set("tokenizer.ggml.add_bos_token", false);
    }
    if is_llama && model.vocab_size == 32_016 {
        // Code Llama's infilling tokens.
        for (key, id) in [("prefix", 32_007), ("suffix", 32_008), ("middle", 32_009), ("eot", 32_010)] {
            keys.count(format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
    // A stub that only lists added tokens tokenizes nothing.
    let encodes = tokenizer.filter(|json| !json.model.vocab.0.is_empty() && !json.pre_tokenizer.0.is_null());
    Ok(encodes.map(|_| json_path))
}

/// Whether tokenizer.json holds a sentencepiece vocabulary.
fn is_byte_fallback(tokenizer: &TokenizerJson) -> bool {
    tokenizer.model.kind.as_deref() == Some("BPE")
        && tokenizer.model.byte_fallback
        && tokenizer.decoder.0["type"] == "Sequence"
}

fn write_pieces(
    keys: &mut Keys,
    files: &Files<'_>,
    model: &Hyperparameters,
    vocabulary: Vocabulary,
) -> Result<(), ConvertError> {
    let count = vocabulary.tokens.len() as u64;
    keys.set("tokenizer.ggml.model", "llama");
    keys.set("tokenizer.ggml.pre", "default");
    keys.texts("tokenizer.ggml.tokens", vocabulary.tokens);
    keys.set("tokenizer.ggml.scores", vocabulary.scores);
    keys.set("tokenizer.ggml.token_type", vocabulary.kinds);
    special::write(keys, files, model, (false, Some(count)))
}

fn looks_special(token: &str) -> bool {
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || token.starts_with("<|") && token.ends_with("|>")
        || token.starts_with("<｜") && token.ends_with("｜>")
        || token.starts_with("<unused") && token.ends_with('>')
}

/// How an added token is written: its type, and its text with real spaces unless it is a control token.
fn added(content: &str, special: bool) -> (String, i32) {
    if special || looks_special(content) {
        return (content.to_owned(), kind::CONTROL);
    }
    (content.replace('▁', " "), kind::USER_DEFINED)
}

/// A sentencepiece vocabulary, then what the other files add to it or change of it.
fn from_pieces(
    files: &Files<'_>,
    model: &Hyperparameters,
    pieces: &[sentencepiece::Piece],
    is_phi3: bool,
) -> Result<Vocabulary, ConvertError> {
    let mut vocabulary = Vocabulary::unused(model.vocab_size);
    for (id, piece) in pieces.iter().enumerate() {
        let kind = match piece.kind {
            2 => kind::UNKNOWN,
            3 => kind::CONTROL,
            5 => kind::UNUSED,
            6 => kind::BYTE,
            _ => kind::NORMAL,
        };
        vocabulary.set(id, piece.text.clone(), (piece.score, kind));
    }
    let path = files.directory.join("added_tokens.json");
    let Ids(others) = super::files::read_large_json(&path)?.unwrap_or_default();
    for (token, id) in others {
        vocabulary.set(id as usize, token, (-1_000.0, kind::USER_DEFINED));
    }
    for (id, entry) in configured(files)? {
        let (text, kind) =
            if is_phi3 { verbatim(&entry.content, entry.special) } else { added(&entry.content, entry.special) };
        vocabulary.set(id as usize, text, (-1_000.0, kind));
    }
    if is_phi3 {
        for token in files.tokenizer.map(|tokenizer| tokenizer.added_tokens.0.as_slice()).unwrap_or_default() {
            let (text, kind) = verbatim(&token.content, token.special);
            vocabulary.set(token.id as usize, text, (-1_000.0, kind));
        }
    }
    Ok(vocabulary)
}

/// `added_tokens_decoder` of tokenizer_config.json.
fn configured<'a>(files: &Files<'a>) -> Result<Vec<(u32, &'a DecoderEntry)>, ConvertError> {
    let entries = files.config.map(|config| &config.added_tokens_decoder).into_iter().flatten();
    let parsed = entries.map(|(id, entry)| {
        let id = id.parse().map_err(|_| {
            let path = files.directory.join("tokenizer_config.json");
            ConvertError::invalid(&path, "`added_tokens_decoder` has a key that is no id")
        });
        Ok((id?, entry))
    });
    parsed.collect()
}

/// As Phi-3's added tokens are written: by their flag alone.
fn verbatim(content: &str, special: bool) -> (String, i32) {
    (content.to_owned(), if special { kind::CONTROL } else { kind::USER_DEFINED })
}

/// A sentencepiece vocabulary out of tokenizer.json, which has no scores.
fn from_byte_fallback(files: &Files<'_>) -> Result<Vocabulary, ConvertError> {
    let path = files.directory.join("tokenizer.json");
    let Some(tokenizer) = files.tokenizer else {
        return Err(ConvertError::Missing { what: "the tokenizer", path });
    };
    let tokens = by_id(&path, tokenizer.model.vocab.0.iter().map(|(token, id)| (*id, token.clone())))?;
    let specials: Vec<&str> = special_texts(files.config);
    let mut vocabulary = Vocabulary { tokens: Vec::new(), scores: Vec::new(), kinds: Vec::new() };
    for (expected, (id, token)) in (0..).zip(&tokens) {
        if *id != expected {
            return Err(ConvertError::invalid(&path, format!("the vocabulary has no token with the id {expected}")));
        }
        let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        let is_control = specials.contains(&token.as_str());
        let kind = if is_byte {
            kind::BYTE
        } else if is_control {
            kind::CONTROL
        } else {
            kind::NORMAL
        };
        vocabulary.tokens.push(token.clone().into_bytes());
        vocabulary.kinds.push(kind);
    }
    let mut others: Vec<&AddedToken> =
        tokenizer.added_tokens.0.iter().filter(|token| token.id as usize >= tokens.len()).collect();
    others.sort_by_key(|token| token.id);
    for token in others {
        let is_control = specials.contains(&token.content.as_str());
        vocabulary.tokens.push(token.content.clone().into_bytes());
        vocabulary.kinds.push(if is_control { kind::CONTROL } else { kind::USER_DEFINED });
    }
    vocabulary.scores = vec![-1_000.0; vocabulary.tokens.len()];
    Ok(vocabulary)
}

/// Texts that the configuration names as special.
fn special_texts(config: Option<&TokenizerConfig>) -> Vec<&str> {
    let Some(config) = config else { return Vec::new() };
    let named =
        ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].into_iter().filter_map(|kind| config.token_text(kind));
    let additional = config.additional_special_tokens.as_array().into_iter().flatten().filter_map(text_of);
    named.chain(additional).collect()
}

/// Tokens by id; two tokens of one id are refused.
fn by_id(path: &Path, tokens: impl Iterator<Item = (u32, String)>) -> Result<BTreeMap<u32, String>, ConvertError> {
    let mut by_id = BTreeMap::new();
    for (id, token) in tokens {
        if by_id.insert(id, token).is_some() {
            return Err(ConvertError::invalid(path, format!("two tokens have the id {id}")));
        }
    }
    Ok(by_id)
}

/// A byte-level vocabulary: tokens by id, holes filled, added tokens by their flags.
fn write_bpe(
    keys: &mut Keys,
    files: &Files<'_>,
    model: &Hyperparameters,
    given_pre: Option<&str>,
) -> Result<(), ConvertError> {
    let (path, base, others) = bpe_tokens(files)?;
    if base.is_empty() {
        return Err(ConvertError::invalid(&path, "the vocabulary is empty"));
    }
    let mut tokens = by_id(&path, base.into_iter())?;
    for token in &others {
        tokens.insert(token.id, token.content.clone());
    }
    let last = tokens.keys().next_back().copied().unwrap_or(0);
    if u64::from(last) >= model.vocab_size {
        let size = model.vocab_size;
        return Err(ConvertError::invalid(
            &path,
            format!("has a token with the id {last}, but `vocab_size` is {size}"),
        ));
    }
    let mut vocabulary = Vocabulary::unused(model.vocab_size);
    for (id, token) in tokens {
        vocabulary.set(id as usize, token, (0.0, kind::NORMAL));
    }
    for token in &others {
        let (text, kind) = added(&token.content, token.special);
        vocabulary.set(token.id as usize, text, (0.0, kind));
    }
    vocabulary.check(&path)?;
    let gpt2 = TokenizerJson {
        pre_tokenizer: Part(serde_json::json!({"type": "ByteLevel", "add_prefix_space": false})),
        ..TokenizerJson::default()
    };
    let definition = match (files.tokenizer, &model.family) {
        (Some(tokenizer), _) => Some(tokenizer),
        // Without a tokenizer.json the class decides, and GPT-2's is plain.
        (None, Family::Gpt2) => Some(&gpt2),
        (None, _) => None,
    };
    let pre = match (definition, given_pre, &model.family) {
        (Some(definition), given, _) => pre_tokenizer::name(definition, model.architecture, given)?,
        (None, Some(given), _) => given.to_owned(),
        (None, None, Family::Qwen2) => "qwen2".to_owned(),
        (None, None, _) => pre_tokenizer::name(&TokenizerJson::default(), model.architecture, None)?,
    };
    keys.set("tokenizer.ggml.model", "gpt2");
    keys.set("tokenizer.ggml.pre", pre);
    keys.texts("tokenizer.ggml.tokens", vocabulary.tokens);
    keys.set("tokenizer.ggml.token_type", vocabulary.kinds);
    special::write(keys, files, model, (true, None))
}

type BpeTokens = (PathBuf, Vec<(u32, String)>, Vec<AddedToken>);

/// The tokens of tokenizer.json, or of vocab.json with what the configuration adds.
fn bpe_tokens(files: &Files<'_>) -> Result<BpeTokens, ConvertError> {
    let path = files.directory.join("tokenizer.json");
    if let Some(tokenizer) = files.tokenizer {
        let kind = tokenizer.model.kind.as_deref().unwrap_or("BPE");
        if kind != "BPE" {
            let kind: String = kind.chars().take(32).collect();
            return Err(ConvertError::unsupported(format!("tokenizers of the kind `{kind}` cannot be converted")));
        }
        let base = tokenizer.model.vocab.0.iter().map(|(token, id)| (*id, token.clone())).collect();
        return Ok((path, base, tokenizer.added_tokens.0.clone()));
    }
    let path = files.directory.join("vocab.json");
    let Some(Ids(vocabulary)) = super::files::read_large_json(&path)? else {
        let path = files.directory.join("tokenizer.json");
        return Err(ConvertError::Missing { what: "the tokenizer", path });
    };
    let mut others: Vec<AddedToken> = Vec::new();
    let mut add = |content: &str, id: u32, special: bool| {
        others.push(AddedToken { id, content: content.to_owned(), special, ..AddedToken::default() });
    };
    let added_path = files.directory.join("added_tokens.json");
    let Ids(added) = super::files::read_large_json(&added_path)?.unwrap_or_default();
    for (token, id) in added {
        add(&token, id, false);
    }
    for (id, entry) in configured(files)? {
        add(&entry.content, id, entry.special);
    }
    // The class's own special token, and those that the configuration names.
    for text in special_texts(files.config).into_iter().chain(["<|endoftext|>"]) {
        if let Some(id) = vocabulary.get(text) {
            add(text, *id, true);
        }
    }
    let base = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
    Ok((path, base, others))
}
