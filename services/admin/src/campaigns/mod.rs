//! Campaigns over HTTP. What they decide is in `libs/campaign`; here it is read, asked for and shown.

mod views;
mod watch;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use campaign::{CampaignId, Definition};
use http::{StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Problem,
    api::{CampaignSummary, CampaignView, ExplainView, MemberView, Page, PreviewView, VerifyView},
    devices,
    extract::{Paging, Params, cursor, idempotency_key, media_type, parse_json, read_body},
    state::App,
};

pub(crate) use watch::{events, watch};

/// Who the ledger says it was. There is one token so far, so there is one operator.
const OPERATOR: &str = "operator";
/// The newest campaigns that are asked about one device.
const EXPLAIN_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateParams {
    #[serde(default)]
    start: bool,
}

/// `POST /v1/campaigns?start=`: a definition in TOML or JSON. With an `Idempotency-Key` a second request answers the
/// first one's campaign.
pub(crate) async fn create(
    State(app): State<App>,
    Params(params): Params<CreateParams>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let definition = read_definition(request).await?;
    let campaigns = &app.services.campaigns;
    let id = campaigns.create(definition, key.as_deref()).await?;
    if params.start {
        campaigns.start(id, OPERATOR).await?;
    }
    let location = [(header::LOCATION, format!("/v1/campaigns/{id}"))];
    Ok((StatusCode::CREATED, location, Json(view(&app, id).await?)).into_response())
}

/// `POST /v1/campaigns/preview`: a dry run of a definition.
pub(crate) async fn preview(State(app): State<App>, request: Request) -> Result<Json<PreviewView>, Problem> {
    let definition = read_definition(request).await?;
    Ok(Json(app.services.campaigns.preview(definition).await?.into()))
}

/// `GET /v1/campaigns/{id}/preview`: a dry run of a draft.
pub(crate) async fn preview_of(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<PreviewView>, Problem> {
    Ok(Json(app.services.campaigns.preview_of(parse_id(&id)?).await?.into()))
}

/// `GET /v1/campaigns`: oldest first.
pub(crate) async fn list(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<CampaignSummary>>, Problem> {
    let (limit, after) = (paging.limit()?, paging.after()?);
    let mut rows = app.services.campaigns.list().await?.into_iter().map(CampaignSummary::from);
    if let Some(after) = after {
        // Campaigns are never taken away, so the last one of the page before is still there.
        rows.find(|row| row.id == after);
    }
    let items: Vec<_> = rows.by_ref().take(limit).collect();
    let more = rows.next().is_some();
    let next_cursor = items.last().filter(|_| more).map(|last| cursor(&last.id));
    Ok(Json(Page { items, next_cursor }))
}

/// `GET /v1/campaigns/{id}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<CampaignView>, Problem> {
    Ok(Json(view(&app, parse_id(&id)?).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `POST /v1/campaigns/{id}/start`
pub(crate) async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CampaignView>, Problem> {
    let id = parse_id(&id)?;
    let Nothing {} = read_input(request).await?;
    app.services.campaigns.start(id, OPERATOR).await?;
    Ok(Json(view(&app, id).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseInput {
    #[serde(default)]
    reason: String,
}

/// `POST /v1/campaigns/{id}/pause`
pub(crate) async fn pause(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CampaignView>, Problem> {
    let id = parse_id(&id)?;
    let PauseInput { reason } = read_input(request).await?;
    if reason.chars().count() > 1000 {
        return Err(Problem::invalid("reason", "at most 1000 characters", "more"));
    }
    app.services.campaigns.pause(id, OPERATOR, &reason).await?;
    Ok(Json(view(&app, id).await?))
}

/// `POST /v1/campaigns/{id}/resume`
pub(crate) async fn resume(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CampaignView>, Problem> {
    let id = parse_id(&id)?;
    let Nothing {} = read_input(request).await?;
    app.services.campaigns.resume(id, OPERATOR).await?;
    Ok(Json(view(&app, id).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopInput {
    #[serde(default)]
    hard: bool,
}

/// `POST /v1/campaigns/{id}/stop`
pub(crate) async fn stop(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CampaignView>, Problem> {
    let id = parse_id(&id)?;
    let StopInput { hard } = read_input(request).await?;
    app.services.campaigns.stop(id, OPERATOR, hard).await?;
    Ok(Json(view(&app, id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicesParams {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/campaigns/{id}/devices?state=&limit=&cursor=`: in the order of their ordinals.
///
/// A page may be short, even empty, and still have a `next_cursor`.
pub(crate) async fn devices(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<DevicesParams>,
) -> Result<Json<Page<MemberView>>, Problem> {
    let id = parse_id(&id)?;
    let paging = Paging::from_text(params.limit.as_deref(), params.cursor)?;
    let from = match paging.after()? {
        None => 0,
        Some(text) => match text.parse() {
            Ok(from) => from,
            Err(_) => {
                return Err(Problem::invalid("cursor", "the next_cursor of an earlier page", "another one"));
            }
        },
    };
    let page = app.services.campaigns.devices(id, params.state.as_deref(), from, paging.limit()?).await?;
    let next_cursor = page.next.map(|next| cursor(&next.to_string()));
    Ok(Json(Page { items: page.devices.into_iter().map(Into::into).collect(), next_cursor }))
}

/// `POST /v1/campaigns/{id}/verify`: counts anew from the whole ledger, and compares.
pub(crate) async fn verify(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<VerifyView>, Problem> {
    Ok(Json(app.services.campaigns.verify(parse_id(&id)?).await?.into()))
}

/// `GET /v1/devices/{id}/explain`: where the device is in each campaign, and why; the newest campaign first.
pub(crate) async fn explain(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Vec<ExplainView>>, Problem> {
    let device = devices::parse_id(&id)?;
    devices::load(&app, &device).await?;
    let campaigns = &app.services.campaigns;
    let mut views = Vec::new();
    for summary in campaigns.list().await?.into_iter().rev().take(EXPLAIN_MAX) {
        let report = campaigns.explain(parse_id(&summary.id)?, &device).await?;
        views.extend(report.map(|report| views::explain(summary, report)));
    }
    Ok(Json(views))
}

/// A campaign as it is now.
async fn view(app: &App, id: CampaignId) -> Result<CampaignView, Problem> {
    Ok(app.services.campaigns.status(id).await?.into())
}

fn parse_id(text: &str) -> Result<CampaignId, Problem> {
    text.parse().map_err(|_| Problem::invalid("id", "a campaign's id such as c7", format!("{text:?}")))
}

async fn read_definition(request: Request) -> Result<Definition, Problem> {
    let (headers, content) = read_body(request).await?;
    let Ok(text) = std::str::from_utf8(&content) else {
        return Err(Problem::invalid_text("expected a definition in UTF-8 text, got other octets"));
    };
    Ok(match media_type(&headers) {
        "application/json" => Definition::parse_json(text)?,
        "application/toml" | "text/x-toml" => Definition::parse_toml(text)?,
        "" | "text/plain" | "application/octet-stream" => Definition::parse(text)?,
        other => return Err(Problem::unsupported_media_type("application/toml or application/json", other)),
    })
}

/// The JSON content of a request that may have none.
async fn read_input<T: DeserializeOwned + Default>(request: Request) -> Result<T, Problem> {
    let (headers, content) = read_body(request).await?;
    if content.is_empty() {
        return Ok(T::default());
    }
    match media_type(&headers) {
        "" | "application/json" => parse_json(&content),
        other => Err(Problem::unsupported_media_type("application/json", other)),
    }
}
