//! Text to token ids and back, from the `tokenizer.ggml.*` metadata of a GGUF file.

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use gguf::{Metadata, MetadataError};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::{byte_level, pre_tokenizer};

/// Index into the vocabulary.
pub type TokenId = u32;

/// Why a tokenizer cannot be built, or a text not encoded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A key is missing or has another type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The kind of vocabulary is not supported.
    #[error("tokenizer model `{name}` is not supported (supported: gpt2)")]
    UnknownModel {
        /// `tokenizer.ggml.model`.
        name: String,
    },
    /// The pre-tokenizer is not supported.
    #[error("pre-tokenizer `{name}` is not supported (supported: {})", pre_tokenizer::names())]
    UnknownPreTokenizer {
        /// `tokenizer.ggml.pre`.
        name: String,
    },
    /// The vocabulary contradicts itself.
    #[error("tokenizer is invalid: {reason}")]
    Invalid {
        /// What is wrong, with the keys concerned.
        reason: String,
    },
    /// The library refused a text.
    #[error("failed to encode the text: {reason}")]
    Encode {
        /// The library's words.
        reason: String,
    },
}

fn invalid(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Invalid { reason: reason.into() }
}

/// Most tokens of a vocabulary: twice as many as the largest published one has (2^18).
pub const MAX_TOKENS: usize = 1 << 19;
/// Most merges: four times as many as the largest published list has (some 2^18).
pub const MAX_MERGES: usize = 1 << 20;
/// Longest token, in bytes. The longest published ones are runs of 128 spaces, which take 256.
pub const MAX_TOKEN_BYTES: usize = 1 << 12;
/// Most tokens that are matched as a whole; the longest published list has some 6,000 unused entries.
pub const MAX_ADDED_TOKENS: usize = 1 << 16;
/// All of them, in bytes: a search automaton with a state a byte is built. The list above takes 70 kB.
pub const MAX_ADDED_BYTES: usize = 1 << 20;

/// A text of a file as far as an error shows it.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Runs code of the tokenizer library, which has panicked on damaged vocabularies before: a file must not end a process.
fn contained<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(invalid(error.to_string())),
        Err(_) => Err(invalid("the tokenizer library gave up on it")),
    }
}

/// `tokenizer.ggml.token_type` of ordinary text.
const TYPE_NORMAL: i32 = 1;
/// `tokenizer.ggml.token_type` of a token that steers the model and never is text.
const TYPE_CONTROL: i32 = 3;
/// `tokenizer.ggml.token_type` of a token that is matched as a whole but is text.
const TYPE_USER_DEFINED: i32 = 4;

/// Texts of tokens that end a generation in models whose metadata names only one of theirs.
const END_OF_GENERATION_TEXTS: &[&str] =
    &["<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "</s>"];

/// Metadata keys that name tokens which end a generation.
const END_OF_GENERATION_KEYS: &[&str] =
    &["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Encoder and vocabulary of one model.
#[derive(Debug)]
pub struct Tokenizer {
    encoder: tokenizers::Tokenizer,
    /// What each token contributes to the output, in bytes: empty for control tokens.
    bytes: Vec<Box<[u8]>>,
    /// The vocabulary entries of special tokens that templates refer to.
    bos: Option<(TokenId, String)>,
    eos: Option<(TokenId, String)>,
    add_bos: bool,
    end_of_generation: BTreeSet<TokenId>,
    name: String,
}

impl Tokenizer {
    /// Builds the tokenizer that `metadata` describes.
    ///
    /// # Errors
    /// An unsupported model or pre-tokenizer (named), or a vocabulary that contradicts itself.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let model = metadata.str("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(TokenizerError::UnknownModel { name: shown(model) });
        }
        // Files older than the key were made with GPT-2's rule.
        let pre = metadata.opt_str("tokenizer.ggml.pre")?.unwrap_or("gpt-2");
        let Some(rule) = pre_tokenizer::find(pre) else {
            return Err(TokenizerError::UnknownPreTokenizer { name: shown(pre) });
        };
        let (vocabulary, ids) = Vocabulary::read(metadata)?;
        let merges = merges(metadata, &ids)?;
        let bpe = contained(|| BPE::builder().vocab_and_merges(ids, merges).build())?;
        let mut encoder = tokenizers::Tokenizer::new(bpe);
        encoder.with_pre_tokenizer(Some(rule));
        vocabulary.register_added_tokens(&mut encoder)?;
        let special = |key: &str| vocabulary.token_named_by(metadata, key);
        Ok(Self {
            encoder,
            bos: special("tokenizer.ggml.bos_token_id")?,
            eos: special("tokenizer.ggml.eos_token_id")?,
            add_bos: metadata.opt_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
            end_of_generation: vocabulary.end_of_generation(metadata)?,
            bytes: vocabulary.bytes()?,
            name: format!("{model}/{pre}"),
        })
    }

    /// Kind and pre-tokenizer: `gpt2/smollm`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// Ids of `text`. Control tokens written out in it (`<|im_start|>`) become their ids; the beginning-of-sequence
    /// token is put in front if the model wants one and the text does not begin with it.
    ///
    /// # Errors
    /// The library refused the text.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let encoding = self
            .encoder
            .encode_fast(text, false)
            .map_err(|error| TokenizerError::Encode { reason: error.to_string() })?;
        let ids = encoding.get_ids();
        match &self.bos {
            Some((bos, _)) if self.add_bos && ids.first() != Some(bos) => {
                Ok(std::iter::once(*bos).chain(ids.iter().copied()).collect())
            }
            _ => Ok(ids.to_vec()),
        }
    }

    /// What `token` contributes to the output; nothing for control tokens and ids outside the vocabulary.
    #[must_use]
    pub fn bytes_of(&self, token: TokenId) -> &[u8] {
        usize::try_from(token).ok().and_then(|index| self.bytes.get(index)).map_or(&[], |bytes| bytes)
    }

    /// The text of `tokens` in one go; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn decode(&self, tokens: &[TokenId]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.bytes_of(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether `token` ends a generation. It is a set: chat models have one end for a turn and one for a text.
    #[must_use]
    pub fn is_end_of_generation(&self, token: TokenId) -> bool {
        self.end_of_generation.contains(&token)
    }

    /// The ids that end a generation, ascending.
    pub fn end_of_generation(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.end_of_generation.iter().copied()
    }

    /// Text of the beginning-of-sequence token, for templates.
    #[must_use]
    pub fn bos_text(&self) -> &str {
        self.bos.as_ref().map_or("", |(_, text)| text)
    }

    /// Text of the end-of-sequence token, for templates.
    #[must_use]
    pub fn eos_text(&self) -> &str {
        self.eos.as_ref().map_or("", |(_, text)| text)
    }
}

/// Tokens and types as read, before anything is built from them.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
}

impl Vocabulary {
    /// The vocabulary, and its ids by token.
    fn read(metadata: &Metadata) -> Result<(Self, Vocab), TokenizerError> {
        let tokens = strings(metadata, "tokenizer.ggml.tokens", (MAX_TOKENS, MAX_TOKEN_BYTES))?;
        if tokens.is_empty() {
            return Err(invalid("`tokenizer.ggml.tokens` is empty"));
        }
        let types = metadata.opt_i32_array("tokenizer.ggml.token_type")?;
        let types = types.map_or_else(|| vec![TYPE_NORMAL; tokens.len()], std::borrow::Cow::into_owned);
        if types.len() != tokens.len() {
            let (types, tokens) = (types.len(), tokens.len());
            return Err(invalid(format!(
                "`tokenizer.ggml.token_type` has {types} entries, `tokenizer.ggml.tokens` has {tokens}"
            )));
        }
        let mut ids = Vocab::default();
        for (id, token) in (0..).zip(&tokens) {
            if ids.insert(token.clone(), id).is_some() {
                let token = shown(token);
                return Err(invalid(format!("`tokenizer.ggml.tokens` has {token:?} twice, at {id} and before")));
            }
        }
        let vocabulary = Self { tokens, types };
        vocabulary.check_added_tokens()?;
        Ok((vocabulary, ids))
    }

    /// Tokens of one type, with their ids.
    fn of_type(&self, wanted: i32) -> impl Iterator<Item = (usize, &String)> {
        let entries = self.tokens.iter().zip(&self.types).enumerate();
        entries.filter(move |(_, (_, kind))| **kind == wanted).map(|(id, (token, _))| (id, token))
    }

    /// Whether the tokens that are matched as a whole can be: they have a text, and are few.
    fn check_added_tokens(&self) -> Result<(), TokenizerError> {
        let (mut count, mut bytes) = (0, 0);
        for (id, token) in self.of_type(TYPE_CONTROL).chain(self.of_type(TYPE_USER_DEFINED)) {
            if token.is_empty() {
                return Err(invalid(format!(
                    "`tokenizer.ggml.tokens` entry {id} is matched as a whole, but has no text"
                )));
            }
            count += 1;
            bytes += token.len();
        }
        if count > MAX_ADDED_TOKENS || bytes > MAX_ADDED_BYTES {
            return Err(invalid(format!(
                "{count} tokens of {bytes} bytes are matched as a whole, the limits are {MAX_ADDED_TOKENS} and {MAX_ADDED_BYTES}"
            )));
        }
        Ok(())
    }

    /// Tokens that are matched as a whole, before anything is cut. Where one begins another, the longer one is found.
    fn register_added_tokens(&self, encoder: &mut tokenizers::Tokenizer) -> Result<(), TokenizerError> {
        let added = |wanted: i32, special: bool| {
            let tokens = self.of_type(wanted).map(|(_, token)| token.clone());
            tokens.map(|token| AddedToken::from(token, special).normalized(false)).collect::<Vec<_>>()
        };
        contained(|| encoder.add_special_tokens(added(TYPE_CONTROL, true)))?;
        contained(|| encoder.add_tokens(added(TYPE_USER_DEFINED, false)))?;
        if encoder.get_vocab_size(true) != self.tokens.len() {
            return Err(invalid("an added token is not part of the vocabulary"));
        }
        Ok(())
    }

    fn bytes(&self) -> Result<Vec<Box<[u8]>>, TokenizerError> {
        let table = byte_level::table();
        let of_entry = |(index, (token, kind)): (usize, (&String, &i32))| match *kind {
            TYPE_CONTROL => Ok(Box::default()),
            TYPE_USER_DEFINED => Ok(token.as_bytes().into()),
            _ => byte_level::bytes_of(token, &table).map(Vec::into_boxed_slice).ok_or_else(|| {
                let token = shown(token);
                invalid(format!("`tokenizer.ggml.tokens` entry {index}, {token:?}, is outside the byte alphabet"))
            }),
        };
        self.tokens.iter().zip(&self.types).enumerate().map(of_entry).collect()
    }

    fn token_named_by(&self, metadata: &Metadata, key: &str) -> Result<Option<(TokenId, String)>, TokenizerError> {
        let Some(id) = metadata.opt_u64(key)? else { return Ok(None) };
        let text = usize::try_from(id).ok().and_then(|index| self.tokens.get(index));
        match (TokenId::try_from(id), text) {
            (Ok(id), Some(text)) => Ok(Some((id, text.clone()))),
            _ => {
                let tokens = self.tokens.len();
                Err(invalid(format!("`{key}` is {id}, but `tokenizer.ggml.tokens` has {tokens} entries")))
            }
        }
    }

    fn end_of_generation(&self, metadata: &Metadata) -> Result<BTreeSet<TokenId>, TokenizerError> {
        let mut ends = BTreeSet::new();
        for key in END_OF_GENERATION_KEYS {
            ends.extend(self.token_named_by(metadata, key)?.map(|(id, _)| id));
        }
        let known: HashSet<&str> = END_OF_GENERATION_TEXTS.iter().copied().collect();
        let entries = (0..).zip(self.tokens.iter().zip(&self.types));
        // By text only among control tokens: a `</s>` that is ordinary text of a vocabulary must not end anything.
        ends.extend(
            entries
                .filter(|(_, (token, kind))| **kind == TYPE_CONTROL && known.contains(token.as_str()))
                .map(|(id, _)| id),
        );
        Ok(ends)
    }
}

/// The merges, each checked: both halves and the whole must be tokens. The library slices a buffer of the longest token by
/// these lengths and panics on a merge that is longer.
fn merges(metadata: &Metadata, ids: &Vocab) -> Result<Vec<(String, String)>, TokenizerError> {
    let merges = strings(metadata, "tokenizer.ggml.merges", (MAX_MERGES, 2 * MAX_TOKEN_BYTES + 1))?;
    let parse = |merge: &str| {
        let (left, right) = merge.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty())?;
        let known = |text: &str| ids.contains_key(text);
        (known(left) && known(right) && known(&format!("{left}{right}"))).then(|| (left.to_owned(), right.to_owned()))
    };
    let checked = merges.iter().enumerate().map(|(index, merge)| {
        parse(merge).ok_or_else(|| {
            let merge = shown(merge);
            invalid(format!("`tokenizer.ggml.merges` entry {index}, {merge:?}, is not two tokens that make a third"))
        })
    });
    checked.collect()
}

/// A list of texts, at most so many and each of at most so many bytes.
fn strings(
    metadata: &Metadata,
    key: &str,
    (most, longest_bytes): (usize, usize),
) -> Result<Vec<String>, TokenizerError> {
    let entries = metadata.string_array(key)?;
    if entries.len() > most {
        return Err(invalid(format!("`{key}` has {} entries, the limit is {most}", entries.len())));
    }
    let owned = entries.iter().enumerate().map(|(index, bytes)| {
        if bytes.len() > longest_bytes {
            let found = bytes.len();
            return Err(invalid(format!("`{key}` entry {index} has {found} bytes, the limit is {longest_bytes}")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid(format!("`{key}` entry {index} is not UTF-8")))?;
        Ok(text.to_owned())
    });
    owned.collect()
}
