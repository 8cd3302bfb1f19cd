//! `POST /tokenize` and `/detokenize`: ids ⇄ text.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::Frontend;
use protocol::error::ErrorCode;
use protocol::inference::{Content, Tokens};

use crate::extract::WholeBody;
use crate::failure::Failure;
use crate::guard::CorrelationId;
use crate::routes::loaded;
use crate::shared::Shared;
use crate::validate::PROMPT_LIMIT_BYTES;

/// Text to ids.
pub(crate) async fn tokenize(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    WholeBody(body): WholeBody,
) -> Response {
    let work = |frontend: &Frontend, body: &[u8]| {
        let Content { content } = parse(body)?;
        if content.len() > PROMPT_LIMIT_BYTES {
            let message = format!("`content` must be at most {PROMPT_LIMIT_BYTES} bytes");
            return Err(Failure::new(ErrorCode::PayloadTooLarge, message));
        }
        let tokens = if content.is_empty() { Vec::new() } else { frontend.encode(&content)? };
        Ok(Tokens { tokens })
    };
    answer(&shared, body, work).await.map_or_else(|failure| failure.respond(&correlation), Json::into_response)
}

/// Ids to text.
pub(crate) async fn detokenize(
    State(shared): State<Arc<Shared>>,
    Extension(correlation): Extension<CorrelationId>,
    WholeBody(body): WholeBody,
) -> Response {
    let work = |frontend: &Frontend, body: &[u8]| {
        let Tokens { tokens } = parse(body)?;
        Ok(Content { content: frontend.decode(&tokens) })
    };
    answer(&shared, body, work).await.map_or_else(|failure| failure.respond(&correlation), Json::into_response)
}

async fn answer<T: Send + 'static>(
    shared: &Shared,
    body: Bytes,
    work: impl FnOnce(&Frontend, &[u8]) -> Result<T, Failure> + Send + 'static,
) -> Result<Json<T>, Failure> {
    let frontend = Arc::clone(&loaded(shared)?.frontend);
    shared.read_text(move || work(&frontend, &body)).await?.map(Json)
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not what is expected, at line {} column {}", error.line(), error.column());
        Failure::new(ErrorCode::InvalidParams, message).hint("send {\"content\":\"text\"} or {\"tokens\":[1,2]}")
    })
}
