//! Which models workers of this version can run, by what the catalog says: known before anything is fetched.
//!
//! The file's own metadata has the last word, when it is loaded.

use architectures::ARCHITECTURES;
use protocol::catalog::CatalogEntry;

/// Tokenizers that crate `text` reads, in the catalog's words. It is no dependency of this crate, because the command links
/// this one and must not link the tokenizer library; a test of crate `convert`, which has both, compares.
pub const TOKENIZERS: [&str; 2] = ["gpt2/gpt-2", "gpt2/smollm"];

/// Why a model cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrunnable {
    /// No program is written for its architecture.
    #[error("architecture `{name}` cannot be run yet (what can: {known})")]
    Architecture {
        /// The architecture.
        name: String,
        /// Those that can.
        known: String,
    },
    /// Its text is cut by rules that are not written yet.
    #[error("tokenizer `{name}` cannot be read yet (what can: {known})")]
    Tokenizer {
        /// Tokenizer and pre-tokenizer.
        name: String,
        /// Those that can.
        known: String,
    },
}

/// Whether workers can run it.
///
/// # Errors
/// They cannot; the error says what is missing.
pub fn check(entry: &CatalogEntry) -> Result<(), Unrunnable> {
    let runnable = ARCHITECTURES.iter().filter(|architecture| architecture.program.is_some());
    let known: Vec<&str> = runnable.map(|architecture| architecture.name).collect();
    if !known.contains(&entry.architecture.as_str()) {
        return Err(Unrunnable::Architecture { name: entry.architecture.clone(), known: known.join(", ") });
    }
    if !TOKENIZERS.contains(&entry.tokenizer.as_str()) {
        return Err(Unrunnable::Tokenizer { name: entry.tokenizer.clone(), known: TOKENIZERS.join(", ") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::catalog::Catalog;

    #[test]
    fn of_the_catalog_the_default_model_runs_and_others_say_what_they_lack() {
        let catalog = Catalog::built_in().expect("the catalog");
        let reason = |id: &str| check(catalog.find(id).expect("an entry")).err().map(|error| error.to_string());
        assert_eq!(reason("smollm2"), None);
        assert!(reason("qwen").is_some_and(|text| text.contains("`qwen2`") && text.contains("llama")));
        assert!(reason("tinyllama").is_some_and(|text| text.contains("tokenizer `llama`") && text.contains("smollm")));
    }
}
