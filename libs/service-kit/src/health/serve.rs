//! A small listener for health and metrics.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use super::{Health, NotReady};
use crate::{
    Metrics,
    telemetry::{LevelError, log_level},
    tls::ListenerTls,
};

/// Connections at once: probes and a scraper or two.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last, whatever comes and goes on it: who drips octets holds a slot no longer, so that the
/// next probe finds one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest header that is read.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Octets of a wish for another log level.
const WISH_MAX: usize = 4096;
/// Where the log level is asked for and changed, as on the admin listener.
const LOG_LEVEL: &str = "/v1/log-level";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: String,
}

/// The answer to a `GET` of `path`: 503 for what is not known while the process starts or drains. `metrics` is `None` where nobody may see them without a token.
pub fn page(path: &str, health: &Health, metrics: Option<&Metrics>) -> Page {
    let (status, media_type, text) = match (path, metrics) {
        ("/health/livez", _) => (StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
        ("/health/servez", _) => verdict(health.serving()),
        ("/health/readyz", _) => verdict(health.ready()),
        ("/metrics", Some(metrics)) => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.expose())
        }
        // What there will be is not known before the start is over.
        _ if health.serving().is_err() => verdict(health.serving()),
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found\n".to_owned()),
    };
    Page { status, media_type, text }
}

fn verdict(verdict: Result<(), NotReady>) -> (StatusCode, &'static str, String) {
    let (status, text) = match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(not_ready) => {
            let lines = not_ready.reasons().iter().map(|reason| format!("{reason}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    };
    (status, "text/plain; charset=utf-8", text)
}

/// Answers `GET /health/livez`, `/health/servez`, `/health/readyz` and, where they are given, `/metrics` on `listener`
/// until `until` completes.
pub async fn serve(
    listener: &TcpListener,
    tls: Option<&Arc<ListenerTls>>,
    health: &Health,
    metrics: Option<&Metrics>,
    until: impl Future,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut until = pin!(until);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut until => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Whoever finds no slot is closed: a probe asks again.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (tls, health, metrics) = (tls.cloned(), health.clone(), metrics.cloned());
        tokio::spawn(async move {
            // A peer that breaks off hears no answer, and nobody is told.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, async {
                match tls {
                    None => answer(stream, peer, &health, metrics.as_ref()).await,
                    Some(tls) => {
                        if let Ok((stream, _)) = tls.accept(stream).await {
                            answer(stream, peer, &health, metrics.as_ref()).await;
                        }
                    }
                }
            })
            .await;
            drop(slot);
        });
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    health: &Health,
    metrics: Option<&Metrics>,
) {
    let answer = service_fn(|request| respond(request, peer, health, metrics));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        // One answer a connection: nothing has to be drained at the end.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    health: &Health,
    metrics: Option<&Metrics>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // Only where the metrics are: on the admin listener the log level is behind the token too.
    let page = if request.uri().path() == LOG_LEVEL && metrics.is_some() {
        change_level(request, peer).await
    } else if request.method() == Method::GET || request.method() == Method::HEAD {
        page(request.uri().path(), health, metrics)
    } else {
        let text = "expected GET\n".to_owned();
        Page { status: StatusCode::METHOD_NOT_ALLOWED, media_type: "text/plain; charset=utf-8", text }
    };
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() = page.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(page.media_type));
    Ok(response)
}

/// The level of logs, for whoever is on this machine, or in this container: the listener asks for no token. A page in a
/// browser on this machine cannot ask, as it would come under another name of host, or ask for leave by OPTIONS first.
async fn change_level(request: Request<Incoming>, peer: SocketAddr) -> Page {
    let text = |status, text: String| Page { status, media_type: "text/plain; charset=utf-8", text };
    if !peer.ip().to_canonical().is_loopback() || !names_loopback(&request) {
        let from_here = "expected a caller on this machine, by a loopback address\n";
        return text(StatusCode::FORBIDDEN, from_here.to_owned());
    }
    let Some(log_level) = log_level() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "logs have not begun\n".to_owned());
    };
    let changed = match *request.method() {
        Method::GET => Ok(log_level.now()),
        Method::DELETE => log_level.reset(),
        Method::PUT => {
            let body = Limited::new(request.into_body(), WISH_MAX).collect();
            let body = tokio::time::timeout(CONNECTION_TIMEOUT, body).await;
            let Ok(Ok(body)) = body else {
                return text(StatusCode::BAD_REQUEST, "expected a small JSON object\n".to_owned());
            };
            match serde_json::from_slice(&body.to_bytes()) {
                Ok(wish) => log_level.grant(&wish),
                Err(error) => Err(LevelError::Refused(error.to_string())),
            }
        }
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, "expected GET, PUT or DELETE\n".to_owned()),
    };
    match changed {
        Ok(level) => {
            let text = serde_json::to_string(&level).unwrap_or_default() + "\n";
            Page { status: StatusCode::OK, media_type: "application/json", text }
        }
        Err(error @ LevelError::Refused(_)) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// The request was made to a loopback address, and not to a name that somebody made lead there.
fn names_loopback(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<::http::uri::Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
