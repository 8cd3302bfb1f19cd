//! tokenizer.json as the tokenizer library has it, to compare a finished file with.
//!
//! The library reads a file of its own, but trusts it: six of its parts panic on values that they do not check when a file is
//! read, and an expression in one can take for ever. So we read it, with limits, and give the library only what is known to be
//! sound. What does not touch the ids of a text (post-processor, decoder, truncation, padding) is left out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::tokenizer_json::{AddedToken, Merge, Model, TokenizerJson};
use super::{files, pre_tokenizer};
use crate::error::ConvertError;

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// It encodes.
    Tokenizer(Box<Tokenizer>),
    /// It is of a kind that is not compared; why.
    Incomparable(String),
}

/// Reads `path`.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConvertError> {
    let json = files::read_large_json::<TokenizerJson>(path).map_err(ConvertError::of_tokenizer)?;
    let json = json.ok_or_else(|| ConvertError::Missing { what: "the tokenizer", path: path.to_owned() })?;
    let normalizer = &json.normalizer.0;
    if !is_plain(normalizer) {
        let kind: String = normalizer["type"].as_str().unwrap_or("?").chars().take(64).collect();
        return Err(ConvertError::tokenizer(
            path,
            format!("its normalizer `{kind}` is not one that a byte-level vocabulary has"),
        ));
    }
    if !pre_tokenizer::is_known(&json.pre_tokenizer.0) {
        return Ok(Loaded::Incomparable("the pre-tokenizer of tokenizer.json is not known".to_owned()));
    }
    // What is left is sound as far as anybody knows, and the library has been known to differ.
    let built = catch_unwind(AssertUnwindSafe(|| build(json)));
    match built {
        Ok(Ok(tokenizer)) => Ok(Loaded::Tokenizer(Box::new(tokenizer))),
        Ok(Err(reason)) => Err(ConvertError::tokenizer(path, reason)),
        Err(_) => Err(ConvertError::tokenizer(path, "the tokenizer library gave up on it")),
    }
}

/// A normalizer that holds neither a table nor an expression.
fn is_plain(definition: &Value) -> bool {
    let known = ["NFC", "NFD", "NFKC", "NFKD"];
    match definition["type"].as_str() {
        None => definition.is_null(),
        Some("Sequence") => definition["normalizers"].as_array().is_some_and(|parts| parts.iter().all(is_plain)),
        Some(kind) => known.contains(&kind),
    }
}

fn build(json: TokenizerJson) -> Result<Tokenizer, String> {
    let said = |error: tokenizers::Error| error.to_string();
    let mut tokenizer = Tokenizer::new(model(json.model)?);
    let normalizer = json.normalizer.0;
    if !normalizer.is_null() {
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer).map_err(|error| error.to_string())?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(said)?;
    }
    let rule: PreTokenizerWrapper = serde_json::from_value(json.pre_tokenizer.0).map_err(|error| error.to_string())?;
    tokenizer.with_pre_tokenizer(Some(rule));
    tokenizer.add_tokens(json.added_tokens.0.into_iter().map(added)).map_err(said)?;
    Ok(tokenizer)
}

/// Every merge is checked to be two tokens that make a third: the library slices a buffer by these lengths.
fn model(model: Model) -> Result<BPE, String> {
    for (key, part) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if part.as_ref().is_some_and(|part| !part.is_empty()) {
            return Err(format!("`model.{key}` is not empty, which no byte-level vocabulary has"));
        }
    }
    let vocabulary = &model.vocab.0;
    let mut merges = Vec::with_capacity(model.merges.0.len());
    for (index, merge) in model.merges.0.into_iter().enumerate() {
        let pair = match merge {
            Merge::Pair([left, right]) => Some((left, right)),
            Merge::Joined(text) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        };
        let known = |text: &str| vocabulary.contains_key(text);
        let pair = pair.filter(|(left, right)| known(left) && known(right) && known(&format!("{left}{right}")));
        merges.push(pair.ok_or_else(|| format!("`model.merges` entry {index} is not two tokens that make a third"))?);
    }
    let vocabulary: tokenizers::models::bpe::Vocab = model.vocab.0.into_iter().collect();
    let mut builder = BPE::builder().vocab_and_merges(vocabulary, merges);
    builder = builder.fuse_unk(model.fuse_unk).byte_fallback(model.byte_fallback).ignore_merges(model.ignore_merges);
    if let Some(unknown) = model.unk_token {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(|error| error.to_string())
}

fn added(token: AddedToken) -> tokenizers::AddedToken {
    let AddedToken { content, special, normalized, single_word, lstrip, rstrip, .. } = token;
    let added = tokenizers::AddedToken::from(content, special).single_word(single_word).lstrip(lstrip).rstrip(rstrip);
    added.normalized(normalized.unwrap_or(!special))
}
