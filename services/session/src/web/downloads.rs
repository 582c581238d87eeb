//! Artifacts by digest: `/artifacts/<sha-256 in hex>/<any name>`, and their descriptors under the name with `.dd`.
//!
//! An address never changes its content, so a validator is the digest itself and a download can be resumed on
//! any front-end.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use service_kit::{
    admission::{Admission, Caller},
    metrics::{DownloadResult, SessionMetrics, Shed},
};
use storage::{ArtifactMeta, ArtifactStore, TenantId};

use super::{
    descriptor,
    range::{self, Span},
    reply::{self, Answer, Reply},
    stream::{ArtifactStream, Part},
};
use crate::address::ArtifactAddress;

/// Serves artifacts.
pub(crate) struct Downloads {
    pub(crate) store: Arc<dyn ArtifactStore>,
    pub(crate) tenant: TenantId,
    pub(crate) slots: Admission,
    pub(crate) metrics: SessionMetrics,
    /// Without a trailing `/`.
    pub(crate) public_url: Arc<str>,
}

impl Downloads {
    /// Answers `GET` and `HEAD` of an artifact or its descriptor.
    pub(crate) async fn answer<B>(&self, request: &Request<B>, address: &ArtifactAddress<'_>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return reply::only("GET, HEAD");
        }
        let Ok(slot) = self.slots.try_enter(Caller::Admitted) else {
            self.metrics.shed(Shed::Downloads);
            return reply::later(self.slots.retry_after_seconds());
        };
        let meta = match self.store.meta(&self.tenant, &address.digest).await {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                self.metrics.download(DownloadResult::Refused);
                return reply::empty(StatusCode::NOT_FOUND);
            }
            Err(error) => {
                tracing::warn!(%error, "artifact's record could not be read");
                self.metrics.download(DownloadResult::Failed);
                self.metrics.shed(Shed::Unavailable);
                return reply::later(self.slots.retry_after_seconds());
            }
        };
        if let Some(name) = address.name.strip_suffix(".dd").filter(|_| !meta.name.ends_with(".dd")) {
            return self.describe(&meta, name);
        }
        let etag = format!("\"{}\"", address.hex);
        if let Some(answer) = precondition(request.headers(), &etag) {
            return answer;
        }
        let span = span(request, &etag, meta.size);
        let (first, length) = match span {
            Span::Whole => (0, meta.size),
            Span::Part { first, last } => (first, last - first + 1),
            Span::Unsatisfiable => {
                self.metrics.download(DownloadResult::Refused);
                return unsatisfiable(meta.size);
            }
        };
        let is_whole = span == Span::Whole;
        let body = if *request.method() == Method::HEAD {
            Reply::Whole(None)
        } else {
            let part =
                Part { tenant: self.tenant.clone(), digest: meta.digest, offset: first, length, is_whole };
            let stream = ArtifactStream::new(Arc::clone(&self.store), self.metrics.clone(), part, slot);
            Reply::Stream(Box::new(stream))
        };
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        describe_file(headers, &meta, &etag);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Span::Part { first, last } = span {
            let range = format!("bytes {first}-{last}/{}", meta.size);
            insert(headers, header::CONTENT_RANGE, &range);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        answer
    }

    fn describe(&self, meta: &ArtifactMeta, name: &str) -> Answer {
        let object = ArtifactAddress::format(&self.public_url, &meta.digest, name);
        let notify = format!("{}/dl-status/{}", self.public_url, crate::address::hex(&meta.digest));
        let text = descriptor::format(meta, &object, &notify);
        reply::whole(StatusCode::OK, descriptor::MEDIA_TYPE, Bytes::from(text))
    }
}

/// The part that is asked for; a range holds only for the file that the client has begun (RFC 9110, section 13.1.5).
fn span<B>(request: &Request<B>, etag: &str, size: u64) -> Span {
    let headers = request.headers();
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Span::Whole;
    };
    let is_same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    if *request.method() == Method::GET && is_same { range::parse(range, size) } else { Span::Whole }
}

fn precondition(headers: &HeaderMap, etag: &str) -> Option<Answer> {
    if let Some(wanted) = headers.get(header::IF_MATCH)
        && !matches(wanted, etag)
    {
        return Some(reply::empty(StatusCode::PRECONDITION_FAILED));
    }
    if let Some(had) = headers.get(header::IF_NONE_MATCH)
        && matches(had, etag)
    {
        let mut answer = Response::new(Reply::Whole(None));
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        insert(answer.headers_mut(), header::ETAG, etag);
        return Some(answer);
    }
    None
}

fn matches(header: &HeaderValue, etag: &str) -> bool {
    let tags = header.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn describe_file(headers: &mut HeaderMap, meta: &ArtifactMeta, etag: &str) {
    let digest = STANDARD.encode(meta.digest);
    insert(headers, header::CONTENT_TYPE, &meta.media_type);
    insert(headers, header::ETAG, etag);
    // The new name (RFC 9530) and the one that older clients know (RFC 3230).
    insert(headers, header::HeaderName::from_static("repr-digest"), &format!("sha-256=:{digest}:"));
    insert(headers, header::HeaderName::from_static("digest"), &format!("SHA-256={digest}"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A proxy that recompresses would break the device's check of the digest.
    let cache = HeaderValue::from_static("private, no-transform, max-age=86400, immutable");
    headers.insert(header::CACHE_CONTROL, cache);
}

fn unsatisfiable(size: u64) -> Answer {
    let mut answer = reply::empty(StatusCode::RANGE_NOT_SATISFIABLE);
    insert(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
    answer
}

/// Values of an artifact's record were typed by somebody: one that no header can carry is left out.
fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
