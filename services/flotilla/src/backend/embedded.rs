//! Everything in one data directory.

use std::sync::Arc;

use storage::{Embedded, OwnsAll, Stores};

use super::{Backend, Opening, keep_keys_fresh};

/// Opens the data directory.
pub(super) async fn open(opening: &Opening<'_>) -> anyhow::Result<Backend> {
    let data = opening.settings.storage.data.clone();
    let key_file = opening.settings.secrets.key_file.clone();
    let options = storage::embedded::Options { key_file, ..storage::embedded::Options::default() };
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&data, &options)).await??;
    let keys = opened.keys().clone();
    let beside = vec![("the key file's reader", keep_keys_fresh(keys.clone(), opening))];
    let collector = Arc::new(opened.clone());
    Ok(Backend {
        stores: Stores::of(opened),
        keys,
        ownership: Arc::new(OwnsAll),
        collector,
        beside,
        ended: Box::pin(std::future::ready(())),
    })
}
