//! How text is cut before merging, by the `tokenizer.ggml.pre` of a file.
//!
//! One row a name. A name that is not here is an error that says it: a wrong cut gives tokens the model never saw, and
//! an answer that is only almost right.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// Makes a rule.
type Build = fn() -> PreTokenizerWrapper;

/// Every known name with its rule.
const PRE_TOKENIZERS: &[(&str, Build)] = &[("gpt-2", gpt2), ("smollm", smollm)];

/// The rule for `name`.
pub(crate) fn find(name: &str) -> Option<PreTokenizerWrapper> {
    PRE_TOKENIZERS.iter().find(|(known, _)| *known == name).map(|(_, rule)| rule())
}

/// Every known name, as a file says it.
pub fn pre_tokenizers() -> impl Iterator<Item = &'static str> {
    PRE_TOKENIZERS.iter().map(|(name, _)| *name)
}

/// All known names, for error texts.
pub(crate) fn names() -> String {
    pre_tokenizers().collect::<Vec<_>>().join(", ")
}

/// GPT-2's regular expression; no space is put in front.
fn gpt2() -> PreTokenizerWrapper {
    ByteLevel::new(false, true, true).into()
}

/// Every digit alone, then GPT-2's rule.
fn smollm() -> PreTokenizerWrapper {
    Sequence::new(vec![Digits::new(true).into(), gpt2()]).into()
}
