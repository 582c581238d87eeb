//! The metrics of the session front-end.

use std::time::Duration;

use super::{Counter, Gauge, Histogram, LimitMetrics, ListenerMetrics, Metrics, labels};

labels! {
    /// How a message was written.
    WireEncoding {
        /// XML.
        Xml = "xml",
        /// WBXML.
        Wbxml = "wbxml",
        /// Nothing that could be told.
        Unknown = "unknown",
    }

    /// What became of a message from a device.
    MessageResult {
        /// It was handled and answered.
        Ok = "ok",
        /// It had been answered before; the answer was sent again.
        Repeated = "repeated",
        /// It was no DM message.
        Malformed = "malformed",
        /// Its device is not known, or could not prove itself.
        Unauthenticated = "unauthenticated",
        /// Its device begins more sessions than it may.
        Limited = "limited",
        /// The stores could not be reached, or not in time.
        Unavailable = "unavailable",
        /// Something is wrong here, not there.
        Internal = "internal",
    }

    /// Why a device could not prove itself.
    AuthReason {
        /// It sent no credentials.
        Missing = "missing",
        /// They are wrong.
        Wrong = "wrong",
        /// Nobody added this device.
        Unknown = "unknown",
        /// The connection's certificate is another device's.
        Certificate = "certificate",
        /// Too many wrong ones came before.
        Locked = "locked",
    }

    /// Why a device was told to come later.
    Shed {
        /// Too many connections.
        Connections = "connections",
        /// Too many messages at once.
        Messages = "messages",
        /// Too many downloads at once.
        Downloads = "downloads",
        /// The stores could not be reached, or not in time.
        Unavailable = "unavailable",
    }

    /// How a download ended.
    DownloadResult {
        /// The whole file left.
        Whole = "whole",
        /// The asked part left.
        Part = "part",
        /// The device went away.
        Cut = "cut",
        /// There is no such file, or no such part.
        Refused = "refused",
        /// The store failed.
        Failed = "failed",
    }
}

/// Schemes of credentials as label values.
const SCHEMES: [&str; 3] = ["none", "basic", "md5"];

/// Upper ends of the buckets: from 50 microseconds, about what an empty step takes, to 10 seconds.
const STEP_SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Upper ends of the buckets: from 50 milliseconds, a session of two messages nearby, to an hour, one that downloads in-band.
const SESSION_SECONDS: [f64; 14] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0];

/// Upper ends of the buckets: from a second, a device that was asked to come, to four weeks, one that comes rarely.
const JOB_WAIT_SECONDS: [f64; 14] = [
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_419_200.0,
];

/// The metrics of the session front-end.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    messages_in: Vec<Vec<Counter>>,
    messages_out: Vec<Counter>,
    seconds: Histogram,
    session_seconds: Histogram,
    job_waited: Histogram,
    auth_failures: Vec<Vec<Counter>>,
    shed: Vec<Counter>,
    downloads: Vec<Counter>,
    /// Octets of artifacts that were handed to connections.
    pub download_bytes: Counter,
    /// Sessions that began here.
    pub sessions_started: Counter,
    /// Sessions whose end was seen here. What began and neither ended nor expired is in flight.
    pub sessions_ended: Counter,
    /// Steps that were done again because another message of the session, or the campaign, wrote first.
    pub conflicts: Counter,
    /// Devices that were added by themselves.
    pub enrolled: Counter,
    /// Messages being worked on.
    pub messages_active: Gauge,
    /// The listener.
    pub listener: ListenerMetrics,
    /// What limits turned away.
    pub limits: LimitMetrics,
}

impl SessionMetrics {
    /// Makes all series, so that each is there, at zero, from the start.
    pub fn new(metrics: &Metrics) -> Self {
        let messages = |direction, encoding: WireEncoding, result: MessageResult| {
            let labels =
                [("direction", direction), ("encoding", encoding.label()), ("result", result.label())];
            metrics.counter(
                "dm_messages_total",
                "Messages by way, encoding and what became of them.",
                &labels,
            )
        };
        let messages_in = WireEncoding::ALL
            .iter()
            .map(|e| MessageResult::ALL.iter().map(|r| messages("in", *e, *r)).collect())
            .collect();
        let messages_out = WireEncoding::ALL.iter().map(|e| messages("out", *e, MessageResult::Ok)).collect();
        let auth_failures = SCHEMES
            .iter()
            .map(|scheme| {
                let one = |reason: &AuthReason| {
                    let labels = [("scheme", *scheme), ("reason", reason.label())];
                    metrics.counter(
                        "dm_auth_failures_total",
                        "Devices that did not prove themselves.",
                        &labels,
                    )
                };
                AuthReason::ALL.iter().map(one).collect()
            })
            .collect();
        let shed: Vec<Counter> = Shed::ALL
            .iter()
            .map(|reason| {
                metrics.counter(
                    "dm_shed_total",
                    "Requests told to come later.",
                    &[("reason", reason.label())],
                )
            })
            .collect();
        let connections = metrics.gauge("dm_connections", "Open connections of devices.", &[]);
        let refused = shed[Shed::Connections as usize].clone();
        let listener = ListenerMetrics::new(metrics, "session", connections, refused);
        let downloads = DownloadResult::ALL.iter().map(|result| {
            metrics.counter("dm_downloads_total", "Downloads by their end.", &[("result", result.label())])
        });
        let counter = |name, help| metrics.counter(name, help, &[]);
        let session = "Time from a session's first message to its last, seen where it ended.";
        let waited = "Time from a job's release until a session of its device took it up.";
        let seconds = "Time from a whole request to its answer.";
        Self {
            messages_in,
            messages_out,
            seconds: metrics.histogram("dm_message_duration_seconds", seconds, &[], &STEP_SECONDS),
            session_seconds: metrics.histogram("dm_session_duration_seconds", session, &[], &SESSION_SECONDS),
            job_waited: metrics.histogram("dm_job_wait_duration_seconds", waited, &[], &JOB_WAIT_SECONDS),
            auth_failures,
            shed,
            downloads: downloads.collect(),
            download_bytes: counter("dm_download_bytes_total", "Octets of artifacts sent."),
            sessions_started: counter("dm_sessions_started_total", "Sessions that began here."),
            sessions_ended: counter("dm_sessions_ended_total", "Sessions that ended here."),
            conflicts: counter("dm_step_conflicts_total", "Steps done again after a lost race."),
            enrolled: counter("dm_devices_enrolled_total", "Devices that added themselves."),
            messages_active: metrics.gauge("dm_messages_active", "Messages being worked on.", &[]),
            listener,
            limits: LimitMetrics::new(metrics),
        }
    }

    /// A message of a device was dealt with.
    pub fn message_in(&self, encoding: WireEncoding, result: MessageResult) {
        self.messages_in[encoding as usize][result as usize].increment();
    }

    /// An answer left.
    pub fn message_out(&self, encoding: WireEncoding) {
        self.messages_out[encoding as usize].increment();
    }

    /// How long a step took.
    pub fn message_seconds(&self, span: Duration) {
        self.seconds.observe(span);
    }

    /// How long a session took that has ended.
    pub fn session_seconds(&self, span: Duration) {
        self.session_seconds.observe(span);
    }

    /// How long a job waited that a session has taken up.
    pub fn job_waited(&self, span: Duration) {
        self.job_waited.observe(span);
    }

    /// A device did not prove itself. `scheme` is `none`, `basic` or `md5`; anything else counts as `none`.
    pub fn auth_failure(&self, scheme: &str, reason: AuthReason) {
        let scheme = SCHEMES.iter().position(|known| *known == scheme).unwrap_or(0);
        self.auth_failures[scheme][reason as usize].increment();
    }

    /// A device was told to come later.
    pub fn shed(&self, reason: Shed) {
        self.shed[reason as usize].increment();
    }

    /// A download ended.
    pub fn download(&self, result: DownloadResult) {
        self.downloads[result as usize].increment();
    }
}
