//! Which keys secrets are sealed with, and sealing them anew.
//!
//! Each request looks at some devices and says where the next ones begin, so that whoever rotates keeps the place: nothing
//! is lost with a connection or a process, and asking twice does nothing twice.

use axum::{Json, extract::State};
use serde::Deserialize;
use storage::seal::{self, Resealed};

use crate::{Problem, api::SecretsView, extract::Params, state::App};

/// Devices of one request where nothing is said.
const LIMIT_DEFAULT: usize = 1_000;
/// Most devices of one request.
const LIMIT_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    #[serde(default)]
    from: u32,
    limit: Option<usize>,
}

impl Range {
    fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(limit) => Err(Problem::invalid("limit", format!("1 to {LIMIT_MAX}"), limit.to_string())),
        }
    }
}

/// `GET /v1/secrets?from=&limit=`: what the devices from an ordinal on are sealed with.
pub(crate) async fn status(
    State(app): State<App>,
    Params(range): Params<Range>,
) -> Result<Json<SecretsView>, Problem> {
    let services = &app.services;
    let looked = seal::sealing(&*services.devices, &services.tenant, range.from, range.limit()?).await?;
    Ok(Json(view(&app, looked)))
}

/// `POST /v1/secrets/rotate?from=&limit=`: seals those of the devices from an ordinal on anew that are not sealed with the
/// newest key. The key file is read again first.
pub(crate) async fn rotate(
    State(app): State<App>,
    Params(range): Params<Range>,
) -> Result<Json<SecretsView>, Problem> {
    let services = &app.services;
    if let Err(error) = services.keys.reload() {
        return Err(Problem::conflict(format!("the keys cannot be used: {error}")));
    }
    let newest = services.keys.newest();
    let done = seal::reseal(&*services.devices, &services.tenant, newest, range.from, range.limit()?).await?;
    Ok(Json(view(&app, done)))
}

fn view(app: &App, Resealed { found, resealed, next }: Resealed) -> SecretsView {
    SecretsView {
        keys: app.services.keys.ids().into_iter().map(|id| id.0).collect(),
        found: found.into_iter().map(|(id, devices)| (id.0, devices)).collect(),
        resealed,
        next,
    }
}
