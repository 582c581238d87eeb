//! Devices over HTTP.

mod bulk;
mod lines;
mod tree;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use dm_protocol::{Account, DevId, Nonces};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use storage::{Device, Versioned};

use crate::{
    Problem,
    api::{CredentialsInput, DeviceInput, DeviceView, NotifyAddressInput, Page, TagsInput, check_tags},
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
    let (id, headers) = (parse_id(&id)?, request.headers().clone());
    let TagsInput { tags } = read_json(request).await?;
    check_tags(&tags)?;
    change(&app, &id, &headers, |device| device.tags.clone_from(&tags)).await
}

/// `PUT /v1/devices/{id}/credentials`: new credentials in place of all the old ones.
///
/// They count from the device's next session on; one that has proved itself by the old ones goes on to its end.
pub(crate) async fn put_credentials(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (id, headers) = (parse_id(&id)?, request.headers().clone());
    let input: CredentialsInput = read_json(request).await?;
    let account = input.into_account()?;
    change(&app, &id, &headers, |device| {
        if replace_account(&mut device.account, &account) {
            tracing::info!(device_id = %device.id, "replacing credentials");
        }
    })
    .await
}

/// `PUT /v1/devices/{id}/notify-address`: where the device can be asked to come, or that it cannot.
pub(crate) async fn put_notify_address(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (id, headers) = (parse_id(&id)?, request.headers().clone());
    let input: NotifyAddressInput = read_json(request).await?;
    let address = input.into_address()?;
    change(&app, &id, &headers, |device| device.notify_address.clone_from(&address)).await
}

/// Changes what an operator says of a device, and answers the device.
async fn change(
    app: &App,
    id: &DevId,
    headers: &HeaderMap,
    edit: impl Fn(&mut Device),
) -> Result<Response, Problem> {
    let (Versioned { value, revision }, _) = write(app, id, headers, edit).await?;
    let etag = [(header::ETAG, format!("\"{}\"", revision.0))];
    Ok((etag, Json(DeviceView::from(value))).into_response())
}

/// Changes what an operator says of a device; the device as it is then, and whether it was otherwise. `edit` may run more
/// than once.
async fn write(
    app: &App,
    id: &DevId,
    headers: &HeaderMap,
    edit: impl Fn(&mut Device),
) -> Result<(Versioned<Device>, bool), Problem> {
    let services = &app.services;
    let conditional = headers.contains_key(header::IF_MATCH);
    for _ in 0..TRIES_MAX {
        let stored = load(app, id).await?;
        check_if_match(headers, &stored.revision.0.to_string())?;
        let mut device = stored.value.clone();
        edit(&mut device);
        if device == stored.value {
            return Ok((stored, false));
        }
        match services.devices.put(&services.tenant, stored.revision, &device).await {
            Ok(revision) => return Ok((Versioned { value: device, revision }, true)),
            // A session of the device wrote in between; what an operator says does not depend on what it wrote.
            Err(error) if error.kind == storage::ErrorKind::Conflict && !conditional => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable(format!("device {id} is being written to all the time"), 1))
}

/// Other credentials in place of all that there are. Nonces that are not named stay: the device knows them, and none of them is
/// ever taken twice. For that, credentials that are the same change nothing, whatever nonces come with them. Says whether they are
/// others.
fn replace_account(stored: &mut Account, given: &Account) -> bool {
    if has_same_credentials(stored, given) {
        return false;
    }
    let before = std::mem::take(&mut stored.nonces);
    let Nonces { client, server, .. } = given.nonces.clone();
    *stored = Account {
        nonces: Nonces {
            client: client.or(before.client),
            client_previous: before.client_previous,
            server: server.or(before.server),
        },
        ..given.clone()
    };
    true
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

/// Whether adding `wanted` again changes nothing.
fn is_same(stored: &Device, wanted: &Device) -> bool {
    has_same_credentials(&stored.account, &wanted.account)
        && stored.tags == wanted.tags
        && stored.notify_address == wanted.notify_address
}

/// Nonces move with every session, and the server's scheme with what the device asks for, so they do not count.
fn has_same_credentials(stored: &Account, wanted: &Account) -> bool {
    stored.client == wanted.client
        && match (&stored.server, &wanted.server) {
            (None, None) => true,
            (Some(stored), Some(wanted)) => {
                stored.server_id == wanted.server_id && stored.password == wanted.password
            }
            _ => false,
        }
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
