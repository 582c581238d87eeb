//! Devices over HTTP.

mod bulk;
mod lines;
mod tree;

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use dm_protocol::DevId;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use storage::{Device, Versioned};

use crate::{
    Problem,
    api::{DeviceInput, DeviceView, Page, TagsInput, check_tags},
    extract::{Paging, Params, check_if_match, cursor, idempotency_key, json_with_etag, read_json},
    state::App,
};

pub(crate) use bulk::add_bulk;
pub(crate) use tree::{diff, history, tree};

/// Most devices that one page of a filtered list looks at.
const SCAN_MAX: usize = 20_000;
/// Times a lost compare-and-set is tried again where the request asked for no revision.
const TRIES_MAX: usize = 8;

/// `POST /v1/devices`. With an `Idempotency-Key`, a device that is there already and the same is answered as created.
pub(crate) async fn add(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let repeatable = idempotency_key(request.headers())?.is_some();
    let input: DeviceInput = read_json(request).await?;
    let device = input.into_device(Timestamp::now())?;
    let services = &app.services;
    let added = services.devices.add(&services.tenant, std::slice::from_ref(&device)).await?;
    let stored = load(&app, &device.id).await?;
    if added.first().copied().flatten().is_none() && !(repeatable && is_same(&stored.value, &device)) {
        return Err(Problem::already_exists(format!("device {} is there already", device.id)));
    }
    let location = format!("/v1/devices/{}", percent_encode(device.id.as_str()));
    let etag = format!("\"{}\"", stored.revision.0);
    let headers = [(header::LOCATION, location), (header::ETAG, etag)];
    Ok((StatusCode::CREATED, headers, Json(DeviceView::from(stored.value))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    limit: Option<String>,
    cursor: Option<String>,
    tag: Option<String>,
    maker: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
}

/// `GET /v1/devices?limit=&cursor=&tag=&maker=&model=&firmware=`: in the order of names.
///
/// A page of a filtered list may be short, even empty, and still have a `next_cursor`.
pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<DeviceView>>, Problem> {
    let ListParams { limit, cursor: after, tag, maker, model, firmware } = params;
    let paging = Paging::from_text(limit.as_deref(), after)?;
    let limit = paging.limit()?;
    let wanted = |device: &Device| {
        tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
            && maker.as_ref().is_none_or(|maker| device.inventory.maker == *maker)
            && model.as_ref().is_none_or(|model| device.inventory.model == *model)
            && firmware.as_ref().is_none_or(|firmware| device.inventory.firmware == *firmware)
    };
    let mut after = paging.after()?.map(|name| parse_id(&name)).transpose()?;
    let (mut items, mut scanned) = (Vec::new(), 0);
    loop {
        let batch = app.services.devices.list(&app.services.tenant, after.as_ref(), limit).await?;
        let last = batch.len() < limit;
        scanned += batch.len();
        for device in batch {
            after = Some(device.id.clone());
            if wanted(&device) {
                items.push(DeviceView::from(device));
            }
            if items.len() == limit {
                break;
            }
        }
        let full = items.len() == limit;
        if full || last || scanned >= SCAN_MAX {
            let more = !last || full;
            let next_cursor = after.filter(|_| more).map(|id| cursor(id.as_str()));
            return Ok(Json(Page { items, next_cursor }));
        }
    }
}

/// `GET /v1/devices/{id}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Versioned { value, revision } = load(&app, &parse_id(&id)?).await?;
    Ok(json_with_etag(&headers, &revision.0.to_string(), &DeviceView::from(value)))
}

/// `PUT /v1/devices/{id}/tags`: new labels in place of the old ones.
pub(crate) async fn put_tags(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let headers = request.headers().clone();
    let TagsInput { tags } = read_json(request).await?;
    check_tags(&tags)?;
    let conditional = headers.contains_key(header::IF_MATCH);
    for _ in 0..TRIES_MAX {
        let stored = load(&app, &id).await?;
        check_if_match(&headers, &stored.revision.0.to_string())?;
        match write_tags(&app, stored, &tags).await {
            Ok(answer) => return Ok(answer),
            // A session of the device wrote in between; the labels do not depend on what it wrote.
            Err(error) if error.kind == storage::ErrorKind::Conflict && !conditional => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable(format!("device {id} is being written to all the time"), 1))
}

async fn write_tags(
    app: &App,
    stored: Versioned<Device>,
    tags: &BTreeSet<String>,
) -> Result<Response, storage::StoreError> {
    let device = Device { tags: tags.clone(), ..stored.value };
    let revision = app.services.devices.put(&app.services.tenant, stored.revision, &device).await?;
    let etag = [(header::ETAG, format!("\"{}\"", revision.0))];
    Ok((etag, Json(DeviceView::from(device))).into_response())
}

/// A device's name from a path or a cursor.
pub(crate) fn parse_id(text: &str) -> Result<DevId, Problem> {
    DevId::parse(text).map_err(|error| Problem::invalid_text(error.to_string()))
}

/// A device, or 404.
pub(crate) async fn load(app: &App, id: &DevId) -> Result<Versioned<Device>, Problem> {
    match app.services.devices.load(&app.services.tenant, id).await? {
        Some(found) => Ok(found),
        None => Err(Problem::not_found(format!("no device {id}"))),
    }
}

/// Whether adding `wanted` again changes nothing. Nonces move with every session, so they do not count.
fn is_same(stored: &Device, wanted: &Device) -> bool {
    stored.account.client == wanted.account.client
        && match (&stored.account.server, &wanted.account.server) {
            (None, None) => true,
            (Some(stored), Some(wanted)) => {
                stored.server_id == wanted.server_id && stored.password == wanted.password
            }
            _ => false,
        }
        && stored.tags == wanted.tags
        && stored.notify_address == wanted.notify_address
}

/// A path segment of any text (RFC 3986, 2.1).
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
