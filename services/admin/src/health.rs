//! Whether the process lives, whether it wants work, and what it counts.

use axum::{extract::State, response::IntoResponse};
use http::header;

use crate::{Problem, state::App};

/// The process runs. Asks nothing of anything else: a restart would not mend that.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The process answers, be it that a server is away. For whoever shares requests out.
pub(crate) async fn serving(State(app): State<App>) -> Result<&'static str, Problem> {
    let serving = app.services.health.serving();
    serving.map(|()| "ok\n").map_err(|reason| Problem::unavailable(reason.to_string(), 5))
}

/// The process takes work, and has what its roles need. Turns false first when it is told to end.
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.services
        .health
        .ready()
        .map(|()| "ok\n")
        .map_err(|missing| Problem::unavailable(missing.to_string(), 5))
}

/// The metrics in the text form of Prometheus. Behind the token: how large a fleet is, and how it fares, is nobody
/// else's business; a scraper takes the token from a file.
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let text = app.services.metrics.expose();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
