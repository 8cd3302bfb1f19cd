//! The fake worker's HTTP face.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use protocol::error::{ErrorBody, ErrorCode, ErrorDetail, FieldErrors};
use protocol::event::DONE;
use protocol::identifiers::{Backend, WorkerId};
use protocol::inference::InferenceRequest;
use protocol::sse;
use protocol::worker::{API_KEY_VARIABLE, Health, HealthStatus, LoadingProgress, Ready, WorkerState};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::load::Load;
use super::stream::Generation;
use super::validate::validate;
use super::{Misbehaviour, Script};

/// What every handler sees.
pub struct Worker {
    script: Script,
    worker_id: WorkerId,
    model: String,
    backend: Backend,
    device: u32,
    slots_total: u32,
    slots: Arc<Semaphore>,
    slots_busy: AtomicU32,
    started: Instant,
    load: watch::Receiver<Load>,
    jobs: Mutex<HashMap<String, Job>>,
    draining: watch::Sender<bool>,
}

struct Job {
    attempt: u32,
    cancel: watch::Sender<bool>,
}

/// What the command line says.
pub struct Settings {
    /// `--worker-id`.
    pub worker_id: WorkerId,
    /// `--model-id`, or the file's name.
    pub model: String,
    /// `--backend`.
    pub backend: Backend,
    /// `--device`.
    pub device: u32,
    /// `--slots`.
    pub slots: u32,
}

impl Worker {
    /// A worker whose load is followed through `load`.
    #[must_use]
    pub fn new(settings: Settings, script: Script, load: watch::Receiver<Load>) -> Arc<Self> {
        Arc::new(Self {
            script,
            worker_id: settings.worker_id,
            model: settings.model,
            backend: settings.backend,
            device: settings.device,
            slots_total: settings.slots,
            slots: Arc::new(Semaphore::new(usize::try_from(settings.slots).unwrap_or(1))),
            slots_busy: AtomicU32::new(0),
            started: Instant::now(),
            load,
            jobs: Mutex::new(HashMap::new()),
            draining: watch::Sender::new(false),
        })
    }

    /// Begins the end: no new work, and what runs is cancelled.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        for job in self.jobs.lock().unwrap_or_else(PoisonError::into_inner).values() {
            job.cancel.send_replace(true);
        }
    }

    /// Waits until [`Self::drain`] was called and nothing runs any more, or a second has passed.
    pub async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        let _never_closed = draining.wait_for(|draining| *draining).await.is_ok();
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.slots_busy.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The answer to the shutdown request itself is on its way.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Design §4's table, as far as the fake goes.
pub fn router(worker: Arc<Worker>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/ready", get(ready))
        .route("/v1/loading/progress", get(progress))
        .route("/v1/inference", post(inference))
        .route("/v1/inference/{job_id}", delete(cancel))
        .route("/v1/shutdown", post(shutdown))
        .layer(axum::middleware::from_fn(check_key))
        .with_state(worker)
}

/// Asks for the key of the environment, if there is one, as the real worker does.
async fn check_key(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let Some(key) = std::env::var(API_KEY_VARIABLE).ok().filter(|key| !key.is_empty()) else {
        return next.run(request).await;
    };
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if request.uri().path() == "/health" || given == Some(format!("Bearer {key}").as_str()) {
        return next.run(request).await;
    }
    refuse(ErrorCode::Unauthorized, "the API key is missing or wrong")
}

type Shared = State<Arc<Worker>>;

async fn health(State(worker): Shared) -> Json<Health> {
    let load = worker.load.borrow().clone();
    let idle = worker.script.commits(Misbehaviour::IdleHealth);
    Json(Health {
        status: if matches!(load, Load::Failed(_)) { HealthStatus::Failed } else { HealthStatus::Healthy },
        model_loaded: load == Load::Ready,
        worker_id: worker.worker_id.clone(),
        model: worker.model.clone(),
        architecture: Some(String::from("fake")),
        quantization: None,
        tokenizer: Some(String::from("fake")),
        vocab_size: Some(12),
        context_length: Some(32_768),
        backend: worker.backend,
        device: worker.device,
        memory_bytes: 0,
        slots_total: worker.slots_total,
        slots_busy: if idle { 0 } else { worker.slots_busy.load(Ordering::SeqCst) },
        uptime_seconds: worker.started.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

async fn ready(State(worker): Shared) -> (StatusCode, Json<Ready>) {
    let busy = worker.slots_busy.load(Ordering::SeqCst) > 0;
    let state = match &*worker.load.borrow() {
        _ if *worker.draining.borrow() => WorkerState::Draining,
        Load::Ready if busy => WorkerState::Busy,
        Load::Ready => WorkerState::Idle,
        Load::Layers(_) => WorkerState::Loading,
        Load::Failed(_) => WorkerState::Error,
    };
    let ready = matches!(state, WorkerState::Idle | WorkerState::Busy);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let progress_url = (state == WorkerState::Loading).then(|| String::from("/v1/loading/progress"));
    (status, Json(Ready { ready, state, progress_url }))
}

async fn progress(State(worker): Shared) -> Response {
    let (sender, receiver) = mpsc::channel(32);
    tokio::spawn(async move {
        let mut load = worker.load.clone();
        loop {
            let stage = match load.borrow_and_update().clone() {
                Load::Layers(layers_loaded) => {
                    let layers_total = worker.script.layers;
                    LoadingProgress::LoadingToVram { layers_loaded, layers_total, vram_mb: layers_loaded }
                }
                Load::Ready => LoadingProgress::Ready,
                Load::Failed(message) => LoadingProgress::Error { code: ErrorCode::ModelInvalid, message },
            };
            let last = !matches!(stage, LoadingProgress::LoadingToVram { .. });
            if last && worker.script.commits(Misbehaviour::NeverReadyProgress) {
                return;
            }
            let mut frame = sse::encode(None, &serde_json::to_string(&stage).unwrap_or_default());
            if last {
                frame.push_str(&sse::encode(None, DONE));
            }
            if sender.send(frame).await.is_err() || last || load.changed().await.is_err() {
                return;
            }
        }
    });
    stream_answer(receiver, sse::HEADERS)
}

async fn inference(State(worker): Shared, body: Bytes) -> Response {
    let request = match validate(&worker.script, &body) {
        Ok(request) => request,
        Err(errors) => return (StatusCode::BAD_REQUEST, Json(FieldErrors { errors })).into_response(),
    };
    if *worker.load.borrow() != Load::Ready || *worker.draining.borrow() {
        return refuse(ErrorCode::WorkerUnavailable, "the worker is not ready");
    }
    let Some(cancelled) = register(&worker, &request) else {
        return refuse(ErrorCode::StaleAttempt, "a newer attempt of the job is known");
    };
    let streams = request.stream || worker.script.commits(Misbehaviour::UnaryStreams);
    let (script, model) = (worker.script.clone(), worker.model.clone());
    let generation = Generation { script, request, model, cancelled };
    if !streams {
        let slot = Slot::take(&worker).await;
        let answer = generation.unary().await;
        drop(slot);
        return match answer {
            Ok(answer) => Json(answer).into_response(),
            Err(code) => refuse(code, "cancelled"),
        };
    }
    let mut headers = sse::HEADERS;
    if worker.script.commits(Misbehaviour::WrongContentType) {
        headers[0].1 = "text/plain";
    }
    let (sender, receiver) = mpsc::channel(32);
    tokio::spawn(async move {
        let _slot = Slot::take(&worker).await;
        generation.stream(sender).await;
    });
    stream_answer(receiver, headers)
}

fn stream_answer(receiver: mpsc::Receiver<String>, headers: [(&'static str, &'static str); 3]) -> Response {
    (headers, Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>))).into_response()
}

/// Notes the job and how to cancel it; `None` if a newer attempt is known.
fn register(worker: &Worker, request: &InferenceRequest) -> Option<watch::Receiver<bool>> {
    let mut jobs = worker.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let known = jobs.get(request.job_id.as_str()).map(|job| job.attempt);
    if known.is_some_and(|known| request.attempt < known) && !worker.script.commits(Misbehaviour::AcceptStaleAttempt) {
        return None;
    }
    let (cancel, cancelled) = watch::channel(false);
    jobs.insert(request.job_id.as_str().to_owned(), Job { attempt: request.attempt, cancel });
    Some(cancelled)
}

async fn cancel(State(worker): Shared, Path(job_id): Path<String>) -> StatusCode {
    let mut jobs = worker.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    if worker.script.commits(Misbehaviour::CancelAll) {
        for job in jobs.values() {
            job.cancel.send_replace(true);
        }
    }
    let running = jobs.get_mut(&job_id).is_some_and(|job| {
        let running = !job.cancel.is_closed() && !*job.cancel.borrow();
        if !worker.script.commits(Misbehaviour::IgnoreDelete) {
            job.cancel.send_replace(true);
        }
        running
    });
    if !running && worker.script.commits(Misbehaviour::DeleteNotFound) {
        return StatusCode::NOT_FOUND;
    }
    StatusCode::NO_CONTENT
}

async fn shutdown(State(worker): Shared) -> StatusCode {
    worker.drain();
    StatusCode::ACCEPTED
}

fn refuse(code: ErrorCode, message: &str) -> Response {
    let error = ErrorDetail {
        code,
        message: message.to_owned(),
        hint: None,
        details: None,
        correlation_id: String::from("fake"),
    };
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(ErrorBody { error })).into_response()
}

/// A slot in use, counted for as long as this lives.
struct Slot {
    worker: Arc<Worker>,
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Slot {
    async fn take(worker: &Arc<Worker>) -> Self {
        let permit = worker.slots.clone().acquire_owned().await.ok();
        worker.slots_busy.fetch_add(1, Ordering::SeqCst);
        Self { worker: worker.clone(), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.slots_busy.fetch_sub(1, Ordering::SeqCst);
    }
}
