//! What handlers take out of a request, with every refusal in the shape of design §4: code, message, correlation id.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::response::Response;
use protocol::error::ErrorCode;
use protocol::identifiers::{IdentifierError, JobId};

use crate::failure::Failure;
use crate::guard::CorrelationId;

/// The body as a whole.
pub(crate) struct WholeBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let correlation = CorrelationId::of(request.extensions());
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            let is_too_large = rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            let failure = if is_too_large {
                Failure::new(ErrorCode::PayloadTooLarge, "the body is larger than 8 MiB")
            } else {
                Failure::new(ErrorCode::InvalidParams, "the body could not be read to its end")
            };
            failure.respond(&correlation)
        })
    }
}

/// The job that the path names.
pub(crate) struct JobPath(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let parsed = match &text {
            Ok(Path(text)) => text.parse().map_err(|error: IdentifierError| error.reason),
            Err(_) => Err("it is not UTF-8"),
        };
        parsed.map(Self).map_err(|reason| {
            let failure = Failure::new(ErrorCode::InvalidParams, format!("the job id is not one: {reason}"));
            failure.respond(&CorrelationId::of(&parts.extensions))
        })
    }
}
