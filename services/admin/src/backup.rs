//! The whole store as one file, while it is used.

use std::io::{self, BufWriter, Write};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use jiff::Timestamp;
use storage::backup::Head;
use tokio::sync::mpsc;

use crate::{Problem, state::App};

/// Octets of one piece of the answer.
const PIECE_OCTETS: usize = 256 << 10;
/// Pieces that wait for the client.
const PIECES_MAX: usize = 4;

/// `GET /v1/backup`: the whole store as one file, as it is at one instant. An answer that breaks off is no backup, and its reader finds no end in it.
pub(crate) async fn back_up(State(app): State<App>) -> Result<Response, Problem> {
    let Some(store) = app.services.backup.clone() else {
        return Err(Problem::conflict(
            "expected the embedded store: a cluster is backed up with its servers' own means, see docs/backup.md",
        ));
    };
    let (pieces, taken) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let head = Head { program: env!("CARGO_PKG_VERSION").to_owned(), taken: Timestamp::now() };
        let mut out = BufWriter::with_capacity(PIECE_OCTETS, Pieces(pieces.clone()));
        match store.back_up(&head, &mut out) {
            Ok(totals) => tracing::info!(rows = totals.rows, octets = totals.octets, "backed up"),
            Err(error) => {
                // What is buffered must not look like an end.
                let _ = out.into_parts();
                tracing::warn!(error = &error as &dyn std::error::Error, "backup broke off");
                // The client may be the one that left.
                let _ = pieces.blocking_send(Err(io::Error::other("the backup broke off")));
            }
        }
    });
    let body = stream::unfold(taken, async |mut taken| {
        let piece = taken.recv().await?;
        Some((piece, taken))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"flotilla.backup\""),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Hands pieces over to the answer, as fast as the client takes them.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let left = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has left");
        self.0.blocking_send(Ok(Bytes::copy_from_slice(octets))).map_err(left)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
