//! What leaves: small bodies whole, artifacts block by block.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use storage::StoreError;

use super::stream::ArtifactStream;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Here it is, or was.
    Whole(Option<Bytes>),
    /// Read while it is sent.
    Stream(Box<ArtifactStream>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Stream(stream) => {
                stream.poll_block(cx).map(|block| block.map(|block| block.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_none(),
            Self::Stream(stream) => stream.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(body) => body.as_ref().map_or(0, |body| body.len() as u64),
            Self::Stream(stream) => stream.remaining(),
        })
    }
}

/// What the handlers answer.
pub(crate) type Answer = Response<Reply>;

/// An answer with nothing in it but its status.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Reply::Whole(None));
    *answer.status_mut() = status;
    // Old phones know where an answer ends only by its length, also where there is nothing.
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer for a person who looks at the traffic.
pub(crate) fn plain(status: StatusCode, text: String) -> Answer {
    whole(status, "text/plain; charset=utf-8", Bytes::from(text))
}

/// A small answer.
pub(crate) fn whole(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let length = HeaderValue::from(body.len());
    let mut answer = Response::new(Reply::Whole((!body.is_empty()).then_some(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Come again later.
pub(crate) fn later(retry_after_seconds: u64) -> Answer {
    let mut answer = empty(StatusCode::SERVICE_UNAVAILABLE);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    answer
}

/// Past a limit.
pub(crate) fn too_many(retry_after_seconds: u64) -> Answer {
    let mut answer = empty(StatusCode::TOO_MANY_REQUESTS);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    answer
}

/// Not this method.
pub(crate) fn only(allowed: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}
