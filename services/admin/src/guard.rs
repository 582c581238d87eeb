//! Who may ask: rates by address and by token, the token itself, and locks after wrong ones.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, header};
use service_kit::{
    client::{ClientAddress, Proxies},
    http::Peer,
    metrics::{LimitMetrics, LimitedBy},
    settings::{AdminSettings, LimitsSettings},
};
use storage::{
    TenantId,
    limits::{AttemptPolicy, Claim, LimitKey, Limiter, Rate, Scope, Watch},
};

use crate::{Problem, Services, Token};

/// How long it is remembered that a right token came from an address.
const KNOWN_KEEP: Duration = Duration::from_secs(24 * 3600);

/// What stands before every route but health.
pub(crate) struct Guard {
    token: Option<Token>,
    proxies: Proxies,
    tenant: TenantId,
    limiter: Limiter,
    per_address: Option<Rate>,
    per_token: Option<Rate>,
    watch: Watch,
    wrong_tokens: Option<AttemptPolicy>,
    metrics: LimitMetrics,
}

impl Guard {
    pub(crate) fn new(
        settings: &AdminSettings,
        limits: &LimitsSettings,
        services: &Services,
        token: Option<Token>,
    ) -> Arc<Self> {
        let metrics = LimitMetrics::new(&services.metrics);
        Arc::new(Self {
            token,
            proxies: Proxies::new(&settings.trusted_proxies, settings.forwarded_header),
            tenant: services.tenant.clone(),
            limiter: Limiter::new(Arc::clone(&services.limits), metrics.away()),
            per_address: limits.admin_per_address.uses().map(Rate::from),
            per_token: limits.admin_per_token.uses().map(Rate::from),
            watch: Watch::new(Arc::clone(&services.limits), metrics.away()),
            wrong_tokens: limits.admin_login_failures.as_bound().map(|failures_max| AttemptPolicy {
                failures_max,
                window: limits.login_window.value(),
                lock: limits.login_lock.value(),
                lock_max: limits.login_lock_max.value(),
            }),
            metrics,
        })
    }

    async fn check(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
        let client = self.proxies.client(peer, headers);
        if let Some(rate) = self.per_address {
            self.take(Scope::AdminAddress, client.to_string(), rate, LimitedBy::AdminAddress).await?;
        }
        refuse_other_origins(headers)?;
        if let Some(token) = &self.token {
            self.check_token(token, client, headers).await?;
        }
        if let Some(rate) = self.per_token {
            // There is one token.
            self.take(Scope::AdminToken, String::new(), rate, LimitedBy::AdminToken).await?;
        }
        Ok(())
    }

    async fn check_token(
        &self,
        token: &Token,
        client: ClientAddress,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let given = bearer(headers)?;
        let Some(policy) = &self.wrong_tokens else {
            return if token.matches(given) { Ok(()) } else { Err(wrong_token()) };
        };
        let key = LimitKey::new(&self.tenant, Scope::LoginAdmin, client.to_string());
        let known = self.watch.attempts(&key).await;
        // An operator who shares an address with whoever guesses is let in where he was before; see decision 0007.
        if known.is_locked() && !known.has_succeeded {
            return Err(self.locked(known.locked_for));
        }
        if token.matches(given) {
            if !known.has_succeeded || known.failures > 0 {
                self.watch.succeed(&key, KNOWN_KEEP).await;
            }
            return Ok(());
        }
        let now = self.watch.fail(&key, policy).await;
        if known.is_locked() { Err(self.locked(now.locked_for)) } else { Err(wrong_token()) }
    }

    fn locked(&self, span: Duration) -> Problem {
        self.metrics.limited(LimitedBy::AdminLogin);
        let seconds = u32::try_from(span.as_secs().saturating_add(1)).unwrap_or(u32::MAX);
        Problem::too_many("too many wrong tokens came from this address", seconds)
    }

    async fn take(&self, scope: Scope, name: String, rate: Rate, by: LimitedBy) -> Result<(), Problem> {
        let key = LimitKey::new(&self.tenant, scope, name);
        self.limiter.admit(&key, rate, Claim::Begun).await.map_err(|refused| {
            self.metrics.limited(by);
            let seconds = u32::try_from(refused.retry_after_seconds).unwrap_or(u32::MAX);
            Problem::too_many("more requests came than the server's settings allow", seconds)
        })
    }
}

/// Lets only requests through that may ask.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // Each connection says whose it is; one that does not is nobody's, whom no proxy rule fits.
    let peer =
        request.extensions().get::<Peer>().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.address);
    guard.check(peer, request.headers()).await?;
    Ok(next.run(request).await)
}

fn wrong_token() -> Problem {
    Problem::unauthorized("the token is not the server's")
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized("no Authorization header came"));
    };
    let given = given.to_str().unwrap_or_default();
    match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::unauthorized("expected the Bearer scheme in Authorization")),
    }
}

/// A page of another site may make an operator's browser send requests here. It says where the page is from.
fn refuse_other_origins(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !authority.is_empty() && authority.eq_ignore_ascii_case(host) {
        return Ok(());
    }
    Err(Problem::forbidden("the request was sent by a page of another site"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_of_another_site_is_refused() {
        for (origin, host, ok) in [
            (None, "admin.example:8081", true),
            (Some("https://admin.example:8081"), "admin.example:8081", true),
            (Some("https://ADMIN.example:8081"), "admin.example:8081", true),
            (Some("https://admin.example"), "admin.example:8081", false),
            (Some("https://evil.example"), "admin.example:8081", false),
            (Some("https://admin.example:8081.evil.example"), "admin.example:8081", false),
            (Some("null"), "admin.example:8081", false),
            (Some(""), "", false),
            (Some("null"), "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(refuse_other_origins(&headers).is_ok(), ok, "{origin:?} at {host}");
        }
    }
}
