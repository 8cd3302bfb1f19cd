//! `infer`: the whole chain, from a prompt to its continuation.

mod printer;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::error::ErrorCode;
use protocol::event::{End, Event, StopReason};
use protocol::identifiers::{Backend, JobId, ModelId, WorkerId};
use protocol::inference::{InferenceRequest, Message as ChatMessage};
use serde::Serialize;

use crate::binaries::Profile;
use crate::cli::Globals;
use crate::download::{DEFAULT_MODEL, Shelf};
use crate::failure::Failure;
use crate::inference::{Client, Message};
use crate::output::Output;
use crate::pool::{self, Attached, Needs, Report};
use crate::process::Call;
use crate::{interrupt, process};
use printer::Printer;

/// Between two looks at signals.
const POLL: Duration = Duration::from_millis(50);
/// A worker writes a keep-alive every 10 s; one that is silent for six of them is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What the pool has to say about a lost worker arrives within this.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Continue a prompt with a model, on this machine
///
/// Builds what is not built, fetches the model if it is not here, starts a worker, streams its answer and stops it. The
/// generated text alone goes to standard output, byte for byte as it was generated; a line break is added only on a
/// terminal, after a text that ends without one.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true), after_help = "Examples:
  cargo xtask infer --prompt \"Once upon a time\"
  cargo xtask infer --message \"Why is the sky blue?\" --model smollm2 --max-tokens 200
  cargo xtask infer --prompt \"1, 2, 3,\" --temperature 0 --json
  cargo xtask infer --prompt \"Hello\" --worker 127.0.0.1:8001")]
pub struct Args {
    /// Raw text to continue
    #[arg(long, value_name = "TEXT", group = "input")]
    prompt: Option<String>,
    /// A question or request, spoken through the model's chat template
    #[arg(long, value_name = "TEXT", group = "input")]
    message: Option<String>,
    /// The model
    #[arg(long, value_name = "ID", default_value = DEFAULT_MODEL, conflicts_with = "worker")]
    model: String,
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    max_tokens: u32,
    /// 0 always takes the likeliest token; up to 2
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = |text: &str| fraction(text, 0.0, 2.0))]
    temperature: f32,
    /// Choose among the likeliest tokens with this probability together; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = |text: &str| fraction(text, f32::MIN_POSITIVE, 1.0))]
    top_p: f32,
    /// Choose among the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: u32,
    /// Choose among tokens at least P times as likely as the likeliest; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = |text: &str| fraction(text, 0.0, 1.0))]
    min_p: f32,
    /// Make tokens that were seen less likely; 1 is off, up to 2
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = |text: &str| fraction(text, 1.0, 2.0))]
    repetition_penalty: f32,
    /// Repeat a generation: the same seed gives the same text
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this text; up to four times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Ask this worker (HOST:PORT or URL); nothing is built, fetched or started
    #[arg(long, value_name = "ADDRESS", value_parser = worker_url, conflicts_with = "debug")]
    worker: Option<String>,
    /// Build with checks and without optimisation
    #[arg(long)]
    debug: bool,
}

fn fraction(text: &str, least: f32, most: f32) -> Result<f32, String> {
    let words =
        || format!("a number from {} to {most} is needed", if least == f32::MIN_POSITIVE { 0.0 } else { least });
    text.parse().ok().filter(|value| (least..=most).contains(value)).ok_or_else(words)
}

fn worker_url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = url.trim_end_matches('/');
    let uri: ureq::http::Uri = url.parse().map_err(|_| String::from("use HOST:PORT or a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none() => {
            Ok(url.to_owned())
        }
        _ => Err(String::from("use HOST:PORT or a URL that begins with `http://` or `https://`")),
    }
}

impl Args {
    /// Runs the chain. Whatever ends it, the worker it started is gone when this returns.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        if self.stop.len() > 4 {
            return Err(Failure::usage("`--stop` can be given four times at most"));
        }
        let request = self.request()?;
        match &self.worker {
            Some(url) if globals.dry_run => process::print_plan(globals.output, &[format!("POST {url}/v1/inference")]),
            Some(url) => {
                interrupt::watch()?;
                generate(globals.output, &Client::new(url), &request, None).map(|()| 0)
            }
            None => self.run_here(globals, &request),
        }
    }

    fn run_here(&self, globals: &Globals, request: &InferenceRequest) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let model = shelf.require_runnable(&self.model)?;
        let profile = if self.debug { Profile::Debug } else { Profile::Release };
        let plan = pool::plan(Needs { worker: Some(Backend::Cpu), profile })?;
        if globals.dry_run {
            let builds = plan.iter().map(|plan| plan.call.to_string());
            let rest = [format!("ensure model {model}"), spawn_call("llorch-pool".into(), &model).to_string()];
            let steps = builds.chain(rest).chain([String::from("POST /v1/inference")]);
            return process::print_plan(globals.output, &steps.collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let output = globals.output;
        let program = pool::find(output, &plan)?;
        shelf.ensure(output, &model)?;
        interrupt::check()?;
        let mut attached = Attached::start(&spawn_call(program, &model))?;
        let url = wait_until_ready(output, &mut attached)?;
        let generated = generate(output, &Client::new(&url), request, Some(&attached));
        attached.stop();
        generated.map(|()| 0)
    }

    fn request(&self) -> Result<InferenceRequest, Failure> {
        let user = |content: &String| vec![ChatMessage { role: String::from("user"), content: content.clone() }];
        Ok(InferenceRequest {
            job_id: job_id()?,
            prompt: self.prompt.clone(),
            messages: self.message.as_ref().map(user),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            stop: self.stop.clone(),
            seed: self.seed,
            stream: true,
            attempt: 1,
            orphan_grace_ms: 0,
        })
    }
}

/// Unlike any other job's, also when two commands start at once.
fn job_id() -> Result<JobId, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = format!("infer-{:x}-{:x}", now.as_nanos(), std::process::id());
    text.parse().map_err(|error| Failure::coded(ErrorCode::Internal, format!("cannot name the job: {error}")))
}

fn spawn_call(program: PathBuf, model: &ModelId) -> Call {
    // Its only job is over or cancelled when it is stopped: there is nothing to drain.
    let attached = ["--attached", "--grace", "5", "--json"];
    Call::new(program).args(["worker", "spawn", Backend::Cpu.name(), "--model", model.as_str()]).args(attached)
}

fn wait_until_ready(output: Output, attached: &mut Attached) -> Result<String, Failure> {
    let bar = output.progress();
    bar.set_message("starting a worker");
    loop {
        interrupt::check()?;
        match attached.next(POLL) {
            None => {}
            Some(Report::Starting { worker_id, pid }) => {
                output.event(&Line::Starting { worker_id: &worker_id, pid })?;
                output.detail(format_args!("worker {worker_id} is process {pid}"));
            }
            Some(Report::Loading { layers_loaded, layers_total }) => {
                output.event(&Line::Loading { layers_loaded, layers_total })?;
                bar.set_message(format!("loading layer {layers_loaded} of {layers_total}"));
            }
            Some(Report::Ready { url, worker_id, pid }) => {
                bar.finish_and_clear();
                output.event(&Line::Ready { url: &url, worker_id: &worker_id, pid })?;
                return Ok(url);
            }
            Some(Report::Failed(failure)) => {
                bar.finish_and_clear();
                return Err(failure);
            }
            Some(Report::Closed) => {
                bar.finish_and_clear();
                interrupt::check()?;
                return Err(attached.ended_silently());
            }
        }
    }
}

/// One generation, printed as it comes.
fn generate(
    output: Output,
    client: &Client,
    request: &InferenceRequest,
    attached: Option<&Attached>,
) -> Result<(), Failure> {
    let stream = client.submit(request)?;
    let mut printer = Printer::new(output);
    let printed = print_stream(&stream, &mut printer, attached);
    if let Err(failure) = &printed {
        // Nobody wants the rest: free the slot now, and let the pool find an idle worker to stop.
        if failure.is_interrupt() || failure.is_silent {
            client.cancel(&request.job_id);
        }
        printer.break_off();
    }
    printer.done(&printed?)
}

fn print_stream(
    stream: &Receiver<Message>,
    printer: &mut Printer,
    attached: Option<&Attached>,
) -> Result<End, Failure> {
    let mut heard_at = Instant::now();
    let mut end = None;
    loop {
        interrupt::check()?;
        let message = match stream.recv_timeout(POLL) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) if heard_at.elapsed() < SILENCE_MAX => {
                if let Some(Report::Failed(failure)) = attached.and_then(|attached| attached.next(Duration::ZERO)) {
                    return Err(failure);
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("the worker has been silent for {} s", SILENCE_MAX.as_secs());
                return Err(Failure::coded(ErrorCode::WorkerTimeout, message));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::coded(ErrorCode::Internal, "the reader of the stream ended without a word"));
            }
        };
        heard_at = Instant::now();
        match message {
            Message::Alive => {}
            Message::Event(Event::End(fields)) => end = Some(fields),
            Message::Event(Event::Error(failure)) => return Err(Failure::coded(failure.code, failure.message)),
            Message::Event(event) => printer.event(&event)?,
            Message::Complete => {
                let missing = || Failure::coded(ErrorCode::Internal, "a complete stream without `end`");
                let end = end.ok_or_else(missing)?;
                // Whoever cancelled it (the same Ctrl-C may reach the worker before this process's own thread hears of it):
                // half an answer is not one.
                return if end.stop_reason == StopReason::Cancelled { Err(Failure::interrupted()) } else { Ok(end) };
            }
            Message::Failed(failure) => return Err(last_words(attached).unwrap_or(failure)),
        }
    }
}

/// Why the worker was lost, if the pool knows: it saw the process end.
fn last_words(attached: Option<&Attached>) -> Option<Failure> {
    let deadline = Instant::now() + LAST_WORDS;
    while let Some(report) = attached?.next(deadline.saturating_duration_since(Instant::now())) {
        match report {
            Report::Failed(failure) => return Some(failure),
            Report::Closed => return None,
            Report::Starting { .. } | Report::Loading { .. } | Report::Ready { .. } => {}
        }
    }
    None
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Starting { worker_id: &'a WorkerId, pid: u32 },
    Loading { layers_loaded: u64, layers_total: u64 },
    Ready { url: &'a str, worker_id: &'a WorkerId, pid: u32 },
}

#[cfg(test)]
mod tests {
    use super::{fraction, worker_url};

    #[test]
    fn workers_are_named_by_address_or_url() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(worker_url(text).ok().as_deref(), expected, "{text}");
        check("127.0.0.1:8001", Some("http://127.0.0.1:8001"));
        check("http://[::1]:8001/", Some("http://[::1]:8001"));
        check("https://box", Some("https://box"));
        check("ftp://box", None);
        check("http://box/?x", None);
        check("a b", None);
        check("", None);
    }

    #[test]
    fn fractions_keep_their_ranges() {
        assert_eq!(fraction("0.5", 0.0, 1.0), Ok(0.5));
        for text in ["-0.1", "1.1", "NaN", "x", "inf"] {
            assert!(fraction(text, 0.0, 1.0).is_err(), "{text}");
        }
    }
}
