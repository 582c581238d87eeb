//! A small listener for health and metrics.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use super::{Health, NotReady};
use crate::{Metrics, tls::ListenerTls};

/// Connections at once: probes and a scraper or two.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last, whatever comes and goes on it: who drips octets holds a slot no longer, so that the
/// next probe finds one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest header that is read.
const HEADER_BYTES_MAX: usize = 8 * 1024;

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
        let Ok((stream, _)) = accepted else {
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
                    None => answer(stream, &health, metrics.as_ref()).await,
                    Some(tls) => {
                        if let Ok((stream, _)) = tls.accept(stream).await {
                            answer(stream, &health, metrics.as_ref()).await;
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
    health: &Health,
    metrics: Option<&Metrics>,
) {
    let answer = service_fn(|request| std::future::ready(respond(&request, health, metrics)));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        // One answer a connection: nothing has to be drained at the end.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn respond(
    request: &Request<Incoming>,
    health: &Health,
    metrics: Option<&Metrics>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let page = if request.method() == Method::GET || request.method() == Method::HEAD {
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
