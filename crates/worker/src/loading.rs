//! `GET /v1/loading/progress`: how far the load is, as a stream that ends with it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use protocol::event::DONE;
use protocol::sse;
use tokio::sync::watch;

use crate::lifecycle::Phase;
use crate::routes::{KEEP_ALIVE_INTERVAL, stream_response};
use crate::shared::Shared;

enum Cursor {
    /// The current state is to be sent.
    Report(watch::Receiver<Phase>),
    /// A change is waited for.
    Wait(watch::Receiver<Phase>),
    Done,
    End,
}

/// The handler.
pub(crate) async fn progress(State(shared): State<Arc<Shared>>) -> Response {
    let frames = stream::unfold(Cursor::Report(shared.watch_phase()), |cursor| async {
        let (frame, next) = advance(cursor).await?;
        Some((Ok::<_, std::convert::Infallible>(frame), next))
    });
    stream_response(Body::from_stream(frames))
}

async fn advance(cursor: Cursor) -> Option<(String, Cursor)> {
    match cursor {
        Cursor::Report(mut phase) => {
            let state = phase.borrow_and_update().clone();
            let json = serde_json::to_string(&state.progress()).unwrap_or_default();
            let next = if matches!(state, Phase::Loading { .. }) { Cursor::Wait(phase) } else { Cursor::Done };
            Some((sse::encode(None, &json), next))
        }
        Cursor::Wait(mut phase) => match tokio::time::timeout(KEEP_ALIVE_INTERVAL, phase.changed()).await {
            Ok(_) => Some((String::new(), Cursor::Report(phase))),
            Err(_) => Some((sse::KEEP_ALIVE.to_owned(), Cursor::Wait(phase))),
        },
        Cursor::Done => Some((sse::encode(None, DONE), Cursor::End)),
        Cursor::End => None,
    }
}
