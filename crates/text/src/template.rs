//! Chat templates: the Jinja text a model file carries, rendered with a budget.
//!
//! A template is part of a downloaded file and is not trusted: it runs with fuel and an output cap, sees nothing but the
//! conversation and the special tokens, and cannot load anything.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};

/// Instructions a rendering may take. The templates of published models need some hundred a message.
const FUEL: u64 = 200_000;
/// Largest text a rendering may give, in bytes; above any context that runs on one machine.
const OUTPUT_LIMIT_BYTES: usize = 8 << 20;
/// Largest template that is compiled, in bytes; published ones reach about 20 kB.
const SOURCE_LIMIT_BYTES: usize = 1 << 20;

/// Why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file has no template.
    #[error("the model has no chat template")]
    Missing,
    /// The template is not one, or refused the conversation in its own words.
    #[error("chat template failed: {reason}")]
    Failed {
        /// The engine's words.
        reason: String,
    },
    /// The template needed more than its budget.
    #[error("chat template exceeded its budget of {FUEL} instructions or {OUTPUT_LIMIT_BYTES} bytes")]
    Budget,
}

/// One message, as templates see it.
#[derive(Debug, Clone)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// A compiled template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles `source`.
    ///
    /// # Errors
    /// The text is not a template, or absurdly long.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_LIMIT_BYTES {
            return Err(TemplateError::Budget);
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // As the templates' home environment is set: a block tag takes its own line with it.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        // Plain JSON, as the templates' home environment has it; the engine's own escapes for HTML.
        environment.add_filter("tojson", |value: Value, _options: Kwargs| -> Result<Value, Error> {
            let text = serde_json::to_string(&value)
                .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            Ok(Value::from_safe_string(text))
        });
        environment.add_template_owned("chat", source.to_owned()).map_err(|error| failed(&error))?;
        Ok(Self { environment })
    }

    /// The text of the conversation, ending where the model is to speak.
    ///
    /// # Errors
    /// The template refused the conversation, failed, or exceeded its budget.
    pub fn render(&self, messages: &[ChatMessage], bos: &str, eos: &str) -> Result<String, TemplateError> {
        let template = self.environment.get_template("chat").map_err(|error| failed(&error))?;
        let of_message = |message: &ChatMessage| context! { role => &message.role, content => &message.content };
        let messages: Vec<Value> = messages.iter().map(of_message).collect();
        let values = context! { messages, bos_token => bos, eos_token => eos, add_generation_prompt => true };
        let mut output = Capped(Vec::new());
        match template.render_captured_to(values, &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.0).into_owned()),
            Err(error) if error.kind() == ErrorKind::OutOfFuel || output.is_full() => Err(TemplateError::Budget),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &Error) -> TemplateError {
    TemplateError::Failed { reason: error.to_string() }
}

/// A sink that refuses to grow past [`OUTPUT_LIMIT_BYTES`].
struct Capped(Vec<u8>);

impl Capped {
    fn is_full(&self) -> bool {
        self.0.len() >= OUTPUT_LIMIT_BYTES
    }
}

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = OUTPUT_LIMIT_BYTES - self.0.len();
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ChatMessage, ChatTemplate, TemplateError};

    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% endif %}\
        {{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    fn user(content: &str) -> Vec<ChatMessage> {
        vec![ChatMessage { role: "user".into(), content: content.into() }]
    }

    #[test]
    fn chatml() {
        let text = ChatTemplate::new(CHATML).expect("a template").render(&user("Hi {{ x }}"), "", "").expect("a text");
        let expected =
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {{ x }}<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn refusals_carry_the_templates_words() {
        let template = ChatTemplate::new("{{ raise_exception('roles must alternate') }}").expect("a template");
        let error = template.render(&user("x"), "", "").expect_err("it refuses");
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn hostile_templates_run_out_of_budget() {
        let hostile = [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        ];
        for source in hostile {
            let template = ChatTemplate::new(source).expect("a template");
            template.render(&user("x"), "", "").expect_err(source);
        }
        // Deeper than any stack, in each thing that nests.
        for (open, close) in [("{{ ", " }}"), ("(", ")"), ("[", "]"), ("{% if x %}", "{% endif %}"), ("{{ -", "x }}")] {
            let deep = format!("{{{{ {}{} }}}}", open.repeat(100_000), close.repeat(100_000));
            assert!(ChatTemplate::new(&deep[..deep.len().min(super::SOURCE_LIMIT_BYTES)]).is_err(), "{open}");
        }
        let loud = "{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}";
        let error = ChatTemplate::new(loud).expect("a template").render(&user(&"x".repeat(10_000)), "", "");
        assert!(matches!(error, Err(TemplateError::Budget)), "{error:?}");
    }
}
