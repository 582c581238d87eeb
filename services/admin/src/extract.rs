//! What handlers take from a request, with errors that say where, what was expected and what came.

use axum::{
    extract::{FromRequestParts, Query, Request},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use crate::Problem;

/// Rows of a page where nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Most rows of a page.
const LIMIT_MAX: usize = 1000;
/// Octets of the largest content of a request that is not streamed.
pub(crate) const BODY_OCTETS_MAX: usize = 1 << 20;

/// The query of a request. Unknown parameters are refused where the type says so.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::invalid_text(rejection.body_text())),
        }
    }
}

/// `?limit=&cursor=`
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Paging {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Paging {
    /// From texts: beside other parameters of a query every value is one.
    pub(crate) fn from_text(limit: Option<&str>, cursor: Option<String>) -> Result<Self, Problem> {
        let limit = match limit.map(str::parse) {
            None => None,
            Some(Ok(limit)) => Some(limit),
            Some(Err(_)) => return Err(Problem::invalid("limit", "a number", format!("{limit:?}"))),
        };
        Ok(Self { limit, cursor })
    }

    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(limit) => Err(Problem::invalid("limit", format!("1 to {LIMIT_MAX}"), limit.to_string())),
        }
    }

    /// What [`cursor`] was made of.
    pub(crate) fn after(&self) -> Result<Option<String>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let octets = URL_SAFE_NO_PAD.decode(cursor).ok();
        match octets.and_then(|octets| String::from_utf8(octets).ok()) {
            Some(key) => Ok(Some(key)),
            None => Err(Problem::invalid("cursor", "the next_cursor of an earlier page", "something else")),
        }
    }
}

/// A cursor that stands after `key`.
pub(crate) fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The content of a request, whole and bounded.
pub(crate) async fn read_body(request: Request) -> Result<(HeaderMap, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    match Limited::new(body, BODY_OCTETS_MAX).collect().await {
        Ok(collected) => Ok((parts.headers, collected.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::too_large(format!("expected at most {BODY_OCTETS_MAX} octets of content")))
        }
        Err(error) => Err(Problem::invalid_text(format!("the content broke off: {error}"))),
    }
}

/// The JSON content of a request.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let (headers, content) = read_body(request).await?;
    match media_type(&headers) {
        "" | "application/json" => parse_json(&content),
        other => Err(Problem::unsupported_media_type("application/json", other)),
    }
}

/// The media type of the content, without parameters; empty where nothing is said.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// JSON text to a value; an error says which field, what was expected and what came. Whatever the API takes is an object.
pub(crate) fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // Else a list would be taken for an object's fields in their order.
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("line 1 column 1", "an object", "a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| json_problem(&error))?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => {
            let where_ = format!("line {} column {}", error.line(), error.column());
            Err(Problem::invalid(where_, "one JSON value", "more text after it"))
        }
    }
}

fn json_problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    let path = error.path().to_string();
    let message = inner.to_string();
    let position = format!(" at line {} column {}", inner.line(), inner.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let where_ = if path == "." { position.trim_start_matches(" at ").to_owned() } else { path };
    match message.split_once(", expected ") {
        Some((got, expected)) => Problem::invalid(where_, expected, got),
        None => {
            let mut problem = Problem::invalid_text(format!("{where_}: {message}"));
            problem.body.where_ = Some(where_);
            problem
        }
    }
}

/// An instant of a query: RFC 3339.
pub(crate) fn parse_instant(name: &str, text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|_| {
        let expected = "an RFC 3339 instant such as 2026-01-31T12:00:00Z";
        Problem::invalid(name, expected, format!("{text:?}"))
    })
}

/// Answers JSON with an `ETag`, or 304 where the client has it already.
pub(crate) fn json_with_etag<T: serde::Serialize>(headers: &HeaderMap, etag: &str, value: &T) -> Response {
    let tag = format!("\"{etag}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let etag_value = HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    if known.split(',').any(|known| known.trim() == tag) {
        return (http::StatusCode::NOT_MODIFIED, [(header::ETAG, etag_value)]).into_response();
    }
    ([(header::ETAG, etag_value)], axum::Json(value)).into_response()
}

/// Checks `If-Match` against the present tag; a request without it goes through.
pub(crate) fn check_if_match(headers: &HeaderMap, present: &str) -> Result<(), Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = value.to_str().unwrap_or_default();
    let present = format!("\"{present}\"");
    if wanted.trim() == "*" || wanted.split(',').any(|tag| tag.trim() == present) {
        return Ok(());
    }
    Err(Problem::precondition_failed(wanted, &present))
}

/// The `Idempotency-Key` of a request, bounded.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=128).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::invalid("Idempotency-Key", "1 to 128 visible characters", "something else")),
    }
}
