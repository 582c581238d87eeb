//! Rates by address and by tenant, before a body is read.

use std::{net::SocketAddr, sync::Arc};

use http::HeaderMap;
use service_kit::{
    Settings,
    client::{ClientAddress, Proxies},
    metrics::{LimitMetrics, LimitedBy},
};
use storage::{
    LimitStore, TenantId,
    limits::{Claim, LimitKey, Limiter, Rate, Scope},
};

use super::reply::{self, Answer};

/// Knows clients, and how much they may ask for.
pub(super) struct Gate {
    proxies: Proxies,
    limiter: Limiter,
    per_address: Option<Rate>,
    per_tenant: Option<Rate>,
    tenant: TenantId,
    tenant_key: LimitKey,
    metrics: LimitMetrics,
}

impl Gate {
    pub(super) fn new(settings: &Settings, store: Arc<dyn LimitStore>, metrics: &LimitMetrics) -> Self {
        let (session, limits) = (&settings.session, &settings.limits);
        let tenant = TenantId::default();
        Self {
            proxies: Proxies::new(&session.trusted_proxies, session.forwarded_header),
            limiter: Limiter::new(store, metrics.away()),
            per_address: limits.per_address.uses().map(Rate::from),
            per_tenant: limits.per_tenant.uses().map(Rate::from),
            tenant_key: LimitKey::new(&tenant, Scope::Tenant, ""),
            tenant,
            metrics: metrics.clone(),
        }
    }

    /// Whose request it is.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        self.proxies.client(peer, headers)
    }

    /// Admits a request of an address; else what to answer it.
    pub(super) async fn admit(&self, client: ClientAddress, claim: Claim) -> Result<(), Answer> {
        let Some(rate) = self.per_address else { return Ok(()) };
        let key = LimitKey::new(&self.tenant, Scope::Address, client.to_string());
        self.take(&key, rate, claim, LimitedBy::Address).await
    }

    /// Admits a message of the tenant's devices; else what to answer it.
    pub(super) async fn admit_message(&self, claim: Claim) -> Result<(), Answer> {
        let Some(rate) = self.per_tenant else { return Ok(()) };
        self.take(&self.tenant_key, rate, claim, LimitedBy::Tenant).await
    }

    async fn take(&self, key: &LimitKey, rate: Rate, claim: Claim, by: LimitedBy) -> Result<(), Answer> {
        self.limiter.admit(key, rate, claim).await.map_err(|refused| {
            self.metrics.limited(by);
            reply::too_many(refused.retry_after_seconds)
        })
    }
}
