//! Whether something moves on a connection.
//!
//! A timer for every header and every write would be armed and disarmed with each message. Instead octets are
//! counted as they pass, and one timer a connection looks at the counts now and then.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Limits;

/// Counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    octets_read: AtomicU64,
    octets_written: AtomicU64,
    requests_begun: AtomicU64,
    requests_done: AtomicU64,
    /// HTTP/2 sends frames between requests, so octets without a request are no header there.
    is_http2: AtomicBool,
}

impl Pulse {
    pub(super) fn begin_request(self: &Arc<Self>, version: Version) -> AtWork {
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.requests_begun.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }

    fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            octets_read: load(&self.octets_read),
            octets_written: load(&self.octets_written),
            requests_begun: load(&self.requests_begun),
            requests_done: load(&self.requests_done),
        }
    }
}

/// A request that is being answered.
pub(super) struct AtWork(Arc<Pulse>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.requests_done.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    octets_read: u64,
    octets_written: u64,
    requests_begun: u64,
    requests_done: u64,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Leave it.
    Alive,
    /// Nothing moved for the idle time: say good-bye.
    Idle,
    /// It hangs in a header, or did not take the good-bye: drop it.
    Stuck,
}

/// Looks at a pulse now and then.
#[derive(Debug)]
pub(super) struct Watch {
    period: Duration,
    idle_timeout: Duration,
    last: Counts,
    still_for: Duration,
    header_begun: bool,
    said_goodbye: bool,
}

impl Watch {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            period: limits.header_timeout.min(limits.idle_timeout),
            idle_timeout: limits.idle_timeout,
            last: Counts::default(),
            still_for: Duration::ZERO,
            header_begun: false,
            said_goodbye: false,
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// To be called every [`Self::period`].
    pub(super) fn look(&mut self, pulse: &Pulse) -> Verdict {
        let now = pulse.counts();
        let before = std::mem::replace(&mut self.last, now);
        if now == before {
            self.still_for += self.period;
        } else {
            self.still_for = Duration::ZERO;
            self.said_goodbye = false;
        }

        // Octets came, no request came of them, none is being answered and nothing is being sent: a header drips.
        let at_work = now.requests_begun != now.requests_done;
        let progressed =
            now.requests_begun != before.requests_begun || now.octets_written != before.octets_written;
        let was_begun = self.header_begun;
        if progressed || at_work || pulse.is_http2.load(Ordering::Relaxed) {
            self.header_begun = false;
        } else if now.octets_read != before.octets_read {
            self.header_begun = true;
        }
        if was_begun && self.header_begun {
            return Verdict::Stuck;
        }

        if self.still_for >= self.idle_timeout {
            if self.said_goodbye {
                return Verdict::Stuck;
            }
            self.said_goodbye = true;
            return Verdict::Idle;
        }
        Verdict::Alive
    }
}

/// A stream whose octets are counted.
#[derive(Debug)]
pub(super) struct Pulsing<S> {
    inner: S,
    pulse: Arc<Pulse>,
}

impl<S> Pulsing<S> {
    pub(super) fn new(inner: S, pulse: Arc<Pulse>) -> Self {
        Self { inner, pulse }
    }

    fn count_written(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(octets)) = result {
            self.pulse.octets_written.fetch_add(*octets as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pulsing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let octets = buf.filled().len() - before;
        if octets > 0 {
            self.pulse.octets_read.fetch_add(octets as u64, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pulsing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.count_written(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.count_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
