//! The routes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use http::{HeaderValue, Method};
use service_kit::http::Peer;

use crate::{
    Problem, artifacts, backup, body, campaigns, devices,
    guard::{Guard, guard},
    health, log_level, secrets,
    state::App,
};

/// All routes. Health is open; everything else asks for the token, where there is one. Content that is awaited must not
/// stand still for longer than `stall_timeout`.
pub(crate) fn routes(app: App, keeper: Arc<Guard>, stall_timeout: Duration) -> Router {
    let guarded = Router::new()
        .route("/v1/devices", get(devices::list).post(devices::add))
        .route("/v1/devices/bulk", post(devices::add_bulk))
        .route("/v1/devices/{id}", get(devices::show))
        .route("/v1/devices/{id}/tags", put(devices::put_tags))
        .route("/v1/devices/{id}/credentials", put(devices::put_credentials))
        .route("/v1/devices/{id}/notify-address", put(devices::put_notify_address))
        .route("/v1/devices/{id}/tree", get(devices::tree))
        .route("/v1/devices/{id}/history", get(devices::history))
        .route("/v1/devices/{id}/diff", get(devices::diff))
        .route("/v1/artifacts", get(artifacts::list).post(artifacts::add))
        .route("/v1/artifacts/{digest}", get(artifacts::show))
        .route("/v1/devices/{id}/explain", get(campaigns::explain))
        .route("/v1/campaigns", get(campaigns::list).post(campaigns::create))
        .route("/v1/campaigns/preview", post(campaigns::preview))
        .route("/v1/campaigns/{id}", get(campaigns::show))
        .route("/v1/campaigns/{id}/preview", get(campaigns::preview_of))
        .route("/v1/campaigns/{id}/start", post(campaigns::start))
        .route("/v1/campaigns/{id}/pause", post(campaigns::pause))
        .route("/v1/campaigns/{id}/resume", post(campaigns::resume))
        .route("/v1/campaigns/{id}/stop", post(campaigns::stop))
        .route("/v1/campaigns/{id}/devices", get(campaigns::devices))
        .route("/v1/campaigns/{id}/events", get(campaigns::events))
        .route("/v1/campaigns/{id}/watch", get(campaigns::watch))
        .route("/v1/campaigns/{id}/verify", post(campaigns::verify))
        .route("/v1/secrets", get(secrets::status))
        .route("/v1/secrets/rotate", post(secrets::rotate))
        .route("/v1/log-level", get(log_level::show).put(log_level::change).delete(log_level::reset))
        .route("/v1/backup", get(backup::back_up))
        .route("/metrics", get(health::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Every handler bounds what it reads by itself.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(stall_timeout, body::guard))
        .layer(middleware::from_fn_with_state(keeper, guard));
    Router::new()
        .route("/health/livez", get(health::live))
        .route("/health/servez", get(health::serving))
        .route("/health/readyz", get(health::ready))
        .merge(guarded)
        .layer(middleware::from_fn_with_state(RequestIds::default(), identify))
        .with_state(app)
}

async fn unknown_route(request: Request) -> Problem {
    Problem::not_found(format!("no route {}", request.uri().path()))
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::method_not_allowed(&method)
}

/// Gives each request an id: a random part of the process and a counter.
#[derive(Clone)]
struct RequestIds {
    prefix: u64,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let mut octets = [0; 8];
        // Without randomness ids are unique only within the process, which a log line survives.
        let _ = getrandom::fill(&mut octets);
        Self { prefix: u64::from_le_bytes(octets), next: Arc::default() }
    }
}

/// Names every request, logs its outcome, and puts its id and path into a problem's body.
async fn identify(
    axum::extract::State(ids): axum::extract::State<RequestIds>,
    request: Request,
    next: Next,
) -> Response {
    let trace_id = format!("{:016x}{:016x}", ids.prefix, ids.next.fetch_add(1, Ordering::Relaxed));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().cloned();
    let mut response = next.run(request).await;
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        let headers = response.headers().clone();
        problem.body.instance = Some(path.clone());
        problem.body.trace_id = Some(trace_id.clone());
        response = problem.into_response();
        for (name, value) in &headers {
            // Such as Allow, which the router set.
            if !response.headers().contains_key(name) && name != http::header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let status = response.status().as_u16();
    // Who: the names of the certificate, where the listener asks for one.
    let certificate = peer.as_ref().and_then(|peer| peer.certificate.as_ref());
    let operator = certificate.map(|certificate| certificate.names().join(", "));
    let peer = peer.map(|peer| peer.address.to_string());
    if status >= 500 {
        tracing::error!(%method, path, status, trace_id, peer, operator, "admin request failed");
    } else {
        tracing::debug!(%method, path, status, trace_id, peer, operator, "admin request answered");
    }
    response
}
