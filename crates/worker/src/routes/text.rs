//! `POST /tokenize` and `/detokenize`: ids ⇄ text.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use protocol::error::ErrorCode;
use protocol::inference::{Content, Tokens};

use crate::failure::Failure;
use crate::guard::CorrelationId;
use crate::routes::loaded;
use crate::shared::Shared;

/// Text to ids.
pub(crate) async fn tokenize(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    body: Bytes,
) -> Response {
    let answer = async {
        let frontend = Arc::clone(&loaded(&shared)?.frontend);
        let Content { content } = parse(&body)?;
        if content.is_empty() {
            return Ok(Tokens { tokens: Vec::new() });
        }
        let tokens = tokio::task::spawn_blocking(move || frontend.encode(&content)).await;
        let tokens = tokens.map_err(|_| Failure::new(ErrorCode::Internal, "the tokenizer panicked"))?;
        Ok(Tokens { tokens: tokens? })
    };
    respond(answer.await, &correlation)
}

/// Ids to text.
pub(crate) async fn detokenize(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    body: Bytes,
) -> Response {
    let answer = || {
        let loaded = loaded(&shared)?;
        let Tokens { tokens } = parse(&body)?;
        Ok(Content { content: loaded.frontend.decode(&tokens) })
    };
    respond(answer(), &correlation)
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not what is expected, at line {} column {}", error.line(), error.column());
        Failure::new(ErrorCode::InvalidParams, message).hint("send {\"content\":\"text\"} or {\"tokens\":[1,2]}")
    })
}

fn respond<T: serde::Serialize>(answer: Result<T, Failure>, correlation: &CorrelationId) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(failure) => failure.respond(correlation),
    }
}
