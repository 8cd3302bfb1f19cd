//! Text on its way into and out of a model: tokenizers, incremental detokenizer, stop strings, chat templates.
//!
//! Built from the metadata of a GGUF file. The `tokenizers` library does the merging; which pre-tokenizer a file means,
//! which tokens end a generation, how bytes become characters and when text may leave are decided here. No I/O, no
//! model, no clock.

mod byte_level;
mod detokenizer;
mod pre_tokenizer;
mod stop;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use pre_tokenizer::pre_tokenizers;
pub use stop::{StopMatch, StopMatcher};
pub use template::{ChatMessage, ChatTemplate, TemplateError};
pub use tokenizer::{MAX_ADDED_BYTES, MAX_ADDED_TOKENS, MAX_MERGES, MAX_TOKEN_BYTES, MAX_TOKENS};
pub use tokenizer::{TokenId, Tokenizer, TokenizerError};
