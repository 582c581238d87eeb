//! HTTP: what is asked for, and who answers it.

mod body;
mod descriptor;
mod dm;
mod downloads;
mod gate;
mod range;
mod reply;
mod stream;

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use service_kit::{
    Settings,
    admission::{Admission, Caller},
    http::Peer,
    metrics::SessionMetrics,
};
use storage::{ArtifactStore, LimitStore, TenantId, limits::Claim};

use self::{
    body::Budget,
    dm::{From, Messages},
    downloads::Downloads,
    gate::Gate,
};
use crate::{
    Engine,
    address::{ArtifactAddress, DM_PATH, parse_hex},
};

pub(crate) use reply::Answer;

/// Octets of a device's report on a download: a code, perhaps with a speed.
const REPORT_BYTES_MAX: usize = 1024;

/// Everything behind one listener.
pub(crate) struct Front {
    gate: Gate,
    messages: Messages,
    downloads: Downloads,
    body_timeout: Duration,
    bodies: Arc<Budget>,
}

impl Front {
    pub(crate) fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        artifacts: Arc<dyn ArtifactStore>,
        limits: Arc<dyn LimitStore>,
        metrics: SessionMetrics,
        public_url: &str,
    ) -> Arc<Self> {
        let session = &settings.session;
        let retry_after = session.retry_after.value();
        let bodies = Arc::new(Budget::new(session.bodies_bytes_max.value()));
        Arc::new(Self {
            gate: Gate::new(settings, limits, &metrics.limits),
            downloads: Downloads {
                store: artifacts,
                tenant: TenantId::default(),
                slots: Admission::new(session.downloads_max.as_usize(), retry_after),
                metrics: metrics.clone(),
                public_url: public_url.into(),
            },
            messages: Messages::new(settings, engine, metrics, Arc::clone(&bodies)),
            body_timeout: session.body_timeout.value(),
            bodies,
        })
    }

    /// Answers one request.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let client = self.gate.client(peer.address, request.headers());
        let caller = dm::caller(&request);
        let claim = match caller {
            Caller::Admitted => Claim::Begun,
            Caller::New => Claim::New,
        };
        if let Err(answer) = self.gate.admit(client, claim).await {
            return answer;
        }
        let path = request.uri().path();
        // Windows adds a query, and some put a slash at the end of an address they were given without.
        if path == DM_PATH || path.strip_suffix('/') == Some(DM_PATH) {
            if let Err(answer) = self.gate.admit_message(claim).await {
                return answer;
            }
            return self.messages.answer(request, caller, From { client, peer: &peer }).await;
        }
        if let Some(address) = ArtifactAddress::parse(path) {
            return self.downloads.answer(&request, &address).await;
        }
        if path.strip_prefix("/dl-status/").and_then(parse_hex).is_some() {
            return self.report(request, peer).await;
        }
        reply::empty(StatusCode::NOT_FOUND)
    }

    /// Takes a device's word on how its download went. It is only noted: what counts is the alert of the session.
    async fn report(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        if *request.method() != Method::POST {
            return reply::only("POST");
        }
        let artifact = request.uri().path().trim_start_matches("/dl-status/").to_owned();
        let body = match body::read(request, REPORT_BYTES_MAX, self.body_timeout, &self.bodies).await {
            Ok((body, _)) => body,
            Err(status) => return reply::empty(status),
        };
        let digits = body.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let code = std::str::from_utf8(&body[..digits]).ok().and_then(|code| code.parse::<u16>().ok());
        let meaning = code.map(descriptor::status_name);
        tracing::info!(%peer, artifact, code, meaning, "device reported on a download");
        reply::empty(StatusCode::OK)
    }
}
