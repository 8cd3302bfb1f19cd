//! What every request passes first: correlation id, Host and Origin, API key.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use protocol::error::ErrorCode;
use protocol::worker::CORRELATION_HEADER;

use crate::failure::Failure;
use crate::shared::Shared;

/// Joins the log lines of one request across processes.
#[derive(Debug, Clone)]
pub(crate) struct CorrelationId(pub String);

impl CorrelationId {
    /// The id of a request that passed [`check`].
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self(String::new()))
    }
}

/// Longest correlation id that is taken from a client.
const CORRELATION_LIMIT_BYTES: usize = 128;

/// The middleware.
pub(crate) async fn check(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let correlation = CorrelationId(correlation_id(request.headers(), &shared));
    request.extensions_mut().insert(correlation.clone());
    let mut response = match admit(&request, &shared) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.respond(&correlation),
    };
    if let Ok(value) = HeaderValue::from_str(&correlation.0) {
        response.headers_mut().insert(CORRELATION_HEADER, value);
    }
    response
}

fn correlation_id(headers: &HeaderMap, shared: &Shared) -> String {
    let given = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
    let is_fit = |id: &&str| !id.is_empty() && id.len() <= CORRELATION_LIMIT_BYTES;
    given.filter(is_fit).map_or_else(|| shared.new_correlation_id(), str::to_owned)
}

fn admit(request: &Request, shared: &Shared) -> Result<(), Failure> {
    let headers = request.headers();
    if !is_host_allowed(headers, request.uri(), shared) {
        return Err(Failure::new(ErrorCode::AdmissionReject, "the Host header names another server"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        // Another port is another site: a page of some local development server is not ours.
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        if origin.as_ref().and_then(Uri::authority) != authority_of(headers, request.uri()).as_ref() {
            return Err(Failure::new(ErrorCode::AdmissionReject, "requests from other origins are refused"));
        }
    }
    let Some(key) = &shared.settings.api_key else { return Ok(()) };
    // Health says nothing that a supervisor without the key must not see.
    if request.uri().path() == "/health" || has_key(headers, key) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Unauthorized, "the API key is missing or wrong")
        .hint("send `Authorization: Bearer KEY` with the worker's LLORCH_API_KEY"))
}

/// A page from another site reaches a loopback server under the site's own name (DNS rebinding), so the name is checked.
fn is_host_allowed(headers: &HeaderMap, uri: &Uri, shared: &Shared) -> bool {
    let is_single = headers.get_all(header::HOST).iter().nth(1).is_none();
    is_single && authority_of(headers, uri).is_some_and(|authority| is_own_name(authority.host(), shared))
}

/// The server as the client calls it: name and port.
fn authority_of(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    host.and_then(|host| host.parse().ok()).or_else(|| uri.authority().cloned())
}

fn is_own_name(host: &str, shared: &Shared) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let settings = &shared.settings;
    let is_advertised = settings.advertise.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(host));
    let is_address = host.parse::<IpAddr>().is_ok_and(|address| {
        // Bound to every address, a worker cannot know which of them a client used; a name it would have to be told.
        address.is_loopback() || address == settings.bind.ip() || settings.bind.ip().is_unspecified()
    });
    is_advertised || is_address || host.eq_ignore_ascii_case("localhost")
}

fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().map(HeaderValue::as_bytes);
    let given =
        value.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    values.next().is_none() && given.is_some_and(|(_, given)| is_equal_in_constant_time(given, key.as_bytes()))
}

/// Compares without stopping at the first difference. Only the length shows in the time.
fn is_equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0_u8, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}
