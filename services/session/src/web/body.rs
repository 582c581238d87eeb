//! Reading a request's body, bounded in octets and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};

/// Reads the whole body.
///
/// # Errors
///
/// The HTTP status to answer: 413 past `bytes_max`, 408 past `timeout`, 415 for a coding that is not read here, 400
/// when the connection broke off.
pub(crate) async fn read(
    request: Request<Incoming>,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, StatusCode> {
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let mut body = request.into_body();
    // A stated length is refused before an octet is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match tokio::time::timeout(timeout, gather(&mut body, bytes_max)).await {
        Ok(result) => result,
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

async fn gather(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, StatusCode> {
    // Nearly every message comes in one piece, which then is not copied.
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
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
