//! `POST /dm`: one message in, one message out.
//!
//! Whatever is a DM message is answered by one, with HTTP 200: clients give up a session on most other codes. The
//! codes 400, 405, 408, 413 and 415 are for what is none, 503 for what may be sent again later.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use service_kit::{
    Settings,
    admission::{Admission, Caller},
    client::ClientAddress,
    http::Peer,
    metrics::{AuthReason, Gauge, LimitedBy, MessageResult, SessionMetrics, Shed, WireEncoding},
    settings::TlsClientIdentity,
};
use storage::{
    ErrorKind,
    trace::{self, Kind, Late},
};
use syncml::{Encoding, Limits};

use super::{
    body::{self, Budget},
    reply::{self, Answer},
};
use crate::{
    DM_PATH, Engine,
    engine::{Received, StepError, Stepped},
};

/// Bodies that are being read for each message that may be worked on: reading takes as long as the device's network
/// likes, and must not hold up those who have sent theirs.
const READING_PER_SLOT: usize = 4;

/// Who sends a message.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    /// Perhaps behind a proxy.
    pub(super) client: ClientAddress,
    /// The other end of the connection.
    pub(super) peer: &'a Peer,
}
/// A message in a trace.
const SPAN: &str = "POST /dm";
/// Octets of a session's number in a trace.
const SESSION_ID_MAX: usize = 64;

/// Takes messages.
pub(super) struct Messages {
    engine: Arc<Engine>,
    metrics: SessionMetrics,
    reading: Admission,
    slots: Admission,
    bytes_max: usize,
    bodies: Arc<Budget>,
    limits: Limits,
    body_timeout: Duration,
    step_timeout: Duration,
    /// A certificate is good only for the device that it names.
    binds_certificates: bool,
}

impl Messages {
    pub(super) fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        metrics: SessionMetrics,
        bodies: Arc<Budget>,
    ) -> Self {
        let binds_certificates = settings.tls.client_identity == TlsClientIdentity::DeviceId;
        let settings = &settings.session;
        let (slots, retry_after) = (settings.messages_max.as_usize(), settings.retry_after.value());
        let bytes_max = settings.message_bytes_max.as_usize();
        Self {
            engine,
            metrics,
            reading: Admission::new(slots.saturating_mul(READING_PER_SLOT), retry_after),
            slots: Admission::new(slots, retry_after),
            bytes_max,
            bodies,
            limits: Limits { message_bytes_max: bytes_max, copied_bytes_max: bytes_max, ..Limits::default() },
            body_timeout: settings.body_timeout.value(),
            step_timeout: settings.step_timeout.value(),
            binds_certificates,
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, caller: Caller, from: From<'_>) -> Answer {
        if *request.method() != Method::POST {
            return reply::only("POST");
        }
        let Ok(reading) = self.reading.try_enter(caller) else { return self.shed(Shed::Messages) };
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let key = key(&request).map(str::to_owned);
        let From { client, peer } = from;
        let read = body::read(request, self.bytes_max, self.body_timeout, &self.bodies).await;
        let (body, _held) = match read {
            Ok(read) => read,
            Err(StatusCode::SERVICE_UNAVAILABLE) => return self.shed(Shed::Messages),
            Err(status) => {
                self.metrics.message_in(WireEncoding::Unknown, MessageResult::Malformed);
                return reply::empty(status);
            }
        };
        drop(reading);
        let Ok(_slot) = self.slots.try_enter(caller) else { return self.shed(Shed::Messages) };
        let _active = Active::new(&self.metrics.messages_active);
        let begun = Instant::now();
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        let encoding = match Encoding::of(content_type, &body) {
            Ok(encoding) => encoding,
            Err(error) => {
                self.metrics.message_in(WireEncoding::Unknown, MessageResult::Malformed);
                tracing::debug!(%client, %error, "request is no message");
                return reply::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string());
            }
        };
        let answer = match syncml::decode(encoding, &body, &self.limits) {
            Ok(message) => {
                let received = Received {
                    now: Timestamp::now(),
                    encoding,
                    message: &message,
                    body: &body,
                    client,
                    key: key.as_deref(),
                };
                self.traced(received, peer, begun).await
            }
            Err(error) => {
                self.metrics.message_in(wire(encoding), MessageResult::Malformed);
                tracing::debug!(%client, %encoding, octets = body.len(), %error, "message refused");
                let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
                reply::plain(status, error.to_string())
            }
        };
        self.metrics.message_seconds(begun.elapsed());
        answer
    }

    /// A step as a part of its session's trace, where traces are kept.
    async fn traced(&self, received: Received<'_>, peer: &Peer, begun: Instant) -> Answer {
        let Received { encoding, message, body, .. } = received;
        let begun = || SystemTime::now().checked_sub(begun.elapsed()).unwrap_or_else(SystemTime::now);
        let late = if trace::is_on() { Late::begin(SPAN, Kind::Server, begun()) } else { None };
        let Some(late) = late else { return self.step(received, peer).await };
        late.set("http.request.method", "POST");
        late.set("http.route", DM_PATH);
        late.set("url.path", DM_PATH);
        late.set("http.request.body.size", body.len());
        late.set("dm.encoding", wire(encoding).label());
        late.set("dm.msg_id", message.hdr.msg_id);
        late.set("dm.session.id", bounded(&message.hdr.session_id));
        let answer = late.run(self.step(received, peer)).await;
        late.set("http.response.status_code", answer.status().as_u16());
        late.set("http.response.body.size", hyper::body::Body::size_hint(answer.body()).lower());
        if answer.status().is_server_error() {
            late.fail(answer.status());
        }
        answer
    }

    async fn step(&self, received: Received<'_>, peer: &Peer) -> Answer {
        let Received { encoding, message, body, client, .. } = received;
        let hdr = &message.hdr;
        let stepped = if self.may_be(peer, &hdr.source.loc_uri) {
            tokio::time::timeout(self.step_timeout, self.engine.step(received)).await
        } else {
            tracing::debug!(%peer, device_id = &*shown(&hdr.source.loc_uri), "the connection's certificate is not this device's");
            Ok(self.engine.refuse(received, AuthReason::Certificate))
        };
        let (answer, result) = match stepped {
            Ok(Ok(Stepped { body, result })) => {
                self.metrics.message_out(wire(encoding));
                (reply::whole(StatusCode::OK, encoding.media_type(), Bytes::from(body)), result)
            }
            Ok(Err(error @ (StepError::Open(_) | StepError::Unaddressed))) => {
                let text = error.to_string();
                (reply::plain(StatusCode::BAD_REQUEST, text), MessageResult::Malformed)
            }
            Ok(Err(StepError::Limited(refused))) => {
                self.metrics.limits.limited(LimitedBy::Device);
                (reply::too_many(refused.retry_after_seconds), MessageResult::Limited)
            }
            Ok(Err(error)) if is_passing(&error) => {
                tracing::warn!(%client, error = &error as &dyn std::error::Error, "step failed, device told to come again");
                (self.shed(Shed::Unavailable), MessageResult::Unavailable)
            }
            Ok(Err(error)) => {
                tracing::error!(%client, error = &error as &dyn std::error::Error, "step failed");
                (reply::empty(StatusCode::INTERNAL_SERVER_ERROR), MessageResult::Internal)
            }
            Err(_) => {
                tracing::warn!(%client, "step took too long, device told to come again");
                (self.shed(Shed::Unavailable), MessageResult::Unavailable)
            }
        };
        self.metrics.message_in(wire(encoding), result);
        if let Some(late) = trace::late() {
            late.set("dm.result", result.label());
        }
        tracing::debug!(
            %client,
            device_id = &*shown(&hdr.source.loc_uri),
            session_id = &*shown(&hdr.session_id),
            msg_id = hdr.msg_id,
            %encoding,
            octets = body.len(),
            result = result.label(),
            "message"
        );
        answer
    }

    /// Whether the connection's certificate, where it has one and that matters, is this device's.
    fn may_be(&self, peer: &Peer, device: &str) -> bool {
        match &peer.certificate {
            Some(certificate) if self.binds_certificates => certificate.is_named(device.trim()),
            _ => true,
        }
    }

    fn shed(&self, reason: Shed) -> Answer {
        self.metrics.shed(reason);
        reply::later(self.slots.retry_after_seconds())
    }
}

/// As much of a text of the device's as fits a trace.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(SESSION_ID_MAX)].to_owned()
}

/// A session that has begun uses the address it was told, with its key in the query. Who makes one up gains no more
/// than the last quarter of the slots.
pub(super) fn caller<B>(request: &Request<B>) -> Caller {
    if key(request).is_some() { Caller::Admitted } else { Caller::New }
}

fn key<B>(request: &Request<B>) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("s="))
}

/// What a device calls itself may be anything until it is checked, also what a terminal would act on.
fn shown(name: &str) -> Cow<'_, str> {
    if name.contains(char::is_control) {
        Cow::Owned(name.replace(char::is_control, "\u{fffd}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The same message may go well later.
fn is_passing(error: &StepError) -> bool {
    match error {
        StepError::Store(error) => {
            matches!(error.kind, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Conflict)
        }
        StepError::Contended | StepError::CutOff | StepError::Entropy(_) => true,
        StepError::Open(_) | StepError::Unaddressed | StepError::Record(_) | StepError::Limited(_) => false,
    }
}

fn wire(encoding: Encoding) -> WireEncoding {
    match encoding {
        Encoding::Xml => WireEncoding::Xml,
        Encoding::Wbxml => WireEncoding::Wbxml,
    }
}

/// A message being worked on, counted.
struct Active(Gauge);

impl Active {
    fn new(gauge: &Gauge) -> Self {
        gauge.add(1);
        Self(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}
