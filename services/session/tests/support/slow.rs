//! A session store that does not answer until it is let.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use storage::{Revision, SessionKey, SessionStore, StoreError, Versioned};
use tokio::sync::Semaphore;

/// Each load waits until there is a permit. A semaphore that gets none is a store that hangs.
pub struct HeldSessions {
    pub inner: Arc<dyn SessionStore>,
    pub gate: Arc<Semaphore>,
}

#[async_trait]
impl SessionStore for HeldSessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        let _permit = self.gate.acquire().await;
        self.inner.load(key).await
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        self.inner.put(key, expected, record, keep).await
    }
}
