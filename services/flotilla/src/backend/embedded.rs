//! Everything in one data directory.

use std::sync::Arc;

use service_kit::Settings;
use storage::{Collector, Embedded, OwnsAll, Stores};

use super::{Backend, Opening, Work, keep_keys_fresh};

/// Opens the data directory.
pub(super) async fn open(opening: &Opening<'_>) -> anyhow::Result<Backend> {
    let opened = open_store(opening.settings).await?;
    let keys = opened.keys().clone();
    let beside = vec![("the key file's reader", keep_keys_fresh(keys.clone(), opening))];
    let (collector, backup) = (Arc::new(opened.clone()), Some(Arc::new(opened.clone()) as _));
    Ok(Backend {
        work: Some(Work { stores: Stores::of(opened), keys, ownership: Arc::new(OwnsAll), backup }),
        collector,
        beside,
        ended: Box::pin(std::future::ready(())),
    })
}

/// Looks after the trees of a data directory that is there already.
pub(super) async fn open_collector(settings: &Settings) -> anyhow::Result<Arc<dyn Collector>> {
    let data = &settings.storage.data;
    anyhow::ensure!(Embedded::is_at(data), "there is no data directory {}", data.display());
    Ok(Arc::new(open_store(settings).await?))
}

async fn open_store(settings: &Settings) -> anyhow::Result<Embedded> {
    let data = settings.storage.data.clone();
    let key_file = settings.secrets.key_file.clone();
    let options = storage::embedded::Options { key_file, ..storage::embedded::Options::default() };
    Ok(tokio::task::spawn_blocking(move || Embedded::open(&data, &options)).await??)
}
