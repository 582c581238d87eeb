#![doc = include_str!("../README.md")]

mod address;
mod engine;
mod web;

use std::{net::SocketAddr, sync::Arc};

use service_kit::{
    Metrics, Settings, Shutdown,
    http::{Limits, Server},
    metrics::SessionMetrics,
    tls::{HTTP_2_AND_1, ListenerTls, RELOAD_PERIOD, TlsError},
};
use tokio::net::TcpListener;

pub use address::{DM_PATH, artifact_url};
pub use engine::{Engine, EngineSettings, Entropy, Received, StepError, Stepped};
pub use storage::Stores;

/// Why the front-end could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The listener does not say where it listens.
    #[error("could not find out the address listened on")]
    Listener(#[source] std::io::Error),
}

/// What the settings say of devices' TLS; `None` where they come without.
///
/// # Errors
///
/// [`TlsError`] when the files do not hold what they should.
pub fn open_tls(settings: &Settings) -> Result<Option<Arc<ListenerTls>>, TlsError> {
    ListenerTls::open(&settings.tls.listener(), HTTP_2_AND_1)
}

/// Serves devices on `listener`, over `tls` where it is given, until the end is asked for and all requests in hand are answered.
///
/// # Errors
///
/// [`RunError`] before anything is served; after that, what goes wrong is logged and answered.
pub async fn run(
    settings: &Settings,
    stores: Stores,
    listener: TcpListener,
    tls: Option<Arc<ListenerTls>>,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let address = listener.local_addr().map_err(RunError::Listener)?;
    let public_url = public_url(settings, address, tls.is_some());
    if let Some(tls) = &tls {
        tls.show(metrics, "session");
    }
    let metrics = SessionMetrics::new(metrics);
    let (artifacts, limits) = (Arc::clone(&stores.artifacts), Arc::clone(&stores.limits));
    let engine = Engine::new(&EngineSettings::new(settings, &public_url), stores, metrics.clone());
    let front = web::Front::new(settings, engine, artifacts, limits, metrics.clone(), &public_url);
    tracing::info!(%address, public_url, tls = tls.is_some(), "serving devices");

    let server = Server {
        listener,
        tls: tls.clone(),
        limits: Limits::from(&settings.session),
        metrics: metrics.listener,
        shutdown: shutdown.clone(),
    };
    let keep_fresh = async {
        if let Some(tls) = tls {
            tls.keep_fresh(RELOAD_PERIOD, shutdown).await;
        }
    };
    let serve = server.run(move |request, peer| Arc::clone(&front).answer(request, peer));
    tokio::join!(serve, keep_fresh);
    Ok(())
}

/// What devices are told: the settings' word, or the address listened on.
fn public_url(settings: &Settings, address: SocketAddr, is_tls: bool) -> String {
    if let Some(url) = &settings.session.public_url {
        return url.as_str().to_owned();
    }
    let scheme = if is_tls { "https" } else { "http" };
    if address.ip().is_unspecified() {
        tracing::warn!("session.public_url is not set: devices are told to come to this machine's loopback");
        return format!("{scheme}://127.0.0.1:{}", address.port());
    }
    format!("{scheme}://{address}")
}
