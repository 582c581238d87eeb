//! What the roles of a process work on. Only here a backend has a name: everything else sees the traits.

mod cluster;
mod embedded;

use std::sync::Arc;

pub(crate) use cluster::CONSUMER_GROUPS;
use futures_util::future::BoxFuture;
use service_kit::{
    Health, Metrics, Settings, Shutdown,
    settings::{Role, StorageBackend},
};
use storage::{Collector, KeyRing, Ownership, Stores, backup::BackUp};

/// Opened stores, and what has to run beside the roles.
pub(crate) struct Backend {
    /// `None` where no role of the process works on stores: then nothing that they are on is connected to.
    pub(crate) work: Option<Work>,
    /// Looks after stored trees.
    pub(crate) collector: Arc<dyn Collector>,
    /// Runs until the end is asked for: with a name for when it fails.
    pub(crate) beside: Vec<(&'static str, BoxFuture<'static, anyhow::Result<()>>)>,
    /// Awaited when all of it has ended.
    pub(crate) ended: BoxFuture<'static, ()>,
}

/// What roles work on.
pub(crate) struct Work {
    pub(crate) stores: Stores,
    pub(crate) keys: KeyRing,
    /// Which campaigns are this process's.
    pub(crate) ownership: Arc<dyn Ownership>,
    /// The whole store, where it can be copied as such.
    pub(crate) backup: Option<Arc<dyn BackUp>>,
}

/// What opening needs to know.
pub(crate) struct Opening<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) roles: &'a [Role],
    pub(crate) health: &'a Health,
    pub(crate) metrics: &'a Metrics,
    pub(crate) shutdown: &'a Shutdown,
}

impl Backend {
    /// Opens what the settings name. A server that is away is waited for; `None` when the end was asked for meanwhile.
    pub(crate) async fn open(opening: &Opening<'_>) -> anyhow::Result<Option<Self>> {
        match opening.settings.storage.backend {
            StorageBackend::Embedded => embedded::open(opening).await.map(Some),
            StorageBackend::Cluster => cluster::open(opening).await,
        }
    }
}

/// Only what looks after stored trees, for a command beside the servers.
pub(crate) async fn open_collector(settings: &Settings) -> anyhow::Result<Arc<dyn Collector>> {
    match settings.storage.backend {
        StorageBackend::Embedded => embedded::open_collector(settings).await,
        StorageBackend::Cluster => cluster::open_collector(settings).await,
    }
}

/// Reads the key file again when it changes, so that every process opens what another seals with a new key.
fn keep_keys_fresh(keys: KeyRing, opening: &Opening<'_>) -> BoxFuture<'static, anyhow::Result<()>> {
    let (period, shutdown) = (opening.settings.secrets.reload_period.value(), opening.shutdown.clone());
    Box::pin(async move {
        loop {
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = tokio::time::sleep(period) => {}
            }
            let reading = keys.clone();
            match tokio::task::spawn_blocking(move || reading.reload()).await? {
                Ok(true) => tracing::info!(keys = ?keys.ids(), "the key file has other keys now"),
                Ok(false) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the key file cannot be used, going on with the keys of before");
                }
            }
        }
    })
}
