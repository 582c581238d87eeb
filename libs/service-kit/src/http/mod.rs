//! The serve loop: accepts connections within a bound, speaks HTTP/1.1 and HTTP/2, with TLS where there is a
//! certificate, watches that something moves on each, and drains them at the end.

mod pulse;
mod sending;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, fmt, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use ::http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

use self::{
    pulse::{Pulse, Pulsing, Verdict},
    sending::Sending,
};
use crate::{
    admission::{Admission, Caller, Slot},
    metrics::{Gauge, ListenerMetrics},
    settings::SessionSettings,
    shutdown::Shutdown,
    tls::{ClientCertificate, ListenerTls},
};

pub use self::pulse::Cut;

/// Connections that are being told to come later; more than these are closed without a word.
const TURNED_AWAY_MAX: usize = 256;
/// How long a connection that is told to come later may take to hear it.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest header that is read, and what a connection buffers. It may have 100 lines, which is what hyper allows.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Requests at once on one HTTP/2 connection. A device needs one; a proxy in front of many needs more.
const STREAMS_MAX: u32 = 64;
/// Octets of bodies that one HTTP/2 connection may have sent and nobody has read yet: what it can make us hold.
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// The same for one request of it.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Requests of an HTTP/2 connection that were reset before they were looked at, and ones that we reset; past it the
/// connection ends (rapid reset, CVE-2023-44487).
const RESETS_MAX: usize = 32;

/// What one listener allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections_max: usize,
    /// How long a request's header may take, and a TLS handshake. Looked at with this period, so a slow sender is
    /// cut off between one and two of it.
    pub header_timeout: Duration,
    /// How long nothing may move on a connection.
    pub idle_timeout: Duration,
    /// Octets a second that a peer takes of what is being sent, at least, over `idle_timeout`. Zero: as slow as it likes.
    pub send_rate_min: u64,
    /// The middle of the time that who finds no connection free is told to wait.
    pub retry_after: Duration,
    /// Speaks HTTP/2 too.
    pub http2: bool,
}

impl From<&SessionSettings> for Limits {
    fn from(settings: &SessionSettings) -> Self {
        Self {
            connections_max: settings.connections_max.as_usize(),
            header_timeout: settings.header_timeout.value(),
            idle_timeout: settings.idle_timeout.value(),
            send_rate_min: settings.send_rate_min.value(),
            retry_after: settings.retry_after.value(),
            http2: true,
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The certificate that it showed, which was checked; `None` where it showed none.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A listener and everything its connections share.
pub struct Server {
    /// Bound, and listening.
    pub listener: TcpListener,
    /// Speak TLS with this.
    pub tls: Option<Arc<ListenerTls>>,
    /// The bounds.
    pub limits: Limits,
    /// Where connections and refusals are counted.
    pub metrics: ListenerMetrics,
    /// Ends the loop.
    pub shutdown: Shutdown,
}

impl Server {
    /// Serves until the end is asked for and every connection is drained, or cut off. `handler` is called for each
    /// request, with the peer's address; it never fails: what goes wrong is a response too.
    pub async fn run<H, F, B>(self, handler: H)
    where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { listener, tls, limits, metrics, shutdown } = self;
        // Connections do not know whether they begin a session: each may have any slot.
        let slots = Admission::new(limits.connections_max, limits.retry_after);
        let turned_away = Admission::new(TURNED_AWAY_MAX, limits.retry_after);
        let connections = TaskTracker::new();
        let builder = builder(limits.http2);
        let context =
            Arc::new(Context { limits, shutdown: shutdown.clone(), builder, metrics: metrics.clone() });

        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = shutdown.draining() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, mostly: at once again would only spin.
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            match slots.try_enter(Caller::Admitted) {
                Ok(slot) => {
                    let open = Open::new(slot, &metrics.connections);
                    let (context, tls, handler) = (Arc::clone(&context), tls.clone(), handler.clone());
                    connections.spawn(async move {
                        let work = context.serve(stream, peer, tls, handler);
                        let _ = context.shutdown.until_cut(work).await;
                        drop(open);
                    });
                }
                Err(refused) => {
                    metrics.refused.increment();
                    // Without TLS's handshake nothing can be said, and a handshake is what we cannot afford.
                    if let (None, Ok(slot)) = (&tls, turned_away.try_enter(Caller::Admitted)) {
                        let seconds = refused.retry_after_seconds;
                        connections.spawn(async move {
                            let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, turn_away(stream, seconds)).await;
                            drop(slot);
                        });
                    }
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

/// An open connection, counted.
struct Open {
    _slot: Slot,
    gauge: Gauge,
}

impl Open {
    fn new(slot: Slot, gauge: &Gauge) -> Self {
        gauge.add(1);
        Self { _slot: slot, gauge: gauge.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.add(-1);
    }
}

struct Context {
    limits: Limits,
    shutdown: Shutdown,
    builder: auto::Builder<TokioExecutor>,
    metrics: ListenerMetrics,
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Our own watch looks after slow headers, without a timer for each request.
    builder.http1().header_read_timeout(None).max_buf_size(HEADER_BYTES_MAX).keep_alive(true);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(64 * 1024);
    if http2 { builder } else { builder.http1_only() }
}

impl Context {
    async fn serve<H, F, B>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<ListenerTls>>,
        handler: H,
    ) where
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // An answer is one small write; waiting for more to send with it only delays it.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.speak(stream, Peer { address, certificate: None }, handler).await;
        };
        match tokio::time::timeout(self.limits.header_timeout, tls.accept(stream)).await {
            Ok(Ok((stream, certificate))) => self.speak(stream, Peer { address, certificate }, handler).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %address, error = &error as &dyn std::error::Error, "TLS handshake failed");
            }
            Err(_) => {
                tls.count_timeout();
                tracing::debug!(peer = %address, "TLS handshake took too long");
            }
        }
    }

    async fn speak<S, H, F, B>(&self, stream: S, peer: Peer, handler: H)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let pulse = Arc::new(Pulse::default());
        let service = service_fn({
            let (pulse, peer) = (Arc::clone(&pulse), peer.clone());
            move |request: Request<Incoming>| {
                let at_work = pulse.begin_request(request.version());
                let answer = handler(request, peer.clone());
                let pulse = Arc::clone(&pulse);
                async move {
                    let response = answer.await.map(|body| Sending::new(body, pulse));
                    drop(at_work);
                    Ok::<_, Infallible>(response)
                }
            }
        });
        let io = TokioIo::new(Pulsing::new(stream, Arc::clone(&pulse)));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut watch = pulse::Watch::new(&self.limits);
        let mut is_draining = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "connection ended with an error");
                    }
                    return;
                }
                () = self.shutdown.draining(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep(watch.period()) => match watch.look(&pulse) {
                    Verdict::Alive => {}
                    Verdict::Idle => connection.as_mut().graceful_shutdown(),
                    Verdict::Stuck(cut) => {
                        self.metrics.cut(cut);
                        tracing::debug!(%peer, reason = cut.label(), "connection cut off");
                        return;
                    }
                },
            }
        }
    }
}

/// Answers 503 without reading a request.
async fn turn_away(mut stream: TcpStream, retry_after_seconds: u64) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {retry_after_seconds}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with octets unread would reset the connection, and the answer with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
