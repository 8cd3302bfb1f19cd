//! `/v1/inference`: submit, follow, cancel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::{ChatMessage, Frontend, GenerationParameters, SamplingParameters, TokenId};
use futures_util::stream;
use protocol::error::ErrorCode;
use protocol::event::{DONE, Event, EventId, StopReason};
use protocol::identifiers::JobId;
use protocol::inference::{InferenceAnswer, InferenceRequest, Message};
use protocol::sse;

use crate::engine_thread::{Command, Job};
use crate::extract::{JobPath, WholeBody};
use crate::failure::{Failure, bad_fields};
use crate::guard::CorrelationId;
use crate::job_stream::{Attachment, EventWriter, JobStream, Read};
use crate::routes::{KEEP_ALIVE_INTERVAL, loaded, stream_response};
use crate::shared::Shared;
use crate::validate;

/// `POST /v1/inference`.
pub(crate) async fn submit(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    WholeBody(body): WholeBody,
) -> Response {
    // A large body takes as long to read as to tokenize.
    let request = match tokio::task::spawn_blocking(move || validate::request(&body)).await {
        Ok(Ok(request)) => request,
        Ok(Err(errors)) => return bad_fields(errors),
        Err(_) => return Failure::new(ErrorCode::Internal, "the request broke its reader").respond(&correlation),
    };
    let is_stream = request.stream;
    match accept(&shared, request, &correlation).await {
        Ok(attachment) if is_stream => stream_response(event_body(attachment, 0)),
        Ok(attachment) => unary(attachment, &correlation).await,
        Err(failure) => failure.respond(&correlation),
    }
}

/// Everything that can be refused is refused here, before the first byte of a stream.
async fn accept(
    shared: &Arc<Shared>,
    request: InferenceRequest,
    correlation: &CorrelationId,
) -> Result<Attachment, Failure> {
    let accepted = Instant::now();
    let frontend = Arc::clone(&loaded(shared)?.frontend);
    let permit = Arc::clone(&shared.admission).try_acquire_owned().map_err(|_| Failure::queue_full())?;
    let parameters = parameters(&request)?;
    let job_id = request.job_id.clone();
    let stream = JobStream::new(request.attempt, Duration::from_millis(request.orphan_grace_ms));
    // Known before its prompt is read: a job can be cancelled from here on.
    shared.jobs.register(&job_id, &stream)?;
    let attachment = Attachment::submitter(Arc::clone(&stream));
    let writer = EventWriter::new(stream);
    // The permit goes along: a client that leaves meanwhile does not make room for more of the same work.
    let work = move || (tokenize(&frontend, request), permit);
    let (prompt, permit) = shared.read_text(work).await?;
    let prompt = prompt.inspect_err(|failure| writer.write(&failure.clone().into_event(0)))?;
    tracing::info!(job = %job_id, correlation = %correlation.0, prompt_tokens = prompt.len(), "job accepted");
    let job = Job { id: job_id, prompt, parameters, writer, accepted, _permit: permit };
    // The channel has room for every permit; it is closed only when the worker ends.
    let sent = shared.commands.try_send(Command::Generate(Box::new(job)));
    sent.map_err(|_| Failure::new(ErrorCode::Draining, "the worker is shutting down"))?;
    Ok(attachment)
}

fn parameters(request: &InferenceRequest) -> Result<GenerationParameters, Failure> {
    let seed = match request.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?,
    };
    Ok(GenerationParameters {
        sampling: SamplingParameters {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            repetition_penalty: request.repetition_penalty,
            seed,
        },
        max_tokens: request.max_tokens,
        stop: request.stop.clone(),
    })
}

fn tokenize(frontend: &Frontend, request: InferenceRequest) -> Result<Vec<TokenId>, Failure> {
    let of_message = |message: Message| ChatMessage { role: message.role, content: message.content };
    let tokens = match (request.prompt, request.messages) {
        (Some(prompt), _) => frontend.encode(&prompt),
        (None, messages) => {
            frontend.encode_chat(&messages.unwrap_or_default().into_iter().map(of_message).collect::<Vec<_>>())
        }
    }?;
    frontend.check_length(&tokens, request.max_tokens)?;
    Ok(tokens)
}

/// Where a response stands in the events of its job.
enum Cursor {
    At(Attachment, u64),
    Done,
    End,
}

/// The frames of a job from `cursor` on, up to `[DONE]`. Dropping the body drops the attachment.
fn event_body(attachment: Attachment, cursor: u64) -> Body {
    Body::from_stream(stream::unfold(Cursor::At(attachment, cursor), |cursor| async {
        let (frames, next) = match cursor {
            Cursor::At(attachment, cursor) => next_frames(attachment, cursor).await,
            Cursor::Done => (sse::encode(None, DONE), Cursor::End),
            Cursor::End => return None,
        };
        Some((Ok::<_, std::convert::Infallible>(frames), next))
    }))
}

async fn next_frames(attachment: Attachment, cursor: u64) -> (String, Cursor) {
    // What was handed out before is with the connection now: it asks for more.
    attachment.advance(cursor);
    match wait(attachment.stream(), cursor).await {
        Some(Read::Events(events)) => {
            let frames: String = events.iter().map(|event| sse::encode(Some(&event.id), &event.json)).collect();
            let next = cursor + events.len() as u64;
            (frames, Cursor::At(attachment, next))
        }
        Some(Read::Done) => (String::new(), Cursor::Done),
        Some(Read::Lost) => {
            // Of this reader's own making: the job and its other readers go on.
            let failure = Failure::new(ErrorCode::OffsetLost, "events were lost: the client read too slowly");
            let json = serde_json::to_string(&failure.into_event(0)).unwrap_or_default();
            let id = EventId { attempt: attachment.stream().attempt(), sequence: cursor };
            (sse::encode(Some(&id), &json), Cursor::Done)
        }
        Some(Read::Pending) | None => (sse::KEEP_ALIVE.to_owned(), Cursor::At(attachment, cursor)),
    }
}

/// What is at `cursor` once there is something, or nothing after the keep-alive interval.
async fn wait(stream: &JobStream, cursor: u64) -> Option<Read> {
    let deadline = tokio::time::Instant::now() + KEEP_ALIVE_INTERVAL;
    loop {
        let changed = std::pin::pin!(stream.changed());
        let mut changed = changed;
        // Registered before the look, so that a change between look and wait is not missed.
        changed.as_mut().enable();
        match stream.read(cursor) {
            Read::Pending => tokio::time::timeout_at(deadline, changed).await.ok()?,
            found @ (Read::Events(_) | Read::Done | Read::Lost) => return Some(found),
        }
    }
}

/// One answer instead of a stream. Dropping the future, which is what a closed connection does, cancels the job.
async fn unary(attachment: Attachment, correlation: &CorrelationId) -> Response {
    let (mut cursor, mut text, mut started) = (0, String::new(), None);
    loop {
        attachment.advance(cursor);
        let events = match wait(attachment.stream(), cursor).await {
            Some(Read::Events(events)) => events,
            Some(Read::Pending) | None => continue,
            Some(Read::Done | Read::Lost) => {
                return Failure::new(ErrorCode::Internal, "the job ended without an answer").respond(correlation);
            }
        };
        cursor += events.len() as u64;
        for event in events {
            match serde_json::from_str(&event.json) {
                Ok(Event::Started(event)) => started = Some(event),
                Ok(Event::Token(token)) => text.push_str(&token.t),
                Ok(Event::Error(error)) => return Failure::new(error.code, error.message).respond(correlation),
                Ok(Event::End(end)) if end.stop_reason == StopReason::Cancelled => {
                    return Failure::new(ErrorCode::Cancelled, "the job was cancelled").respond(correlation);
                }
                Ok(Event::End(end)) => {
                    let Some(started) = started else { break };
                    return Json(InferenceAnswer { text, started, end }).into_response();
                }
                Ok(Event::Queued(_) | Event::Metrics(_) | Event::Narration(_)) | Err(_) => {}
            }
        }
    }
}

/// `DELETE /v1/inference/{job_id}`: 204 whether or not the job is known.
pub(crate) async fn cancel(State(shared): State<Arc<Shared>>, JobPath(id): JobPath) -> StatusCode {
    shared.jobs.cancel(&id);
    StatusCode::NO_CONTENT
}

/// `GET /v1/inference/{job_id}/events`: the stream from after `Last-Event-ID`, or from its beginning.
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Response {
    match follow(&shared, &id, headers.get("last-event-id").map(|value| value.as_bytes())) {
        Ok((attachment, cursor)) => stream_response(event_body(attachment, cursor)),
        Err(failure) => failure.respond(&correlation),
    }
}

fn follow(shared: &Shared, id: &JobId, last_event_id: Option<&[u8]>) -> Result<(Attachment, u64), Failure> {
    let not_found = || Failure::new(ErrorCode::JobNotFound, format!("job `{id}` is not known, or its grace is over"));
    let stream = shared.jobs.find(id).ok_or_else(not_found)?;
    let cursor = match last_event_id {
        None => 0,
        Some(bytes) => {
            let parsed = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<EventId>().ok());
            let bad = || Failure::new(ErrorCode::InvalidParams, "Last-Event-ID is not an event of this job");
            let last = parsed.filter(|id| id.attempt == stream.attempt()).ok_or_else(bad)?;
            last.sequence.checked_add(1).filter(|cursor| *cursor <= stream.next_sequence()).ok_or_else(bad)?
        }
    };
    if matches!(stream.read(cursor), Read::Lost) {
        return Err(Failure::new(ErrorCode::OffsetLost, "the events after Last-Event-ID are not kept any more"));
    }
    Ok((Attachment::follower(stream), cursor))
}
