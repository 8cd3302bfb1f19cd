//! What `infer` prints of a generation: text as it comes, or events, and a summary.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;
use protocol::event::{End, Event};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::output::{Output, neutralise};

/// Where the generated text goes.
pub struct Printer {
    output: Output,
    text: String,
    is_terminal: bool,
    started_at: Instant,
}

impl Printer {
    /// To the process's standard output.
    pub fn new(output: Output) -> Self {
        Self { output, text: String::new(), is_terminal: std::io::stdout().is_terminal(), started_at: Instant::now() }
    }

    /// The next event but the last.
    pub fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if let Event::Token(token) = event {
            self.text.push_str(&token.t);
            if !self.output.json {
                // What a model says must not drive the reader's terminal.
                return self.output.raw(&if self.is_terminal { neutralise(&token.t) } else { token.t.clone() });
            }
        }
        if let (Event::Narration(narration), false) = (event, self.output.json) {
            self.output.detail(neutralise(&narration.human));
        }
        self.output.event(&named(event)?)
    }

    /// So that an error does not begin in the middle of a line.
    pub fn break_off(&self) {
        if self.is_terminal && !self.output.json && !self.text.is_empty() && !self.text.ends_with('\n') {
            let _nobody_reads = self.output.raw("\n");
        }
    }

    /// The last event: the text is complete.
    pub fn done(&self, end: &End) -> Result<(), Failure> {
        self.break_off();
        let seconds = Duration::from_millis(end.decode_time_ms).as_secs_f64();
        let rate = if seconds > 0.0 { rate(end.tokens_out, seconds) } else { 0.0 };
        let mut done = named(&Event::End(end.clone()))?;
        let reason = done.fields["stop_reason"].as_str().unwrap_or_default().to_owned();
        done.event = String::from("done");
        done.fields.insert(String::from("text"), self.text.clone().into());
        done.fields.insert(String::from("tokens_per_sec"), rate.into());
        self.output.event(&done)?;
        // Where both streams end up in one log, the summary does not begin in the middle of a line.
        let apart = if self.is_terminal || self.output.json || self.text.ends_with('\n') { "" } else { "\n" };
        self.output.note(format_args!(
            "{apart}{} tokens in {:.2} s ({rate:.1} tokens/s), prompt of {} tokens in {:.2} s, ended by {reason}",
            end.tokens_out,
            seconds,
            end.prompt_tokens,
            Duration::from_millis(end.prefill_time_ms).as_secs_f64(),
        ));
        self.output
            .detail(format_args!("{:.2} s from the request to its end", self.started_at.elapsed().as_secs_f64()));
        Ok(())
    }
}

fn rate(tokens: u64, seconds: f64) -> f64 {
    // Counts of tokens are far below the 53 bits that an f64 holds exactly.
    u32::try_from(tokens).map_or(f64::INFINITY, f64::from) / seconds
}

/// The event as this command prints it: its name under `event`, as in every verb, not under `type`, as on the wire.
fn named(event: &Event) -> Result<Named, Failure> {
    match serde_json::to_value(event).map_err(anyhow::Error::from)? {
        Value::Object(mut fields) => {
            let name = fields.remove("type").unwrap_or_default();
            Ok(Named { event: name.as_str().unwrap_or_default().to_owned(), fields })
        }
        _ => Err(Failure::coded(ErrorCode::Internal, "an event is no object")),
    }
}

#[derive(Serialize)]
struct Named {
    event: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}
