//! Artifacts over HTTP: streamed in, listed, shown.

use std::io;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt as _;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio_util::io::StreamReader;

use crate::{
    Problem,
    api::{ArtifactView, Page, parse_digest},
    extract::{Paging, Params, cursor, media_type},
    state::App,
};

/// Most characters of an artifact's name or version.
const NAME_CHARS_MAX: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddParams {
    name: String,
    version: String,
}

/// `POST /v1/artifacts?name=&version=`: the content is the file. Adding the same file again answers its record.
pub(crate) async fn add(
    State(app): State<App>,
    Params(params): Params<AddParams>,
    request: Request,
) -> Result<Response, Problem> {
    for (field, text) in [("name", &params.name), ("version", &params.version)] {
        if !(1..=NAME_CHARS_MAX).contains(&text.chars().count()) || text.contains(char::is_control) {
            let expected = format!("1 to {NAME_CHARS_MAX} characters without control characters");
            return Err(Problem::invalid(field, expected, format!("{} characters", text.chars().count())));
        }
    }
    let media_type = match media_type(request.headers()) {
        "" => "application/octet-stream".to_owned(),
        given => given.to_owned(),
    };
    let size_max = app.artifact_size_max;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|size| size > size_max) {
        return Err(Problem::too_large(format!("expected at most {size_max} octets")));
    }
    let began = Timestamp::now();
    let stream = request.into_body().into_data_stream().map_err(io::Error::other);
    let mut content = StreamReader::new(stream);
    let services = &app.services;
    let meta = services
        .artifacts
        .add(&services.tenant, &params.name, &params.version, &media_type, size_max, &mut content)
        .await?;
    let status = if meta.added < began { StatusCode::OK } else { StatusCode::CREATED };
    let view = ArtifactView::from(meta);
    Ok((status, [(header::LOCATION, format!("/v1/artifacts/{}", view.digest))], Json(view)).into_response())
}

/// `GET /v1/artifacts`: newest first.
pub(crate) async fn list(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<ArtifactView>>, Problem> {
    let (limit, after) = (paging.limit()?, paging.after()?);
    let all = app.services.artifacts.list(&app.services.tenant).await?;
    let mut views = all.into_iter().map(ArtifactView::from);
    if let Some(after) = after {
        // Artifacts are never taken away, so the last one of the page before is still there.
        views.find(|view| view.digest == after);
    }
    let items: Vec<_> = views.by_ref().take(limit).collect();
    let more = views.next().is_some();
    let next_cursor = items.last().filter(|_| more).map(|last| cursor(&last.digest));
    Ok(Json(Page { items, next_cursor }))
}

/// `GET /v1/artifacts/{digest}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(digest): Path<String>,
) -> Result<Json<ArtifactView>, Problem> {
    let Some(octets) = parse_digest(&digest) else {
        return Err(Problem::invalid(
            "digest",
            "64 hexadecimal digits",
            format!("{} characters", digest.len()),
        ));
    };
    match app.services.artifacts.meta(&app.services.tenant, &octets).await? {
        Some(meta) => Ok(Json(meta.into())),
        None => Err(Problem::not_found(format!("no artifact {digest}"))),
    }
}
