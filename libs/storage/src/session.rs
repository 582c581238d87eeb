//! Sessions in flight.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Revision, SessionKey, StoreError, Versioned};

/// Keeps the record of each session between its messages.
///
/// Records are opaque here and carry their own version. A session lost with the store starts again by
/// itself, so this store may forget when its machine dies; it does not forget when its process is killed.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// The record, if the session is known and has not expired.
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError>;

    /// Writes the record if nobody has since `expected` (`None`: if there is none), to be kept for `keep`.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Conflict`] when someone has; nothing was written then.
    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError>;
}
