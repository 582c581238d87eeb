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
use crate::metrics::labels;

/// Octets of an answer that may be on their way between its body and the peer: a block that is read at once, and what
/// the connection buffers. A body that gives out nothing for as long as these take at the least rate is not being sent.
const UNDER_WAY_OCTETS: u64 = 256 * 1024;

labels! {
    /// Why a connection was cut off.
    Cut {
        /// A request's header dripped.
        Header = "header",
        /// Nothing moved, and it did not take the good-bye.
        Idle = "idle",
        /// It took what was sent to it too slowly.
        SlowReader = "slow-reader",
    }
}

/// Counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    octets_read: AtomicU64,
    octets_written: AtomicU64,
    requests_begun: AtomicU64,
    requests_done: AtomicU64,
    bodies_begun: AtomicU64,
    bodies_done: AtomicU64,
    body_octets: AtomicU64,
    /// HTTP/2 sends frames between requests, so octets without a request are no header there, and mean nothing.
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

    pub(super) fn begin_body(&self) {
        self.bodies_begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn body_octets(&self, octets: usize) {
        self.body_octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    pub(super) fn end_body(&self) {
        self.bodies_done.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            octets_read: load(&self.octets_read),
            octets_written: load(&self.octets_written),
            requests_begun: load(&self.requests_begun),
            requests_done: load(&self.requests_done),
            bodies_begun: load(&self.bodies_begun),
            bodies_done: load(&self.bodies_done),
            body_octets: load(&self.body_octets),
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
    bodies_begun: u64,
    bodies_done: u64,
    body_octets: u64,
}

impl Counts {
    /// A handler works. It bounds its own time.
    fn at_work(&self) -> bool {
        self.requests_begun != self.requests_done
    }

    /// A body is being sent.
    fn sending(&self) -> bool {
        self.bodies_begun != self.bodies_done
    }

    /// Nothing happened since `before` that was worth keeping the connection for. Frames of HTTP/2 that belong to no
    /// request, such as pings, are not: who only sends these is as idle as who sends nothing. Before the first request
    /// nobody knows yet which HTTP it is, and octets are as little worth in either.
    fn is_still(&self, before: &Self, is_http2: bool) -> bool {
        if self.at_work() {
            return false;
        }
        if (is_http2 || self.requests_begun == 0) && !self.sending() {
            let octets = Self { octets_read: 0, octets_written: 0, ..*self };
            return octets == Self { octets_read: 0, octets_written: 0, ..*before };
        }
        self == before
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Leave it.
    Alive,
    /// Nothing moved for the idle time: say good-bye.
    Idle,
    /// It hangs in a header, reads too slowly, or did not take the good-bye: drop it.
    Stuck(Cut),
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
    rate: Rate,
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
            rate: Rate { octets_per_second_min: limits.send_rate_min, ..Rate::default() },
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// To be called every [`Self::period`].
    pub(super) fn look(&mut self, pulse: &Pulse) -> Verdict {
        let now = pulse.counts();
        let before = std::mem::replace(&mut self.last, now);
        let is_http2 = pulse.is_http2.load(Ordering::Relaxed);
        if now.is_still(&before, is_http2) {
            self.still_for += self.period;
        } else {
            self.still_for = Duration::ZERO;
            self.said_goodbye = false;
        }

        // Octets came, no request came of them, none is being answered and nothing is being sent: a header drips.
        let progressed =
            now.requests_begun != before.requests_begun || now.octets_written != before.octets_written;
        let was_begun = self.header_begun;
        if progressed || now.at_work() || now.sending() || is_http2 {
            self.header_begun = false;
        } else if now.octets_read != before.octets_read {
            self.header_begun = true;
        }
        if was_begun && self.header_begun {
            return Verdict::Stuck(Cut::Header);
        }
        if self.rate.is_too_slow(&now, &before, self.period, self.idle_timeout) {
            return Verdict::Stuck(Cut::SlowReader);
        }

        if self.still_for >= self.idle_timeout {
            if self.said_goodbye {
                return Verdict::Stuck(Cut::Idle);
            }
            self.said_goodbye = true;
            return Verdict::Idle;
        }
        Verdict::Alive
    }
}

/// How fast the peer takes what is being sent.
#[derive(Debug, Default)]
struct Rate {
    /// Zero: any.
    octets_per_second_min: u64,
    sending_for: Duration,
    sent_octets: u64,
    body_still_for: Duration,
}

impl Rate {
    /// Whether one and the same body was being sent for all of `window`, and too few octets left meanwhile; or the body
    /// gave out nothing for so long that what leaves cannot be of it.
    fn is_too_slow(&mut self, now: &Counts, before: &Counts, period: Duration, window: Duration) -> bool {
        let goes_on = now.sending() && before.sending() && now.bodies_done == before.bodies_done;
        if self.octets_per_second_min == 0 || !goes_on {
            *self = Self { octets_per_second_min: self.octets_per_second_min, ..Self::default() };
            return false;
        }
        let least = |span: Duration| (self.octets_per_second_min as f64 * span.as_secs_f64()) as u64;
        self.body_still_for =
            if now.body_octets == before.body_octets { self.body_still_for + period } else { Duration::ZERO };
        if least(self.body_still_for) > UNDER_WAY_OCTETS.max(least(window)) {
            return true;
        }
        self.sending_for += period;
        self.sent_octets += now.octets_written - before.octets_written;
        if self.sending_for < window {
            return false;
        }
        let is_slow = self.sent_octets < least(self.sending_for);
        (self.sending_for, self.sent_octets) = (Duration::ZERO, 0);
        is_slow
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
