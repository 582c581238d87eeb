//! A session store that takes its time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use storage::{Revision, SessionKey, SessionStore, StoreError, Versioned};

/// Each load takes `delay` longer.
pub struct SlowSessions {
    pub inner: Arc<dyn SessionStore>,
    pub delay: Duration,
}

#[async_trait]
impl SessionStore for SlowSessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        tokio::time::sleep(self.delay).await;
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
