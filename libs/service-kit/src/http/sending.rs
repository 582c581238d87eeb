//! A body whose sending is watched.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf as _;
use hyper::body::{Body, Frame, SizeHint};

use super::pulse::Pulse;

/// Counts what is taken out of a body, and when it is done with.
pub(super) struct Sending<B> {
    body: B,
    pulse: Arc<Pulse>,
}

impl<B> Sending<B> {
    pub(super) fn new(body: B, pulse: Arc<Pulse>) -> Self {
        pulse.begin_body();
        Self { body, pulse }
    }
}

impl<B: Body + Unpin> Body for Sending<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.pulse.body_octets(data.remaining());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        self.pulse.end_body();
    }
}
