//! A worker inside the test process, on a tiny random model, and a client that can hang up in any way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::sse::{Decoder, Frame};
use serde_json::Value;
use testkit::tiny_model::TinyLlama;
use worker::{Probe, ProbePoint, SequenceId, Settings, Worker};

/// The worker's patience with clients that read nothing or are out of reach; a product's is 30 s.
pub const STALL_LIMIT: Duration = Duration::from_secs(2);

/// What the probe does to the engine; shared with the test.
#[derive(Debug, Default)]
pub struct Disturbance {
    /// Slows every decode step, so that a test can act in the middle of a generation.
    pub decode_delay_ms: AtomicU64,
    /// Panics at the next visit of a point, once.
    pub panic_at: Mutex<Option<ProbePoint>>,
    /// Overwrites the logits from which this token (counted from 0) would be chosen.
    pub poison: Mutex<Option<(u64, Poison)>>,
    /// Prompt steps that were computed.
    pub prefills: AtomicU32,
    /// Decode steps that were computed, summed over sequences.
    pub decodes: AtomicU64,
}

/// What poisoned logits hold.
#[derive(Debug, Clone, Copy)]
pub enum Poison {
    AllNan,
    OneNan,
    Infinity,
    AllNegativeInfinity,
}

struct TestProbe(Arc<Disturbance>);

impl Probe for TestProbe {
    fn reach(&self, point: ProbePoint, _sequence: SequenceId, _tokens_out: u64) {
        match point {
            ProbePoint::Prefill => {
                self.0.prefills.fetch_add(1, Ordering::SeqCst);
            }
            ProbePoint::Decode => {
                self.0.decodes.fetch_add(1, Ordering::SeqCst);
                let delay_ms = self.0.decode_delay_ms.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(delay_ms));
            }
            ProbePoint::Step | ProbePoint::Sample => {}
        }
        let mut panic_at = self.0.panic_at.lock().expect("no panic holds this lock");
        if *panic_at == Some(point) {
            *panic_at = None;
            drop(panic_at);
            panic!("a disturbance at {point:?}");
        }
    }

    fn logits(&self, _sequence: SequenceId, tokens_out: u64, logits: &mut [f32]) {
        let poison = *self.0.poison.lock().expect("no panic holds this lock");
        match poison {
            Some((at, poison)) if at == tokens_out => match poison {
                Poison::AllNan => logits.fill(f32::NAN),
                Poison::OneNan => logits[7] = f32::NAN,
                Poison::Infinity => logits[7] = f32::INFINITY,
                Poison::AllNegativeInfinity => logits.fill(f32::NEG_INFINITY),
            },
            _ => {}
        }
    }
}

/// A running worker; stopped and joined on drop.
pub struct TestWorker {
    pub address: SocketAddr,
    pub disturbance: Arc<Disturbance>,
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
    is_joined: AtomicBool,
    _directory: tempfile::TempDir,
}

impl TestWorker {
    /// A worker with `slots` slots whose model is loaded.
    pub fn start(slots: u32) -> Self {
        Self::start_with(slots, &TinyLlama::default())
    }

    /// The same with another tiny model.
    pub fn start_with(slots: u32, model: &TinyLlama) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join("tiny.gguf");
        model.write(&path).expect("a tiny model");
        let settings = Settings {
            worker_id: "test".parse().expect("an id"),
            model_id: "tiny".to_owned(),
            model_path: path,
            model_digest: None,
            backend: protocol::identifiers::Backend::Cpu,
            engine_backend: engine::BackendKind::Cpu,
            device: 0,
            bind: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            callback_url: None,
            context_length: None,
            slots,
            nonce: String::new(),
            api_key: None,
            stall_limit: STALL_LIMIT,
        };
        // Without a backtrace, whatever the environment asks: reading symbols takes longer than what is tested here.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        let disturbance = Arc::new(Disturbance::default());
        let probe = Box::new(TestProbe(Arc::clone(&disturbance)));
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let result = runtime.block_on(async move {
                let worker = Worker::start(settings, Some(probe)).await?;
                let stop: Box<dyn Fn() + Send + Sync> = Box::new(worker.stopper());
                sender.send((worker.address(), stop)).expect("the test waits");
                worker.serve().await
            });
            runtime.shutdown_background();
            result
        });
        let (address, stop) = receiver.recv().expect("the worker binds");
        let worker = Self {
            address,
            disturbance,
            stop,
            thread: Some(thread),
            is_joined: AtomicBool::new(false),
            _directory: directory,
        };
        worker.eventually(Duration::from_secs(30), "ready", || worker.get("/v1/ready").0 == 200);
        worker
    }

    /// How `serve` ended; waits at most `limit`.
    pub fn outcome(&mut self, limit: Duration) -> anyhow::Result<()> {
        let thread = self.thread.take().expect("asked once");
        let started = Instant::now();
        while !thread.is_finished() {
            assert!(started.elapsed() < limit, "the worker did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.is_joined.store(true, Ordering::SeqCst);
        thread.join().expect("the worker's thread does not panic")
    }

    /// Waits until `condition` holds; how long that took.
    pub fn eventually(&self, limit: Duration, what: &str, condition: impl Fn() -> bool) -> Duration {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < limit, "not {what} within {limit:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        started.elapsed()
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.request("GET", path, "");
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Status and text of any request, read to its end.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut connection = self.send(method, path, body);
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Sends a request as HTTP/1.0, so that the body is not chunked and ends with the connection.
    pub fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).expect("a connection");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", self.address);
        connection.write_all((head + body).as_bytes()).expect("a request");
        connection
    }

    /// Opens a generation stream whose client has room for a few events and reads none.
    pub fn submit_and_read_nothing(&self, request: &Value) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
        connect(&socket, &self.address).expect("a connection");
        let mut connection = TcpStream::from(socket);
        let (body, host) = (request.to_string(), self.address);
        let head = format!("POST /v1/inference HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.write_all((head + &body).as_bytes()).expect("a request");
        connection
    }

    /// Opens a generation stream.
    pub fn stream(&self, request: &Value) -> Stream {
        Stream {
            connection: self.send("POST", "/v1/inference", &request.to_string()),
            decoder: Decoder::new(),
            head: Some(Vec::new()),
            frames: Vec::new().into_iter(),
        }
    }

    /// All events of a generation, terminal included; `[DONE]` and the end of the connection are checked.
    pub fn generate(&self, request: &Value) -> Vec<Value> {
        let mut stream = self.stream(request);
        let mut events = Vec::new();
        loop {
            let frame = stream.next().expect("the stream does not just stop");
            if frame.data == "[DONE]" {
                assert!(stream.next().is_none(), "nothing follows [DONE]");
                return events;
            }
            events.push(serde_json::from_str(&frame.data).expect("an event"));
        }
    }

    pub fn slots_busy(&self) -> u64 {
        self.get("/health").1["slots_busy"].as_u64().expect("a number")
    }

    /// A gauge of `/metrics`.
    pub fn gauge(&self, name: &str) -> i64 {
        let (_, text) = self.request("GET", "/metrics", "");
        let prefix = format!("llorch_worker_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).expect("a gauge")
    }

    /// The counter of ended jobs with that outcome.
    pub fn outcomes(&self, outcome: &str) -> u64 {
        let (_, text) = self.request("GET", "/metrics", "");
        let prefix = format!("llorch_worker_requests_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        (self.stop)();
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The reading end of a generation.
pub struct Stream {
    connection: TcpStream,
    decoder: Decoder,
    head: Option<Vec<u8>>,
    frames: std::vec::IntoIter<Frame>,
}

impl Stream {
    /// The next frame; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            let count = self.connection.read(&mut bytes).expect("a read");
            if count == 0 {
                return None;
            }
            let body = match self.head.take() {
                None => bytes[..count].to_vec(),
                Some(mut head) => {
                    head.extend_from_slice(&bytes[..count]);
                    match head.windows(4).position(|window| window == b"\r\n\r\n") {
                        Some(end) => head.split_off(end + 4),
                        None => {
                            self.head = Some(head);
                            continue;
                        }
                    }
                }
            };
            self.frames = self.decoder.push(&body).expect("frames").into_iter();
        }
    }

    /// Reads until `count` token events were seen.
    pub fn read_tokens(&mut self, count: u64) {
        let mut seen = 0;
        while seen < count {
            let frame = self.next().expect("the stream goes on");
            seen += u64::from(frame.data.contains("\"type\":\"token\""));
        }
    }

    /// Hangs up with FIN, both directions.
    pub fn close(self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }

    /// Says that nothing more will be asked and goes on listening; the connection is open as long as the result is kept.
    pub fn close_half(self) -> TcpStream {
        let _ = self.connection.shutdown(Shutdown::Write);
        self.connection
    }

    /// Hangs up with RST: closing with unread data does that.
    pub fn reset(self) {
        drop(self.connection);
    }
}

/// A request for `max_tokens` greedy tokens.
pub fn request(job: &str, max_tokens: u32) -> Value {
    serde_json::json!({ "job_id": job, "prompt": "the king and", "max_tokens": max_tokens, "temperature": 0.0 })
}

/// Type of the last event, and its code or reason.
pub fn terminal(events: &[Value]) -> (String, String) {
    let last = events.last().expect("at least one event");
    let detail = last.get("code").or_else(|| last.get("stop_reason")).and_then(Value::as_str).unwrap_or("");
    (last["type"].as_str().unwrap_or("").to_owned(), detail.to_owned())
}

/// The tokens' text.
pub fn text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["t"].as_str()).collect()
}
