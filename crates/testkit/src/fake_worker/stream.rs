//! One generation of the fake worker: the frames it sends, rightly or, on command, wrongly.

use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::event::{DONE, End, Event, EventId, Failure, Started, StopReason, Token};
use protocol::inference::{InferenceAnswer, InferenceRequest};
use protocol::sse;
use tokio::sync::{mpsc, watch};

use super::{Misbehaviour, Script, token_text};

/// One generation about to run.
pub struct Generation {
    /// What it does wrong.
    pub script: Script,
    /// What was asked for.
    pub request: InferenceRequest,
    /// Id of the pretended model.
    pub model: String,
    /// Becomes true when the job is cancelled.
    pub cancelled: watch::Receiver<bool>,
}

/// The client is gone.
struct Gone;

struct Frames {
    sender: mpsc::Sender<String>,
    attempt: u32,
    sequence: u64,
    script: Script,
}

impl Frames {
    async fn event(&mut self, event: &Event) -> Result<(), Gone> {
        let id = EventId { attempt: self.attempt, sequence: self.sequence };
        let gap = self.script.commits(Misbehaviour::GapInIds) && self.sequence == 1;
        self.sequence += if gap { 2 } else { 1 };
        let data = serde_json::to_string(event).unwrap_or_default();
        let mut frame = sse::encode(Some(&id), &data);
        if self.script.commits(Misbehaviour::EventField) {
            frame = format!("event: message\n{frame}");
        }
        self.raw(frame).await
    }

    async fn raw(&self, frame: String) -> Result<(), Gone> {
        self.sender.send(frame).await.map_err(|_| Gone)
    }
}

impl Generation {
    /// Runs as a stream until it is over or the client is gone.
    pub async fn stream(mut self, sender: mpsc::Sender<String>) {
        let sequence = u64::from(self.script.commits(Misbehaviour::IdsFromOne));
        let script = self.script.clone();
        let mut frames = Frames { sender: sender.clone(), attempt: self.request.attempt, sequence, script };
        if self.script.commits(Misbehaviour::LeakSlot) {
            // The slot is held by whoever awaits this; it goes on although nobody listens.
            if self.frames(&mut frames).await.is_err() {
                std::future::pending::<()>().await;
            }
            return;
        }
        tokio::select! {
            _ = self.frames(&mut frames) => {}
            () = sender.closed() => {}
        }
    }

    /// Runs to its end and gives one answer.
    pub async fn unary(mut self) -> Result<InferenceAnswer, ErrorCode> {
        let started = self.started();
        let (mut text, planned) = (String::new(), self.planned());
        for index in 0..planned {
            if self.pause_or_cancel().await {
                return Err(ErrorCode::Cancelled);
            }
            text.push_str(&token_text(self.seed(), index));
        }
        if self.script.commits(Misbehaviour::UnaryDiffers) {
            text.push('!');
        }
        Ok(InferenceAnswer { text, started, end: self.end(planned, self.natural_end()) })
    }

    async fn frames(&mut self, frames: &mut Frames) -> Result<(), Gone> {
        if !self.script.commits(Misbehaviour::OmitStarted) {
            frames.event(&Event::Started(self.started())).await?;
        }
        if self.script.commits(Misbehaviour::InvalidJson) {
            frames.raw(sse::encode(None, "{\"type\":\"tok")).await?;
        }
        let (sent, cancelled) = self.tokens(frames).await?;
        if self.script.commits(Misbehaviour::OmitTerminal) {
            return Ok(());
        }
        let reason = if cancelled { StopReason::Cancelled } else { self.natural_end() };
        let terminal = if cancelled && self.script.commits(Misbehaviour::CancelledAsError) {
            let (code, message) = (ErrorCode::Cancelled, String::from("cancelled"));
            Event::Error(Failure { code, message, retriable: false, tokens_out: sent })
        } else {
            Event::End(self.end(sent, reason))
        };
        frames.event(&terminal).await?;
        if self.script.commits(Misbehaviour::TwoTerminals) {
            frames.event(&terminal).await?;
        }
        if self.script.commits(Misbehaviour::TokenAfterEnd) {
            frames.event(&Event::Token(Token { t: String::from(" late"), i: sent })).await?;
        }
        if !self.script.commits(Misbehaviour::OmitDone) {
            frames.raw(sse::encode(None, DONE)).await?;
        }
        if self.script.commits(Misbehaviour::FrameAfterDone) {
            frames.raw(sse::encode(None, "{}")).await?;
        }
        Ok(())
    }

    /// Sends the tokens; how many, and whether the job was cancelled meanwhile.
    async fn tokens(&mut self, frames: &mut Frames) -> Result<(u64, bool), Gone> {
        let mut index = 0;
        for sent in 0..self.planned() {
            if self.pause_or_cancel().await {
                return Ok((sent, true));
            }
            if self.script.die_after_tokens == Some(sent) {
                // What was sent is on its way; a real crash would let it arrive as well.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.script.die();
            }
            if self.script.stall_after_tokens == Some(sent) {
                std::future::pending::<()>().await;
            }
            let split = self.script.commits(Misbehaviour::SplitCharacter) && sent < 2;
            let t = if split { String::from("\u{fffd}") } else { token_text(self.seed(), sent) };
            frames.event(&Event::Token(Token { t, i: index })).await?;
            let gap = self.script.commits(Misbehaviour::GapInIndices) && sent == 1;
            index += if gap { 2 } else { 1 };
        }
        Ok((self.planned(), false))
    }

    /// Waits for the time of one token; `true` if the job is cancelled.
    async fn pause_or_cancel(&mut self) -> bool {
        let pause = Duration::from_secs_f64(1.0 / self.script.tokens_per_second.max(0.001));
        tokio::select! {
            _ = self.cancelled.wait_for(|cancelled| *cancelled) => true,
            () = tokio::time::sleep(pause) => false,
        }
    }

    /// Temperature 0 does not draw, so the seed does not matter.
    fn seed(&self) -> u64 {
        if self.request.temperature == 0.0 { 0 } else { self.request.seed.unwrap_or(42) }
    }

    fn planned(&self) -> u64 {
        let extra = if self.script.commits(Misbehaviour::ExceedMaxTokens) { 3 } else { 0 };
        let asked = u64::from(self.request.max_tokens) + extra;
        self.script.eos_after.map_or(asked, |eos| eos.min(asked))
    }

    fn natural_end(&self) -> StopReason {
        let eos = self.script.eos_after.is_some_and(|eos| eos < u64::from(self.request.max_tokens));
        if eos { StopReason::Eos } else { StopReason::MaxTokens }
    }

    fn prompt_tokens(&self) -> u64 {
        let prompt = self.request.prompt.as_deref().unwrap_or_default().split_whitespace().count();
        let messages = self.request.messages.iter().flatten();
        let words = messages.fold(prompt, |words, message| words + message.content.split_whitespace().count() + 3);
        words.max(1) as u64
    }

    fn started(&self) -> Started {
        Started {
            job_id: self.request.job_id.clone(),
            model: self.model.clone(),
            model_digest: None,
            seed: self.seed(),
            started_at: 0,
            prompt_tokens: self.prompt_tokens(),
            cached_tokens: 0,
        }
    }

    fn end(&self, tokens_out: u64, stop_reason: StopReason) -> End {
        let wrong_prompt = u64::from(self.script.commits(Misbehaviour::WrongPromptTokens));
        let wrong_out = self.script.commits(Misbehaviour::WrongTokensOut);
        End {
            tokens_out: if wrong_out { tokens_out.saturating_sub(1) } else { tokens_out },
            prompt_tokens: self.prompt_tokens() + wrong_prompt,
            decode_time_ms: 1,
            prefill_time_ms: 1,
            stop_reason,
            stop_sequence: None,
        }
    }
}
