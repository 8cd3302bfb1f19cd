//! One generation: the request to a worker, its stream decoded and checked.
//!
//! [`Stream`] is the pure half: bytes in, events out, and an error for every stream that does not keep the contract of
//! docs/protocol.md. The other half reads a connection on a thread of its own, so that nothing delays Ctrl-C.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use protocol::error::{ErrorBody, ErrorCode, FieldErrors};
use protocol::event::Event;
use protocol::identifiers::JobId;
use protocol::inference::InferenceRequest;
use protocol::sse::Decoder;
use protocol::worker::API_KEY_VARIABLE;

use crate::failure::Failure;

/// A worker on loopback or in the house accepts within milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A cancellation that is not answered by then is done by closing the connection.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest error answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// The last `data:` of a stream.
const DONE: &str = "[DONE]";

/// What a stream brings.
#[derive(Debug)]
pub enum Message {
    /// The next event.
    Event(Event),
    /// Bytes that complete no event: keep-alives.
    Alive,
    /// The stream is complete: a terminal event and `[DONE]` came.
    Complete,
    /// It is not, and nothing more comes.
    Failed(Failure),
}

/// A worker to send requests to.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base_url: String,
}

impl Client {
    /// A client of the worker at `base_url` (`http://host:port`, no slash at the end).
    pub fn new(base_url: &str) -> Self {
        // Workers are in the house: what the environment says about proxies is meant for the world outside.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            .build();
        Self { agent: config.into(), base_url: base_url.to_owned() }
    }

    /// Sends the request; what comes back arrives at the receiver.
    pub fn submit(&self, request: &InferenceRequest) -> Result<Receiver<Message>, Failure> {
        let body = serde_json::to_vec(request).map_err(anyhow::Error::from)?;
        let (sender, receiver) = channel();
        let client = self.clone();
        std::thread::spawn(move || {
            if let Err(failure) = client.read(&body, &sender) {
                let _the_command_ends = sender.send(Message::Failed(failure));
            }
        });
        Ok(receiver)
    }

    /// Asks the worker to stop a job. It would also stop when our connection ends, but this is sooner.
    pub fn cancel(&self, job_id: &JobId) {
        let request = self.agent.delete(format!("{}/v1/inference/{job_id}", self.base_url));
        let request = authorized(request.config().timeout_global(Some(CANCEL_TIMEOUT)).build());
        let _the_connection_ends_anyway = request.call();
    }

    fn read(&self, body: &[u8], sender: &Sender<Message>) -> Result<(), Failure> {
        let request = self.agent.post(format!("{}/v1/inference", self.base_url)).content_type("application/json");
        let answer = authorized(request).send(body).map_err(|error| {
            let message = format!("the worker at `{}` cannot be reached: {error}", self.base_url);
            Failure::coded(ErrorCode::WorkerUnavailable, message).hint("`cargo xtask worker list` shows those that run")
        })?;
        let status = answer.status().as_u16();
        let mut reader = answer.into_body().into_reader();
        if status != 200 {
            let mut text = Vec::new();
            let _broken = reader.take(ANSWER_BYTES_MAX).read_to_end(&mut text);
            return Err(refusal(status, &text));
        }
        let mut stream = Stream::default();
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) if stream.is_complete => break,
                Err(error) => return Err(lost(&format!("its connection broke: {error}"))),
            };
            let events = stream.push(&buffer[..count])?;
            let alive = events.is_empty().then_some(Message::Alive);
            for message in events.into_iter().map(Message::Event).chain(alive) {
                if sender.send(message).is_err() {
                    return Ok(());
                }
            }
        }
        stream.finish()?;
        let _the_command_ends = sender.send(Message::Complete);
        Ok(())
    }
}

/// With the API key of the environment, if there is one.
fn authorized<B>(request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
    match std::env::var(API_KEY_VARIABLE) {
        Ok(key) if !key.is_empty() => request.header("authorization", format!("Bearer {key}")),
        Ok(_) | Err(_) => request,
    }
}

/// The failure in an answer that is no stream.
fn refusal(status: u16, body: &[u8]) -> Failure {
    if let Ok(ErrorBody { error }) = serde_json::from_slice(body) {
        return Failure::coded(error.code, error.message).maybe_hint(error.hint);
    }
    if let Ok(FieldErrors { errors }) = serde_json::from_slice(body) {
        let known = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        return Failure::usage("the worker refuses the request").known(known);
    }
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let message = format!("the worker answered with status {status}");
    Failure::coded(ErrorCode::WorkerUnavailable, message).known(text.lines().map(str::to_owned).collect())
}

fn lost(why: &str) -> Failure {
    let hint = "look at its log: `cargo xtask worker logs ID`";
    Failure::coded(ErrorCode::WorkerLost, format!("the worker was lost before its answer was complete: {why}"))
        .hint(hint)
}

/// A stream while it is read.
#[derive(Debug, Default)]
pub struct Stream {
    decoder: Decoder,
    is_terminated: bool,
    is_complete: bool,
}

impl Stream {
    /// Takes the next bytes; returns the events they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let frames = self.decoder.push(bytes).map_err(|error| broken(&error.to_string()))?;
        let mut events = Vec::with_capacity(frames.len());
        for frame in frames {
            if self.is_complete {
                return Err(broken("something came after `[DONE]`"));
            }
            if frame.data == DONE {
                if !self.is_terminated {
                    return Err(broken("`[DONE]` came before `end` or `error`"));
                }
                self.is_complete = true;
                continue;
            }
            let event: Event = serde_json::from_str(&frame.data).map_err(|error| broken(&error.to_string()))?;
            if self.is_terminated {
                return Err(broken("an event came after `end` or `error`"));
            }
            self.is_terminated = event.is_terminal();
            events.push(event);
        }
        Ok(events)
    }

    /// The connection has ended.
    pub fn finish(&self) -> Result<(), Failure> {
        match (self.is_complete, self.is_terminated) {
            (true, _) => Ok(()),
            (false, true) => Err(broken("it ended without `[DONE]`")),
            (false, false) => Err(lost("its stream just stopped")),
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::coded(ErrorCode::Internal, format!("the worker's stream breaks the protocol: {why}"))
}

#[cfg(test)]
mod tests {
    use protocol::error::ErrorCode;
    use protocol::event::Event;

    use super::{Stream, refusal};
    use crate::failure::Failure;

    const TOKEN: &str = "id: 1:1\ndata: {\"type\":\"token\",\"t\":\"é\",\"i\":0}\n\n";
    const END: &str = "id: 1:2\ndata: {\"type\":\"end\",\"tokens_out\":1,\"prompt_tokens\":1,\"decode_time_ms\":1,\
                       \"prefill_time_ms\":1,\"stop_reason\":\"EOS\"}\n\n";

    /// The texts of a whole stream, or the failure, whatever the slicing.
    fn check(text: &str) -> Result<String, Failure> {
        let read = |size: usize| {
            let mut stream = Stream::default();
            let mut texts = String::new();
            for slice in text.as_bytes().chunks(size) {
                for event in stream.push(slice)? {
                    if let Event::Token(token) = event {
                        texts.push_str(&token.t);
                    }
                }
            }
            stream.finish().map(|()| texts)
        };
        let whole = read(usize::MAX);
        for size in 1..9 {
            assert_eq!(read(size), whole);
        }
        whole
    }

    #[test]
    fn a_whole_stream_gives_its_text() {
        assert_eq!(check(&format!(": hi\n\n{TOKEN}{END}data: [DONE]\n\n")).expect("a good stream"), "é");
    }

    #[test]
    fn offences_are_errors() {
        let code = |text: &str| check(text).expect_err("not a good stream").code;
        assert_eq!(code(TOKEN), ErrorCode::WorkerLost);
        assert_eq!(code(""), ErrorCode::WorkerLost);
        assert_eq!(code(&format!("{TOKEN}{END}")), ErrorCode::Internal);
        assert_eq!(code(&format!("{TOKEN}data: [DONE]\n\n")), ErrorCode::Internal);
        assert_eq!(code(&format!("{END}{TOKEN}data: [DONE]\n\n")), ErrorCode::Internal);
        assert_eq!(code(&format!("{END}data: [DONE]\n\n{END}")), ErrorCode::Internal);
        assert_eq!(code("data: {\"type\":\"sausage\"}\n\n"), ErrorCode::Internal);
    }

    #[test]
    fn refusals_carry_code_exit_code_and_fields() {
        let body = br#"{"error":{"code":"CONTEXT_LENGTH","message":"too long","hint":"shorter","correlation_id":"c"}}"#;
        let failure = refusal(400, body);
        assert_eq!((failure.code, failure.exit_code), (ErrorCode::ContextLength, 1));
        let fields = br#"{"errors":[{"field":"stop[4]","constraint":"length","message":"at most 4"}]}"#;
        let failure = refusal(400, fields);
        assert_eq!((failure.exit_code, failure.known), (2, vec!["stop[4]: at most 4".to_owned()]));
        assert!(refusal(500, b"oops").message.contains("500"));
    }
}
