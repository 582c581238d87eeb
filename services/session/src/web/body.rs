//! Reading a request's body, bounded in octets and time, and all of them together in memory.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// Octets that bodies may hold while the rest of them is awaited.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) fn new(octets: u64) -> Self {
        Self(AtomicU64::new(octets))
    }
}

/// What one body holds of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    octets: u64,
}

impl<'a> Held<'a> {
    fn nothing(budget: &'a Budget) -> Self {
        Self { budget, octets: 0 }
    }

    /// Takes more; false where not so much is left.
    fn grow(&mut self, octets: usize) -> bool {
        let more = octets as u64;
        let take = |left: u64| left.checked_sub(more);
        let taken = self.budget.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok();
        self.octets += if taken { more } else { 0 };
        taken
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.octets, Ordering::AcqRel);
    }
}

/// Reads the whole body, which keeps its part of the budget as long as the second value lives.
///
/// # Errors
///
/// The HTTP status to answer: 413 past `bytes_max`, 408 past `timeout`, 415 for a coding that is not read here, 400
/// when the connection broke off, 503 when others' bodies have used up the budget.
pub(crate) async fn read<'b>(
    request: Request<Incoming>,
    bytes_max: usize,
    timeout: Duration,
    budget: &'b Budget,
) -> Result<(Bytes, Held<'b>), StatusCode> {
    // Nothing is unpacked, so nothing grows: a small body that unpacks to a large one costs what it is.
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let mut body = request.into_body();
    // A stated length is refused before an octet is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match tokio::time::timeout(timeout, gather(&mut body, bytes_max, Held::nothing(budget))).await {
        Ok(result) => result,
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

async fn gather<'b>(
    body: &mut Incoming,
    bytes_max: usize,
    mut held: Held<'b>,
) -> Result<(Bytes, Held<'b>), StatusCode> {
    // Nearly every message comes in one piece, which then is not copied, and is what its connection buffered anyway.
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST) };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if !held.grow(first.len() + data.len()) {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, held))
}
