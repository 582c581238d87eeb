//! The level of this process's logs.

use axum::{Json, extract::Request};
use service_kit::telemetry::{Level, LevelError, LogLevel, log_level};

use crate::{Problem, extract::read_json};

/// `GET /v1/log-level`
pub(crate) async fn show() -> Result<Json<Level>, Problem> {
    Ok(Json(known()?.now()))
}

/// `PUT /v1/log-level`: another level, for a time or until the next change.
pub(crate) async fn change(request: Request) -> Result<Json<Level>, Problem> {
    let wish = read_json(request).await?;
    answer(known()?.grant(&wish))
}

/// `DELETE /v1/log-level`: what the settings say.
pub(crate) async fn reset() -> Result<Json<Level>, Problem> {
    answer(known()?.reset())
}

fn known() -> Result<&'static LogLevel, Problem> {
    log_level().ok_or_else(|| Problem::conflict("this process keeps no logs"))
}

fn answer(changed: Result<Level, LevelError>) -> Result<Json<Level>, Problem> {
    match changed {
        Ok(level) => Ok(Json(level)),
        Err(LevelError::Refused(problem)) => Err(Problem::invalid_text(problem)),
        Err(error @ LevelError::Ended) => Err(Problem::conflict(error.to_string())),
    }
}
