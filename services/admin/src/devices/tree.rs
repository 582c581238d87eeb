//! A device's tree over HTTP: now, as of an instant, its past, and what changed.

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use dm_protocol::DevId;
use dm_tree::Change;
use http::HeaderMap;
use serde::Deserialize;
use storage::SnapshotRef;

use super::{load, parse_id};
use crate::{
    Problem,
    api::{DiffView, HistoryView, NodeView, SnapshotView, TreeView},
    extract::{Params, json_with_etag, parse_instant},
    state::App,
};

/// Most rows of each list of a history.
const HISTORY_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TreeParams {
    at: Option<String>,
    uri: Option<String>,
}

/// `GET /v1/devices/{id}/tree?at=&uri=`
pub(crate) async fn tree(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<TreeParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    load(&app, &id).await?;
    let snapshot = snapshot(&app, &id, "at", params.at.as_deref()).await?;
    let Some(snapshot) = snapshot else {
        return Err(Problem::not_found(format!("no tree of device {id} is known for that time")));
    };
    let uri = normalise(params.uri.as_deref());
    let delta = app.services.snapshots.read(&app.services.tenant, snapshot.root, uri).await?;
    if delta.is_empty() {
        return Err(Problem::not_found(format!("no node {uri} in the tree of device {id}")));
    }
    let nodes = delta.into_iter().filter_map(node).collect();
    let view = TreeView { snapshot: SnapshotView::from(snapshot), nodes };
    // The tree, and when it was last seen: both are in the answer.
    let etag = format!("{}-{}", view.snapshot.root, snapshot.seen.as_millisecond());
    Ok(json_with_etag(&headers, &etag, &view))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryParams {
    limit: Option<usize>,
}

/// `GET /v1/devices/{id}/history?limit=`: its trees and what campaigns did with it, newest first.
pub(crate) async fn history(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<HistoryView>, Problem> {
    let id = parse_id(&id)?;
    load(&app, &id).await?;
    let limit = params.limit.unwrap_or(100);
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", format!("1 to {HISTORY_MAX}"), limit.to_string()));
    }
    let services = &app.services;
    let snapshots = services.snapshots.history(&services.tenant, &id, limit).await?;
    let events = services.jobs.device_events(&services.tenant, &id, limit).await?;
    Ok(Json(HistoryView {
        snapshots: snapshots.into_iter().map(Into::into).collect(),
        events: events.iter().map(|(campaign, event)| (*campaign, event).into()).collect(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffParams {
    from: String,
    to: Option<String>,
}

/// `GET /v1/devices/{id}/diff?from=&to=`: what changed between two instants; `to` is now where nothing is said.
pub(crate) async fn diff(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<DiffParams>,
) -> Result<Json<DiffView>, Problem> {
    let id = parse_id(&id)?;
    load(&app, &id).await?;
    let from = snapshot(&app, &id, "from", Some(&params.from)).await?;
    let Some(to) = snapshot(&app, &id, "to", params.to.as_deref()).await? else {
        return Err(Problem::not_found(format!("no tree of device {id} is known for that time")));
    };
    let services = &app.services;
    let changes = match from {
        Some(from) => services.snapshots.diff(&services.tenant, from.root, to.root).await?,
        None => services.snapshots.read(&services.tenant, to.root, ".").await?,
    };
    let changes = changes.into_iter().map(Into::into).collect();
    Ok(Json(DiffView { from: from.map(Into::into), to: to.into(), changes }))
}

async fn snapshot(
    app: &App,
    id: &DevId,
    name: &str,
    at: Option<&str>,
) -> Result<Option<SnapshotRef>, Problem> {
    let services = &app.services;
    match at {
        Some(text) => {
            let at = parse_instant(name, text)?;
            Ok(services.snapshots.as_of(&services.tenant, id, at).await?)
        }
        None => Ok(services.snapshots.current(&services.tenant, id).await?),
    }
}

/// An address as the store has it: no leading `./`, no trailing `/`, the root is `.`.
fn normalise(uri: Option<&str>) -> &str {
    let uri = uri.unwrap_or(".").trim_end_matches('/');
    match uri.strip_prefix("./").unwrap_or(uri) {
        "" => ".",
        uri => uri,
    }
}

fn node(change: Change) -> Option<NodeView> {
    match change {
        Change::Leaf { uri, leaf } => Some(NodeView { uri, leaf: Some(leaf.into()), object: None }),
        Change::Interior { uri, type_ } => Some(NodeView { uri, leaf: None, object: type_.map(Into::into) }),
        Change::Children { .. } | Change::Remove { .. } => None,
    }
}
