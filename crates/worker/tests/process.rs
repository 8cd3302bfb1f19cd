//! The real binary as a process: the conformance kit, the callback, models that must not load, ways to end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::identifiers::Backend;
use protocol::worker::{Callback, NONCE_VARIABLE};
use testkit::conformance::{self, Options};
use testkit::memory::peak_resident_bytes;
use testkit::tiny_model::TinyLlama;

const NONCE: &str = "0123456789abcdef";

/// What the worker runs on: `cargo xtask test integration --backend B` says so, and builds it for that.
fn backend() -> Backend {
    std::env::var("LLORCH_TEST_BACKEND").map_or(Backend::Cpu, |name| name.parse().expect("a backend"))
}

/// A worker process that has called back; killed on drop.
struct Process {
    handle: duct::Handle,
    callback: Callback,
}

impl Process {
    fn start(model: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1/workers/ready", listener.local_addr().expect("an address"));
        let expression = command(&[
            "--worker-id",
            "w1",
            "--backend",
            backend().name(),
            "--device",
            "0",
            "--port",
            "0",
            "--slots",
            "2",
            "--model-id",
            "m",
            "--model",
            model.to_str().expect("a path"),
            "--callback-url",
            &url,
        ]);
        let handle = expression.env(NONCE_VARIABLE, NONCE).start().expect("the worker starts");
        let (connection, _) = listener.accept().expect("the worker calls back");
        Self { handle, callback: receive(connection) }
    }

    fn status(&self) -> Option<i32> {
        self.handle.try_wait().expect("a child").and_then(|output| output.status.code())
    }

    /// The exit code; waits at most `limit`.
    fn wait(&self, limit: Duration) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(code) = self.status() {
                return code;
            }
            assert!(started.elapsed() < limit, "the worker did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.0"))
    }

    /// The answer to a request of these first lines, without a body.
    fn ask(&self, lines: &str) -> String {
        let address = self.callback.url.strip_prefix("http://").expect("a URL");
        let mut connection = TcpStream::connect(address).expect("a connection");
        write!(connection, "{lines}\r\nHost: {address}\r\n\r\n").expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn wait_until_ready(&self) {
        let started = Instant::now();
        while !self.get("/v1/ready").contains(" 200 ") {
            assert!(started.elapsed() < Duration::from_secs(60), "not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.handle.kill();
    }
}

fn command(arguments: &[&str]) -> duct::Expression {
    duct::cmd(env!("CARGO_BIN_EXE_llorch-worker"), arguments)
        .env_remove(protocol::worker::API_KEY_VARIABLE)
        .stderr_capture()
        .stdout_capture()
        .unchecked()
}

/// Reads one POST and answers 200.
fn receive(mut connection: TcpStream) -> Callback {
    let callback = read_callback(&mut connection);
    answer(&mut connection);
    callback
}

fn answer(connection: &mut TcpStream) {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    connection.write_all(text).expect("an answer");
}

fn read_callback(connection: &mut TcpStream) -> Callback {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = connection.read(&mut bytes).expect("a request");
        request.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&request);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(callback) = serde_json::from_str(body)
        {
            return callback;
        }
        assert!(count > 0, "the callback ended early: {text}");
    }
}

fn tiny(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let path = directory.path().join("tiny.gguf");
    TinyLlama::default().write(&path).expect("a model");
    path
}

fn assert_conforms(process: &Process) {
    process.wait_until_ready();
    let options = Options { tokens_long: 250, ..Options::default() };
    let violations = conformance::check(&process.callback.url, &options).expect("the kit runs");
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_worker_conforms_on_a_tiny_model_and_stops_when_told() {
    let directory = tempfile::tempdir().expect("a folder");
    let process = Process::start(&tiny(&directory));
    assert_eq!(process.callback.nonce, NONCE);
    assert_eq!(process.callback.pid, process.handle.pids()[0]);
    assert_conforms(&process);
    let pid = process.callback.pid.to_string();
    duct::cmd("kill", ["-TERM", &pid]).run().expect("a signal");
    assert_eq!(process.wait(Duration::from_secs(3)), 0);
}

#[test]
fn the_worker_conforms_on_the_real_model() {
    assert_conforms(&Process::start(&testkit::real_model::path()));
}

#[test]
fn models_that_cannot_be_run_are_named_and_the_process_ends() {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("bad.gguf");
    let unknown = || TinyLlama::default().build().set("general.architecture", "mamba9");
    let foreign = || TinyLlama::default().build().set("tokenizer.ggml.pre", "llama-bpe");
    let whole = TinyLlama::default().build().to_bytes().expect("bytes");
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (whole[..whole.len() / 2].to_vec(), "MODEL_INVALID", "blk"),
        (b"<!DOCTYPE html><html>404</html>".to_vec(), "MODEL_INVALID", "GGUF"),
        (Vec::new(), "MODEL_INVALID", ""),
        (unknown().to_bytes().expect("bytes"), "MODEL_UNSUPPORTED", "mamba9"),
        (foreign().to_bytes().expect("bytes"), "MODEL_UNSUPPORTED", "llama-bpe"),
    ];
    for (bytes, code, name) in cases {
        std::fs::write(&path, bytes).expect("a file");
        let process = Process::start(&path);
        let progress = process.get("/v1/loading/progress");
        assert!(progress.contains(code) && progress.contains(name), "{code} {name}: {progress}");
        assert!(process.get("/v1/ready").contains("\"state\":\"error\""));
        assert!(process.get("/health").contains("\"status\":\"failed\""));
        assert_eq!(process.wait(Duration::from_secs(10)), 1, "{name}");
    }
}

/// T17: whatever a file says of its tokens, the process lives, says what is wrong, and ends when it meant to.
#[test]
fn a_hostile_tokenizer_is_named_and_the_process_lives_until_its_linger() {
    const MAX_PEAK_BYTES: u64 = 512 << 20;
    let directory = tempfile::tempdir().expect("a folder");
    let count = TinyLlama::vocab_size() as usize;
    let with =
        |key: &str, texts: Vec<String>| TinyLlama::default().build().set_texts(&format!("tokenizer.ggml.{key}"), texts);
    let tokens = |special: &str| {
        let tokens = (0..count).map(|id| if id == 1 { special.to_owned() } else { format!("t{id}") });
        with("tokens", tokens.collect()).set_texts("tokenizer.ggml.merges", [""; 0])
    };
    let cases = [
        ("merges", with("merges", vec![format!("t {}", "h".repeat(5_000))])),
        ("the limit is", with("merges", vec!["t h".to_owned(); 2_000_000])),
        ("tokenizer.ggml.tokens", with("tokens", vec!["a".to_owned(); count])),
        ("has no text", tokens("")),
        ("the limit is", tokens(&"x".repeat(1 << 20))),
        ("eos_token_id", TinyLlama::default().build().set("tokenizer.ggml.eos_token_id", 1_u64 << 40)),
        ("token_type", TinyLlama::default().build().set("tokenizer.ggml.token_type", vec![1_i32])),
        ("chat_template", TinyLlama::default().build().set("tokenizer.chat_template", 1_u32)),
    ];
    // Side by side, because each one lingers.
    std::thread::scope(|scope| {
        for (index, (name, file)) in cases.into_iter().enumerate() {
            let path = directory.path().join(format!("{index}.gguf"));
            scope.spawn(move || {
                file.write(&path).expect("a file");
                let process = Process::start(&path);
                let progress = process.get("/v1/loading/progress");
                assert!(progress.contains("TOKENIZER_INVALID") && progress.contains(name), "{name}: {progress}");
                let peak_bytes = peak_resident_bytes(process.callback.pid);
                assert!(peak_bytes.is_none_or(|bytes| bytes < MAX_PEAK_BYTES), "{name}: {peak_bytes:?}");
                assert!(process.get("/health").contains("\"status\":\"failed\""), "{name}");
                assert_eq!(process.status(), None, "{name}: it still answers");
                assert_eq!(process.wait(Duration::from_secs(30)), 1, "{name}");
            });
        }
    });
}

#[test]
fn starts_that_must_not_be() {
    let directory = tempfile::tempdir().expect("a folder");
    let model = tiny(&directory);
    let model = model.to_str().expect("a path");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let run = |arguments: &[&str]| {
        let common = ["--worker-id", "w1", "--model", model];
        let output = command(&[&common, arguments].concat()).run().expect("it runs");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&["--backend", backend().name(), "--port", &port]);
    assert!(code == 1 && text.contains("failed to bind") && text.contains("hint:"), "{code} {text}");
    let (code, text) = run(&["--backend", backend().name(), "--bind", "0.0.0.0"]);
    assert!(code == 1 && text.contains("API key") && text.contains("hint:"), "{code} {text}");
    let other = if backend() == Backend::Cpu { Backend::Cuda } else { Backend::Cpu };
    let (code, text) = run(&["--backend", other.name()]);
    let words = format!("built for {}", backend());
    assert!(code == 1 && text.contains(&words) && text.contains("hint:"), "{code} {text}");
    let (code, _) = run(&["--backend", "tpu"]);
    assert_eq!(code, 2);
    let (code, text) = run(&["--backend", backend().name(), "--callback-url", "http://127.0.0.1:9/"]);
    assert!(code == 1 && text.contains("call back"), "{code} {text}");
}

#[test]
fn a_worker_answers_before_its_callback_is_answered() {
    let directory = tempfile::tempdir().expect("a folder");
    let model = tiny(&directory);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let arguments = ["--worker-id", "w1", "--backend", backend().name(), "--callback-url", &url, "--model"];
    let expression = command(&[&arguments[..], &[model.to_str().expect("a path")]].concat());
    let handle = expression.env(NONCE_VARIABLE, NONCE).start().expect("the worker starts");
    let (mut connection, _) = listener.accept().expect("the worker calls back");
    let callback = read_callback(&mut connection);
    // What it plans to hold is more than the file: its slots are in it.
    assert!(callback.memory_bytes > std::fs::metadata(&model).expect("a file").len());
    let process = Process { handle, callback };
    assert!(process.get("/health").contains("\"model_loaded\":false"), "it serves, and has not begun to load");
    assert!(process.get("/v1/ready").contains("\"state\":\"loading\""));
    answer(&mut connection);
    process.wait_until_ready();
}

#[test]
fn every_refusal_has_the_shape_of_an_error() {
    let directory = tempfile::tempdir().expect("a folder");
    let process = Process::start(&tiny(&directory));
    process.wait_until_ready();
    let large = format!("POST /v1/inference HTTP/1.0\r\nContent-Length: {}", 9 << 20);
    for (request, code) in [
        ("GET /nothing HTTP/1.0", "PATH_NOT_FOUND"),
        ("PUT /health HTTP/1.0", "METHOD_NOT_ALLOWED"),
        ("DELETE /v1/inference/%ff HTTP/1.0", "INVALID_PARAMS"),
        ("DELETE /v1/inference/..%2Fx HTTP/1.0", "INVALID_PARAMS"),
        (&large, "PAYLOAD_TOO_LARGE"),
        ("GET /health HTTP/1.0\r\nOrigin: http://127.0.0.1:3000", "ADMISSION_REJECT"),
    ] {
        let answer = process.ask(request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let error: protocol::error::ErrorBody = serde_json::from_str(body).expect(&answer);
        assert_eq!(error.error.code.name(), code, "{answer}");
        assert!(head.contains(&error.error.correlation_id) && !error.error.correlation_id.is_empty(), "{answer}");
    }
}

#[test]
fn the_stamp_says_what_the_binary_is() {
    let output = command(&["--version", "--json"]).run().expect("it runs");
    let stamp: protocol::stamp::Stamp = serde_json::from_slice(&output.stdout).expect("a stamp");
    assert_eq!(stamp.program, "llorch-worker");
    assert_eq!(stamp.backend, Some(backend()));
}
