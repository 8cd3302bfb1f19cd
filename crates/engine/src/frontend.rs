//! From a request's text to token ids: shared by the threads that serve requests, apart from the engine's thread.

use text::{ChatMessage, ChatTemplate, TemplateError, TokenId, Tokenizer, TokenizerError};

/// Why a prompt cannot be made into tokens.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The chat template refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Nothing to continue from.
    #[error("the prompt has no tokens")]
    Empty,
    /// Prompt and answer exceed the context.
    #[error(
        "the prompt has {prompt_tokens} tokens and {max_tokens} are asked for, but the context holds {context_length}"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// Tokens asked for.
        max_tokens: u64,
        /// Positions of a sequence.
        context_length: u64,
    },
}

/// Tokenizer and chat template of a loaded model.
#[derive(Debug)]
pub struct Frontend {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) context_length: u64,
}

impl Frontend {
    /// Ids of raw text.
    ///
    /// # Errors
    /// The library refused the text, or it is empty.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, PromptError> {
        let tokens = self.tokenizer.encode(text)?;
        if tokens.is_empty() { Err(PromptError::Empty) } else { Ok(tokens) }
    }

    /// Ids of a conversation, rendered with the model's own template.
    ///
    /// # Errors
    /// There is no template, it refused the conversation, or exceeded its budget.
    pub fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<TokenId>, PromptError> {
        let template = self.template.as_ref().ok_or(TemplateError::Missing)?;
        self.encode(&template.render(messages, self.tokenizer.bos_text(), self.tokenizer.eos_text())?)
    }

    /// Checks that a prompt and its answer fit the context, before a slot is taken.
    ///
    /// # Errors
    /// They do not; the error has the numbers.
    pub fn check_length(&self, prompt: &[TokenId], max_tokens: u32) -> Result<(), PromptError> {
        let (prompt_tokens, max_tokens) = (prompt.len() as u64, u64::from(max_tokens));
        if prompt_tokens.saturating_add(max_tokens) > self.context_length {
            let context_length = self.context_length;
            return Err(PromptError::ContextLength { prompt_tokens, max_tokens, context_length });
        }
        Ok(())
    }

    /// Text of `tokens`; control tokens are left out.
    #[must_use]
    pub fn decode(&self, tokens: &[TokenId]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Positions a sequence may use.
    #[must_use]
    pub fn context_length(&self) -> u64 {
        self.context_length
    }
}
