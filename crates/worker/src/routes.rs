//! Every call a worker answers; docs/protocol.md is the page for people.

mod inference;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router, middleware};
use protocol::error::ErrorCode;
use protocol::sse;
use protocol::worker::{Health, Ready, WorkerState};

use crate::failure::Failure;
use crate::guard::{self, CorrelationId};
use crate::lifecycle::Phase;
use crate::loading;
use crate::server::Shutdown;
use crate::shared::{Loaded, Shared};

/// Distance of comments on a stream that has nothing to say.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Largest request body: a prompt at its limit, every character escaped.
pub(crate) const BODY_LIMIT_BYTES: usize = 8 << 20;

/// The whole surface.
pub(crate) fn router(shared: Arc<Shared>, shutdown: Shutdown) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/ready", get(ready))
        .route("/v1/loading/progress", get(loading::progress))
        .route("/v1/inference", post(inference::submit))
        .route("/v1/inference/{job_id}", delete(inference::cancel))
        .route("/v1/inference/{job_id}/events", get(inference::events))
        .route("/v1/shutdown", post(request_shutdown).with_state(shutdown))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(text::tokenize))
        .route("/detokenize", post(text::detokenize))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::check))
        .with_state(shared)
}

async fn health(State(shared): State<Arc<Shared>>) -> Json<Health> {
    Json(shared.health())
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let is_busy = shared.slots_busy.load(std::sync::atomic::Ordering::Relaxed) > 0;
    let state = shared.phase().worker_state(is_busy);
    let ready = matches!(state, WorkerState::Idle | WorkerState::Busy);
    let progress_url = (state == WorkerState::Loading).then(|| "/v1/loading/progress".to_owned());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, state, progress_url })).into_response()
}

async fn request_shutdown(State(shutdown): State<Shutdown>) -> StatusCode {
    shutdown.request();
    StatusCode::ACCEPTED
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

async fn not_found(Extension(correlation): Extension<CorrelationId>, request: axum::extract::Request) -> Response {
    let message = format!("a worker has nothing to {} there", request.method());
    Failure::new(ErrorCode::PathNotFound, message).respond(&correlation)
}

async fn not_allowed(Extension(correlation): Extension<CorrelationId>, request: axum::extract::Request) -> Response {
    let message = format!("{} is not how that path is asked", request.method());
    Failure::new(ErrorCode::MethodNotAllowed, message).respond(&correlation)
}

/// The loaded model, or why there is none now.
pub(crate) fn loaded(shared: &Shared) -> Result<&Loaded, Failure> {
    match (shared.phase(), shared.loaded.get()) {
        (Phase::Ready, Some(loaded)) => Ok(loaded),
        (Phase::Draining, _) => Err(Failure::new(ErrorCode::Draining, "the worker is shutting down")),
        (Phase::Failed { message, .. }, _) => {
            Err(Failure::new(ErrorCode::WorkerUnavailable, format!("the worker failed: {message}")))
        }
        (Phase::Loading { .. } | Phase::Ready, _) => {
            Err(Failure::new(ErrorCode::WorkerUnavailable, "the model is still being loaded")
                .hint("follow GET /v1/loading/progress"))
        }
    }
}

/// A stream of server-sent events with the headers that keep intermediaries from holding it back.
pub(crate) fn stream_response(body: Body) -> Response {
    let mut response = Response::new(body);
    for (name, value) in sse::HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
