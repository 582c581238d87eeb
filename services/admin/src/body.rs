//! What every request's content keeps to, before a handler reads it.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::header::CONTENT_ENCODING;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::Problem;

/// Refuses content that is packed, since nothing here unpacks: a file would be kept as it came, and be the wrong one.
/// The others' must keep coming: a large file takes as long as it takes, but it moves.
pub(crate) async fn guard(
    State(stall_timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let coding = request.headers().get(CONTENT_ENCODING);
    if let Some(coding) = coding.filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_coding(coding.to_str().unwrap_or("something else")));
    }
    Ok(next.run(request.map(|body| Body::new(Moving::new(body, stall_timeout)))).await)
}

/// A body that fails when nothing comes of it for too long.
struct Moving {
    body: Body,
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_awaited: bool,
}

impl Moving {
    fn new(body: Body, timeout: Duration) -> Self {
        Self { body, timeout, timer: None, is_awaited: false }
    }
}

impl hyper::body::Body for Moving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.is_awaited = false;
            return Poll::Ready(frame);
        }
        // Most contents are there at once, and need no timer.
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.timeout)));
        // The time that a handler lets pass before it asks for more is not the sender's.
        if !std::mem::replace(&mut this.is_awaited, true) {
            timer.as_mut().reset(Instant::now() + this.timeout);
        }
        timer.as_mut().poll(cx).map(|()| {
            let text = format!("nothing came for {} s", this.timeout.as_secs());
            Some(Err(axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, text))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

    use super::*;

    /// One octet after each pause.
    fn dripping(pauses_s: &'static [u64]) -> Body {
        Body::from_stream(stream::iter(pauses_s).then(|pause| async move {
            tokio::time::sleep(Duration::from_secs(*pause)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_content_may_take_long_but_not_stand_still() {
        let read = |pauses| Moving::new(dripping(pauses), Duration::from_secs(60)).collect();
        let whole = read(&[0, 59, 59, 0, 59]).await.unwrap();
        assert_eq!(whole.to_bytes(), "xxxxx");
        let began = Instant::now();
        let error = read(&[1, 59, 3600]).await.unwrap_err();
        assert!(error.to_string().contains("nothing came for 60 s"), "{error}");
        assert_eq!(began.elapsed().as_secs(), 120);
    }
}
