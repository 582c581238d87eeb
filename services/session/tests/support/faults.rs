//! Stores that fail at a chosen call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use storage::{Revision, SessionKey, SessionStore, StoreError, Versioned};

/// A session store whose next writes are refused, or done and reported lost.
pub struct FaultySessions {
    pub inner: Arc<dyn SessionStore>,
    pub refuse: AtomicUsize,
    pub lose: AtomicUsize,
    /// How long each load takes.
    pub delay: Duration,
}

impl FaultySessions {
    pub fn new(inner: Arc<dyn SessionStore>) -> Self {
        Self { inner, refuse: AtomicUsize::new(0), lose: AtomicUsize::new(0), delay: Duration::ZERO }
    }
}

fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl SessionStore for FaultySessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.inner.load(key).await
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        if take(&self.refuse) {
            return Err(StoreError::unavailable("put session", "refused by the test"));
        }
        let revision = self.inner.put(key, expected, record, keep).await?;
        if take(&self.lose) {
            return Err(StoreError::unavailable("put session", "done, and reported lost by the test"));
        }
        Ok(revision)
    }
}
