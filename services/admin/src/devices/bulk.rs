//! Many devices in one request: NDJSON in, NDJSON out, in bounded memory.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Deserialize;
use storage::Device;

use super::{
    is_same,
    lines::{LINE_OCTETS_MAX, Line, Lines},
    replace_account,
};
use crate::{
    Problem,
    api::{BulkCounts, BulkLine, BulkResult, BulkRow, DeviceInput},
    extract::{Params, media_type, parse_json},
    state::App,
};

/// Rows that are stored in one durable step.
const BATCH_ROWS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkParams {
    #[serde(default)]
    results: Results,
    #[serde(default)]
    existing: Existing,
}

/// Which rows the answer has a line for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Results {
    /// Every one.
    #[default]
    All,
    /// Those that were not taken.
    Bad,
}

/// What becomes of a device that is there already, and different.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Existing {
    /// It stays as it is, and its row is in conflict.
    #[default]
    Keep,
    /// It gets the credentials of its row, and its tags and address where the row has them.
    Replace,
}

/// `POST /v1/devices/bulk?results=all|bad&existing=keep|replace`: one device a line, `application/x-ndjson`.
///
/// Rows are stored by the thousand, each thousand durable before its lines of the answer leave. A bad row is
/// reported with its line and the rest is kept. The last line counts. Sending the same rows again changes nothing.
pub(crate) async fn add_bulk(
    State(app): State<App>,
    Params(params): Params<BulkParams>,
    request: Request,
) -> Result<Response, Problem> {
    match media_type(request.headers()) {
        "" | "application/x-ndjson" | "application/jsonl" => {}
        other => return Err(Problem::unsupported_media_type("application/x-ndjson", other)),
    }
    let work = Work {
        app,
        lines: Lines::new(request.into_body().into_data_stream()),
        line: 0,
        counts: BulkCounts::default(),
        results: params.results,
        existing: params.existing,
    };
    let answer = stream::unfold(Some(work), |work| async move {
        let (text, work) = work?.step().await;
        Some((Ok::<_, Infallible>(text), work))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(answer)).into_response())
}

/// A bulk request under way. It stops where its connection does.
struct Work {
    app: App,
    lines: Lines,
    line: u64,
    counts: BulkCounts,
    results: Results,
    existing: Existing,
}

/// A row that can be stored.
struct Row {
    line: u64,
    device: Device,
}

impl Work {
    /// Takes in and stores the next batch; the lines of the answer, and the rest of the work unless this was all.
    async fn step(mut self) -> (Bytes, Option<Self>) {
        let mut outcomes = Vec::new();
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        let end = self.read_batch(&mut rows, &mut outcomes).await;
        let stored = self.store(rows, &mut outcomes).await;
        outcomes.sort_by_key(|row| row.line);
        let mut out = Vec::new();
        for row in outcomes {
            self.counts.count(row.result);
            if self.results == Results::All
                || matches!(row.result, BulkResult::Conflict | BulkResult::Invalid)
            {
                write_line(&mut out, &BulkLine::Row(row));
            }
        }
        match (stored, end) {
            (Err(problem), _) | (Ok(()), Some(Err(problem))) => {
                write_line(&mut out, &BulkLine::Stopped { problem: *problem.body });
                (out.into(), None)
            }
            (Ok(()), Some(Ok(()))) => {
                write_line(&mut out, &BulkLine::Summary { summary: self.counts });
                (out.into(), None)
            }
            (Ok(()), None) => (out.into(), Some(self)),
        }
    }

    /// Reads up to a batch of rows; says how the content ended, if it did.
    async fn read_batch(
        &mut self,
        rows: &mut Vec<Row>,
        outcomes: &mut Vec<BulkRow>,
    ) -> Option<Result<(), Problem>> {
        while rows.len() + outcomes.len() < BATCH_ROWS {
            let line = match self.lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return Some(Ok(())),
                Err(detail) => return Some(Err(Problem::invalid_text(detail))),
            };
            self.line += 1;
            match parse_row(&line) {
                Ok(None) => {}
                Ok(Some(device)) => rows.push(Row { line: self.line, device }),
                Err((id, problem)) => outcomes.push(BulkRow {
                    line: self.line,
                    result: BulkResult::Invalid,
                    id,
                    detail: Some(problem.body.detail),
                    where_: problem.body.where_,
                }),
            }
        }
        None
    }

    async fn store(&mut self, rows: Vec<Row>, outcomes: &mut Vec<BulkRow>) -> Result<(), Problem> {
        if rows.is_empty() {
            return Ok(());
        }
        let app = self.app.clone();
        let services = &app.services;
        let (lines, devices): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.line, row.device)).unzip();
        let added = services.devices.add(&services.tenant, &devices).await?;
        for ((line, device), ordinal) in lines.into_iter().zip(&devices).zip(added) {
            let (result, detail) = match ordinal {
                Some(_) => (BulkResult::Created, None),
                None if self.existing == Existing::Replace => (replace(&app, device).await?, None),
                None => compare(&app, device).await?,
            };
            let id = Some(device.id.as_str().to_owned());
            let where_ = detail.is_some().then(|| "id".to_owned());
            outcomes.push(BulkRow { line, result, id, detail, where_ });
        }
        Ok(())
    }
}

/// What a name that was taken means: the same device again, or another one.
async fn compare(app: &App, device: &Device) -> Result<(BulkResult, Option<String>), Problem> {
    let stored = super::load(app, &device.id).await?;
    if is_same(&stored.value, device) {
        return Ok((BulkResult::Unchanged, None));
    }
    let detail = format!("device {} is there already, with other credentials or tags", device.id);
    Ok((BulkResult::Conflict, Some(detail)))
}

/// Changes a device that is there to what its row says.
async fn replace(app: &App, row: &Device) -> Result<BulkResult, Problem> {
    let (_, is_changed) = super::write(app, &row.id, &HeaderMap::new(), |device| {
        replace_account(&mut device.account, &row.account);
        if !row.tags.is_empty() {
            device.tags.clone_from(&row.tags);
        }
        if row.notify_address.is_some() {
            device.notify_address.clone_from(&row.notify_address);
        }
    })
    .await?;
    Ok(if is_changed { BulkResult::Replaced } else { BulkResult::Unchanged })
}

/// A row's device; `None` for an empty line; else what is wrong, with the name where it could be read.
fn parse_row(line: &Line) -> Result<Option<Device>, (Option<String>, Problem)> {
    let text = match line {
        Line::Text(text) => text.trim_ascii(),
        Line::TooLong => {
            return Err((
                None,
                Problem::invalid("line", format!("at most {LINE_OCTETS_MAX} octets"), "more"),
            ));
        }
    };
    if text.is_empty() {
        return Ok(None);
    }
    let input: DeviceInput = parse_json(text).map_err(|problem| (None, problem))?;
    let id = input.id.clone();
    input.into_device(Timestamp::now()).map(Some).map_err(|error| (Some(id), error.into()))
}

fn write_line(out: &mut Vec<u8>, line: &BulkLine) {
    // These types have only string keys and go into memory, so nothing here can fail.
    let _ = serde_json::to_writer(&mut *out, line);
    out.push(b'\n');
}
