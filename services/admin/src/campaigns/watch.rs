//! A campaign as it goes: the ledger page by page, and the state as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use campaign::CampaignId;
use futures_util::stream;
use http::header;
use serde::Deserialize;

use super::{parse_id, view};
use crate::{
    Problem,
    api::{CampaignView, EventsView},
    extract::Params,
    state::App,
};

/// Most events of one answer.
const EVENTS_MAX: usize = 1000;
/// The longest that a request for events may wait for one.
const WAIT_MAX_S: u64 = 60;
/// Between two looks at a campaign that is watched: what people can follow, and cheap.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// A watched campaign that stands still is shown again after so many looks, so that a dead connection is noticed.
const LOOKS_SILENT_MAX: u32 = 40;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsParams {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
    #[serde(default)]
    wait_s: u64,
}

/// `GET /v1/campaigns/{id}/events?from=&limit=&wait_s=`: the ledger from an offset on. With `wait_s` an empty stretch
/// is answered only when something came, or after that many seconds.
pub(crate) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<EventsParams>,
) -> Result<Json<EventsView>, Problem> {
    let id = parse_id(&id)?;
    let limit = params.limit.unwrap_or(100);
    if !(1..=EVENTS_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", format!("1 to {EVENTS_MAX}"), limit.to_string()));
    }
    if params.wait_s > WAIT_MAX_S {
        return Err(Problem::invalid("wait_s", format!("0 to {WAIT_MAX_S}"), params.wait_s.to_string()));
    }
    // A campaign that is not there has no ledger, which looks like an empty one.
    view(&app, id).await?;
    let wait = Duration::from_secs(params.wait_s);
    let deadline = tokio::time::Instant::now() + wait;
    let services = &app.services;
    loop {
        let rows = services.jobs.events(&services.tenant, id, params.from, limit).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !rows.is_empty() || left.is_zero() || app.shutdown.is_draining() {
            let next = rows.last().map_or(params.from, |(after, _)| *after);
            let items = rows.iter().map(|(_, event)| (id, event).into()).collect();
            return Ok(Json(EventsView { items, next }));
        }
        let waited = services.jobs.wait_events(&services.tenant, id, params.from);
        tokio::select! {
            () = app.shutdown.draining() => {}
            waited = tokio::time::timeout(left, waited) => {
                if let Ok(waited) = waited {
                    waited?;
                }
            }
        }
    }
}

/// `GET /v1/campaigns/{id}/watch`: the campaign as server-sent events, one at once, one whenever it has changed, and
/// the last one when it is over.
pub(crate) async fn watch(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    // What is wrong with the campaign is said before the stream begins.
    let first = view(&app, id).await?;
    let watched = Watched { app, id, next: Some(first), last: None };
    let events = stream::unfold(watched, |mut watched| async move {
        let text = watched.step().await?;
        Some((Ok::<_, Infallible>(text), watched))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events)).into_response())
}

struct Watched {
    app: App,
    id: CampaignId,
    /// What is to be sent.
    next: Option<CampaignView>,
    /// What was sent last.
    last: Option<CampaignView>,
}

impl Watched {
    /// The next event; `None` when there will be none.
    async fn step(&mut self) -> Option<Bytes> {
        let next = match self.next.take() {
            Some(first) => first,
            None => self.wait().await?,
        };
        let text = serde_json::to_string(&next).unwrap_or_default();
        self.last = Some(next);
        Some(Bytes::from(format!("data: {text}\n\n")))
    }

    /// Waits until the campaign is other than it was, or has stood still for long.
    async fn wait(&self) -> Option<CampaignView> {
        let last = self.last.as_ref()?;
        if matches!(last.summary.state.as_str(), "finished" | "stopped") {
            return None;
        }
        for _ in 0..LOOKS_SILENT_MAX {
            tokio::select! {
                // The watcher comes back to the process after this one.
                () = self.app.shutdown.draining() => return None,
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
            // A store that fails now ends the stream; the watcher's next request is told why.
            let now = view(&self.app, self.id).await.ok()?;
            if now.events != last.events || now.summary.state != last.summary.state {
                return Some(now);
            }
        }
        self.last.clone()
    }
}
