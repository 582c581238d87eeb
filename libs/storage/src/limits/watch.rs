//! Failures, counted in the shared store, or in this process while that is away.

use std::{sync::Arc, time::Duration};

use super::{AttemptPolicy, Attempts, Away, LimitKey, LimitStore, MemoryLimits};
use crate::StoreError;

/// How long the store may take.
const CALL_MAX: Duration = Duration::from_millis(250);

/// Counts failures, come what may.
pub struct Watch {
    store: Arc<dyn LimitStore>,
    own: MemoryLimits,
    away: Away,
}

impl Watch {
    /// Over a store. `away` is called for each answer that this process's own count gives.
    pub fn new(store: Arc<dyn LimitStore>, away: Away) -> Self {
        Self { store, own: MemoryLimits::new(), away }
    }

    /// Surely no failure is known of anything.
    pub fn knows_no_failures(&self) -> bool {
        self.store.knows_no_failures() && self.own.knows_no_failures()
    }

    /// What is known of failures.
    pub async fn attempts(&self, key: &LimitKey) -> Attempts {
        self.call(self.store.attempts(key), self.own.attempts(key)).await
    }

    /// Counts a failure.
    pub async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Attempts {
        let attempts = self.call(self.store.fail(key, policy), self.own.fail(key, policy)).await;
        // This failure was one too many: the count begins anew behind a lock.
        if attempts.is_locked() && attempts.failures == 0 {
            let (scope, locked_s) = (key.scope.name(), attempts.locked_for.as_secs());
            tracing::warn!(scope, name = ?key.name, locked_s, "locked out after too many wrong credentials");
        }
        attempts
    }

    /// Remembers for `keep` that a login went well.
    pub async fn succeed(&self, key: &LimitKey, keep: Duration) {
        self.call(self.store.succeed(key, keep), self.own.succeed(key, keep)).await;
    }

    async fn call<T: Default>(
        &self,
        shared: impl Future<Output = Result<T, StoreError>>,
        own: impl Future<Output = Result<T, StoreError>>,
    ) -> T {
        if let Ok(Ok(answer)) = tokio::time::timeout(CALL_MAX, shared).await {
            return answer;
        }
        (self.away)();
        // Memory does not fail.
        own.await.unwrap_or_default()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
