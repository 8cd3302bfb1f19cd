//! The kit's client: blocking, one connection a request, no proxy, no redirect.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::sse::Decoder;
use protocol::worker::Health;
use serde_json::{Value, json};

use super::stream::Transcript;
use super::{KitError, Options};

/// Talks to one worker.
pub struct Client {
    base_url: String,
    agent: ureq::Agent,
    authorization: String,
    patience: Duration,
    jobs: AtomicU64,
}

/// An answer that is not a stream.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type, empty if there is none.
    pub content_type: String,
    /// The body as text.
    pub body: String,
}

/// A stream that is being read.
pub struct Stream {
    reader: ureq::BodyReader<'static>,
    decoder: Decoder,
    /// What has come so far.
    pub transcript: Transcript,
}

impl Client {
    /// A client of the worker at this address.
    #[must_use]
    pub fn new(base_url: &str, options: &Options) -> Self {
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(options.patience))
            .build()
            .new_agent();
        // A worker without a key does not look at it.
        let authorization = format!("Bearer {}", options.api_key.as_deref().unwrap_or("none"));
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self { base_url, agent, authorization, patience: options.patience, jobs: AtomicU64::new(0) }
    }

    /// A job id nobody has used.
    #[must_use]
    pub fn job_id(&self) -> String {
        let nanoseconds = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        let number = self.jobs.fetch_add(1, Ordering::Relaxed);
        format!("kit-{}-{number}", nanoseconds.unwrap_or_default().as_nanos())
    }

    /// A greedy request with a job id of its own.
    #[must_use]
    pub fn request(&self, prompt: &str, max_tokens: u32) -> Value {
        json!({ "job_id": self.job_id(), "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.0 })
    }

    /// GET.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> Result<Answer, KitError> {
        let response = self.agent.get(self.url(path)).header("authorization", &self.authorization).call();
        answer(&format!("GET {path}"), response)
    }

    /// DELETE of a job.
    ///
    /// # Errors
    /// No answer.
    pub fn delete(&self, job_id: &str) -> Result<u16, KitError> {
        let path = format!("/v1/inference/{job_id}");
        let response = self.agent.delete(self.url(&path)).header("authorization", &self.authorization).call();
        answer(&format!("DELETE {path}"), response).map(|answer| answer.status)
    }

    /// POST of a request whose answer is not expected to be a stream.
    ///
    /// # Errors
    /// No answer.
    pub fn post(&self, body: &str) -> Result<Answer, KitError> {
        answer("POST /v1/inference", self.send(body))
    }

    /// POST of a request whose answer is read as it comes.
    ///
    /// # Errors
    /// No answer.
    pub fn open(&self, request: &Value) -> Result<Stream, KitError> {
        let response = self.send(&request.to_string()).map_err(|cause| unreachable("POST /v1/inference", &cause))?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let attempt = request["attempt"].as_u64().unwrap_or(1);
        let transcript = Transcript {
            attempt,
            max_tokens: request["max_tokens"].as_u64().unwrap_or(0),
            job_id: request["job_id"].as_str().unwrap_or_default().to_owned(),
            status: response.status().as_u16(),
            content_type: header("content-type"),
            cache_control: header("cache-control"),
            ..Transcript::default()
        };
        Ok(Stream { reader: response.into_body().into_reader(), decoder: Decoder::new(), transcript })
    }

    /// Reads a whole stream.
    ///
    /// # Errors
    /// No answer.
    pub fn stream(&self, request: &Value) -> Result<Transcript, KitError> {
        let mut stream = self.open(request)?;
        stream.read_to_end();
        Ok(stream.transcript)
    }

    /// `/health`, if it has its form.
    ///
    /// # Errors
    /// No answer.
    pub fn health(&self) -> Result<Option<Health>, KitError> {
        Ok(serde_json::from_str(&self.get("/health")?.body).ok())
    }

    /// Waits until so many slots are busy; `false` if that does not come to pass.
    ///
    /// # Errors
    /// No answer.
    pub fn wait_for_busy(&self, wanted: impl Fn(u32) -> bool) -> Result<bool, KitError> {
        // A slot is free within 200 ms by the rules; the ceiling is for a machine that is busy with other things.
        let deadline = Instant::now() + self.patience.min(Duration::from_secs(10));
        loop {
            if self.health()?.is_some_and(|health| wanted(health.slots_busy)) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&self, body: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.post(self.url("/v1/inference")).header("authorization", &self.authorization);
        request.header("content-type", "application/json").send(body)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}

impl Stream {
    /// Reads until a condition holds or the stream is over; whether the condition holds.
    pub fn read_until(&mut self, condition: impl Fn(&Transcript) -> bool) -> bool {
        let mut buffer = [0_u8; 4096];
        loop {
            if condition(&self.transcript) {
                return true;
            }
            match self.reader.read(&mut buffer) {
                Ok(0) => {
                    self.transcript.closed = true;
                    return false;
                }
                Err(error) => {
                    self.transcript.broken = Some(error.to_string());
                    return false;
                }
                Ok(length) => {
                    self.transcript.raw.extend_from_slice(&buffer[..length]);
                    match self.decoder.push(&buffer[..length]) {
                        Ok(frames) => frames.into_iter().for_each(|frame| self.transcript.push(frame)),
                        Err(error) => {
                            self.transcript.broken = Some(error.to_string());
                            return false;
                        }
                    }
                }
            }
        }
    }

    /// Reads until the stream is over.
    pub fn read_to_end(&mut self) {
        self.read_until(|_| false);
    }
}

fn answer(doing: &str, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, KitError> {
    let mut response = response.map_err(|cause| unreachable(doing, &cause))?;
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, content_type) = (response.status().as_u16(), content_type.to_ascii_lowercase());
    let body = response.body_mut().read_to_string().map_err(|cause| unreachable(doing, &cause))?;
    Ok(Answer { status, content_type, body })
}

fn unreachable(doing: &str, cause: &ureq::Error) -> KitError {
    KitError::Unreachable { doing: doing.to_owned(), cause: cause.to_string() }
}
