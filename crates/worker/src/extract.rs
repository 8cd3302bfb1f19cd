//! What handlers take out of a request, with every refusal in the shape of design §4: code, message, correlation id.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use protocol::error::ErrorCode;
use protocol::identifiers::{IdentifierError, JobId};

use crate::failure::Failure;
use crate::guard::CorrelationId;
use crate::routes::BODY_LIMIT_BYTES;

/// The body as a whole.
pub(crate) struct WholeBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let correlation = CorrelationId::of(request.extensions());
        let too_large = || {
            let message = format!("the body is larger than {} MiB", BODY_LIMIT_BYTES >> 20);
            Failure::new(ErrorCode::PayloadTooLarge, message).respond(&correlation)
        };
        // Refused by what it announces, before it is sent.
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > BODY_LIMIT_BYTES) {
            return Err(too_large());
        }
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Failure::new(ErrorCode::InvalidParams, "the body could not be read to its end").respond(&correlation),
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
