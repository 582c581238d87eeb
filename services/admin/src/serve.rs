//! The listener: the serve loop that devices have too, with the bounds of an operators' side.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use service_kit::{
    Shutdown,
    http::{Limits, Peer, Server},
    metrics::ListenerMetrics,
    settings::{AdminSettings, LimitsSettings},
    tls::{ListenerTls, RELOAD_PERIOD},
};
use tokio::net::TcpListener;

use crate::{Services, Token, guard::Guard, router::routes, state::App};

/// How long who finds no connection free is told to wait. Operators are few, and free soon.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Serves the API on `listener` until the end is asked for, then lets the requests under way end, until they are
/// cut off. `token` is `None` where the settings ask for none, `tls` where the listener speaks none.
pub async fn run(
    settings: &AdminSettings,
    limits: &LimitsSettings,
    services: Services,
    token: Option<Token>,
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    shutdown: Shutdown,
) {
    let artifact_size_max = settings.artifact_bytes_max.value();
    let guard = Guard::new(settings, limits, &services, token);
    let metrics = ListenerMetrics::admin(&services.metrics);
    let app = App { services, artifact_size_max, shutdown: shutdown.clone() };
    let limits = Limits {
        connections_max: settings.connections_max.as_usize(),
        header_timeout: settings.header_timeout.value(),
        idle_timeout: settings.idle_timeout.value(),
        // Events are sent as they come, be it one an hour.
        send_rate_min: 0,
        retry_after: RETRY_AFTER,
        http2: false,
    };
    let routes = TowerToHyperService::new(routes(app, guard, limits.idle_timeout));
    let server = Server { listener, tls: tls.clone(), limits, metrics, shutdown: shutdown.clone() };
    let keep_fresh = async {
        if let Some(tls) = tls {
            tls.keep_fresh(RELOAD_PERIOD, shutdown).await;
        }
    };
    let serve = server.run(move |mut request: http::Request<Incoming>, peer: Peer| {
        request.extensions_mut().insert(peer);
        let answer = routes.call(request);
        async move {
            match answer.await {
                Ok(response) => Response::from(response),
                Err(never) => match never {},
            }
        }
    });
    tokio::join!(serve, keep_fresh);
}
