//! One device's turn: it speaks and fetches until it wants to wait.

use std::{
    error::Error,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dm_sim::{Action, Head, SimDevice};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use crate::client::{Client, ClientError};

/// What all visits share.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// Octets of packages so far.
    pub(crate) downloaded: AtomicU64,
    /// How the first exchange broke to which no answer came.
    pub(crate) first_broken: OnceLock<String>,
}

/// What came of a turn.
pub(crate) struct Visit {
    pub(crate) device: SimDevice,
    /// When the device wants its next turn; `None`: never.
    pub(crate) until: Option<Timestamp>,
    /// One an exchange.
    pub(crate) exchanges: Vec<Exchange>,
}

/// A message and its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// Of HTTP; `None` where no answer came.
    pub(crate) status: Option<u16>,
    /// How long it took.
    pub(crate) took: Duration,
    /// How long it stood in the generator's queue before.
    pub(crate) waited: Duration,
}

/// Runs a device until it wants to wait. `waited` is how long its turn has been due.
pub(crate) async fn visit(context: &Context, mut device: SimDevice, waited: Duration) -> Visit {
    let mut exchanges = Vec::new();
    let mut waited = waited;
    loop {
        match device.next_action(Timestamp::now()) {
            Action::Wait { until } => return Visit { device, until: Some(until), exchanges },
            Action::Gone => return Visit { device, until: None, exchanges },
            Action::Post { url, content_type, body, cut: true } => {
                // That it breaks is the point; whether it broke early or late is all one.
                drop(context.client.post_broken(&url, content_type, &body).await);
                device.handle_broken(Timestamp::now());
            }
            Action::Post { url, content_type, body, cut: false } => {
                let begun = Instant::now();
                let reply = context.client.post(&url, content_type, Bytes::from(body)).await;
                let took = begun.elapsed();
                let now = Timestamp::now();
                let status = reply.as_ref().ok().map(|reply| reply.status.as_u16());
                exchanges.push(Exchange { status, took, waited: std::mem::take(&mut waited) });
                match reply {
                    Ok(reply) => {
                        device.handle_reply(now, reply.status.as_u16(), reply.retry_after_s, &reply.body);
                    }
                    Err(error) => {
                        tracing::debug!(device = device.number(), %error, "exchange broke");
                        context.first_broken.get_or_init(|| in_one_line(&error));
                        device.handle_broken(now);
                    }
                }
            }
            Action::Download { url, offset, cut_after } => {
                let is_whole = match download(context, &mut device, &url, offset, cut_after).await {
                    Ok(is_whole) => is_whole,
                    Err(error) => {
                        tracing::debug!(device = device.number(), %error, "download broke");
                        false
                    }
                };
                device.handle_end(Timestamp::now(), is_whole);
            }
        }
    }
}

/// An error with what is below it.
fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Fetches what is there from `offset` on. False when it was broken off.
async fn download(
    context: &Context,
    device: &mut SimDevice,
    url: &str,
    offset: u64,
    cut_after: Option<u64>,
) -> Result<bool, ClientError> {
    let mut answer = context.client.download(url, offset).await?;
    device.handle_head(&head_of(answer.response.status(), answer.response.headers()));
    let mut left = cut_after.unwrap_or(u64::MAX);
    while let Some(data) = answer.next().await? {
        let taken = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        device.handle_data(&data[..taken]);
        context.downloaded.fetch_add(taken as u64, Ordering::Relaxed);
        left -= taken as u64;
        if taken < data.len() {
            return Ok(false);
        }
    }
    answer.finish();
    Ok(true)
}

fn head_of(status: StatusCode, headers: &HeaderMap) -> Head {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let length = text(header::CONTENT_LENGTH.as_str()).and_then(|value| value.trim().parse().ok());
    let range = text(header::CONTENT_RANGE.as_str()).and_then(content_range);
    Head {
        status: status.as_u16(),
        is_descriptor: content_type.trim_start().to_ascii_lowercase().starts_with("application/vnd.oma.dd"),
        start: range.map_or(0, |(start, _)| start),
        total: if status == StatusCode::PARTIAL_CONTENT {
            range.and_then(|(_, total)| total)
        } else {
            length
        },
        // Only the whole object's digest is of use: of `Content-Digest` and the old `Digest`, that of a part is not it.
        digest: text("repr-digest")
            .and_then(structured_digest)
            .or_else(|| text("digest").filter(|_| status == StatusCode::OK).and_then(plain_digest)),
    }
}

/// `bytes 5-13/14`: the first octet, and how many there are in all.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// `sha-256=:…:` of RFC 9530.
fn structured_digest(value: &str) -> Option<[u8; 32]> {
    let member = value.split(',').find_map(|member| member.trim().strip_prefix("sha-256=:"))?;
    decoded(member.split(':').next()?)
}

/// `SHA-256=…` of RFC 3230.
fn plain_digest(value: &str) -> Option<[u8; 32]> {
    let mut members = value.split(',').map(str::trim);
    let (_, digest) = members
        .find_map(|member| member.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("sha-256")))?;
    decoded(digest)
}

fn decoded(base64: &str) -> Option<[u8; 32]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let digest = STANDARD.encode([7; 32]);
        for (status, pairs, want) in [
            (
                200,
                vec![
                    ("content-length", "14".to_owned()),
                    ("repr-digest", format!("md5=:x:, sha-256=:{digest}:")),
                ],
                Head { status: 200, total: Some(14), digest: Some([7; 32]), ..Head::default() },
            ),
            (
                206,
                vec![("content-range", "bytes 5-13/14".to_owned()), ("content-length", "9".to_owned())],
                Head { status: 206, start: 5, total: Some(14), ..Head::default() },
            ),
            (
                200,
                vec![("digest", format!("SHA-256={digest}"))],
                Head { status: 200, digest: Some([7; 32]), ..Head::default() },
            ),
            (
                200,
                vec![("content-type", "Application/vnd.oma.dd+xml; charset=utf-8".to_owned())],
                Head { status: 200, is_descriptor: true, ..Head::default() },
            ),
            (404, vec![("content-range", "octets".to_owned())], Head { status: 404, ..Head::default() }),
        ] {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(head_of(StatusCode::from_u16(status).unwrap(), &headers(&pairs)), want);
        }
    }
}
