//! The listener: connections in, a bound on them, and a way to end.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use service_kit::{Shutdown, settings::AdminSettings};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use crate::{Services, Token, router::routes, state::App};

/// Connections at once; the next one waits in the listener's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long a request's head may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the listener rests after the system refused a connection (such as: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API on `listener` until the end is asked for, then lets the requests under way end, until they are
/// cut off. `token` is `None` where the settings ask for none.
pub async fn run(
    settings: &AdminSettings,
    services: Services,
    token: Option<Token>,
    listener: TcpListener,
    shutdown: Shutdown,
) {
    let artifact_size_max = settings.artifact_bytes_max.value();
    let routes = routes(App { services, artifact_size_max, shutdown: shutdown.clone() }, token);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.draining() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (routes, shutdown) = (routes.clone(), shutdown.clone());
        connections.spawn(async move {
            // Cut off or ended by itself: either way the slot is free.
            let _ = shutdown.until_cut(serve_connection(stream, routes, &shutdown)).await;
            drop(slot);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "could not accept an admin connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Router, shutdown: &Shutdown) {
    // Answers are small and whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection broke off");
    }
}
