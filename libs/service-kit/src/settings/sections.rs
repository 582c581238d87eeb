//! The sections, their keys, bounds and defaults. `flotilla.toml` beside the crate is made from this list.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    cluster::StorageBackend,
    limits::{ForwardedHeader, Network},
    section::sections,
    tls::{TlsClientAuth, TlsClientIdentity, TlsVersion},
    values::{Count, Octets, PublicUrl, Ratio, Span},
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

sections! {
    /// The front-end that devices talk to.
    SessionSettings in "session" {
        /// Where devices connect.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// The address by which devices reach this front-end from outside. It stands in RespURI and in download
        /// addresses. Unset: `http` (or `https`, with a certificate) and the address listened on; for `0.0.0.0` or `[::]`,
        /// which no device can reach, this machine's loopback, with a warning.
        public_url: Option<PublicUrl> = None,
        /// The server's own identifier, the Source of its messages, where a device's account names none.
        server_id: String = "flotilla".to_owned(),
        /// Connections open at once; the next is answered 503 and closed.
        connections_max: Count<1, 1_000_000> = Count::of(20_000),
        /// Messages worked on at once; the next is answered 503 with Retry-After. A session that has begun may use
        /// all of them, a new one three quarters, so that overload turns away visits and does not break them.
        messages_max: Count<1, 100_000> = Count::of(512),
        /// Downloads served at once, apart from messages.
        downloads_max: Count<1, 100_000> = Count::of(256),
        /// The middle of the time a device that was turned away is told to wait; each is told another, from half to
        /// one and a half of it, so that they do not all come back together.
        retry_after: Span<SECOND, HOUR> = Span::of_ms(30 * SECOND),
        /// The largest request body that is read.
        message_bytes_max: Octets<{ 4 * KIB }, { 64 * MIB }> = Octets::of(MIB),
        /// Octets of request bodies held while the rest of them is awaited, of all together and beside what connections
        /// buffer; past it a body is answered 503 with Retry-After.
        bodies_bytes_max: Octets<MIB, { 1024 * 1024 * MIB }> = Octets::of(256 * MIB),
        /// The largest message the server says it takes (MaxMsgSize). Some clients end a session when what they have to
        /// say does not fit.
        max_msg_size: Octets<KIB, { 16 * MIB }> = Octets::of(256 * KIB),
        /// The largest answer, also for a device that takes larger ones; it is what splits a package sent in-band.
        reply_size_max: Octets<KIB, { 4 * MIB }> = Octets::of(64 * KIB),
        /// The largest object the server says it takes from a device (MaxObjSize), gathered from its chunks.
        max_obj_size: Octets<KIB, { 64 * MIB }> = Octets::of(MIB),
        /// How long a request's header may take.
        header_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(15 * SECOND),
        /// How long a request's body may take.
        body_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(30 * SECOND),
        /// How long a connection may be open with nothing moving on it, between requests or while an answer is sent.
        /// Also the time over which `send_rate_min` is measured.
        idle_timeout: Span<100, HOUR> = Span::of_ms(75 * SECOND),
        /// Octets a second that a device takes of an answer, at least; one that takes less for all of `idle_timeout` is
        /// cut off, and goes on with its download another time. Zero: as slow as it likes.
        send_rate_min: Count<0, 1_000_000> = Count::of(256),
        /// How long the stores may take over one message before the device is told to come again.
        step_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(20 * SECOND),
        /// What to do with a device that nobody has added: refuse it, or add it without credentials.
        enrol: Enrol = Enrol::Off,
        /// Messages without good credentials until a session is ended.
        auth_attempts: Count<2, 20> = Count::of(3),
        /// Takes messages of a session that has begun only at the address that the device was told (RespURI), which carries a
        /// random key: else whoever knows a device's name and the numbers of its session could send messages into it. `true`
        /// where all devices follow RespURI, as they must; there are clients that do not. Devices without a password are not
        /// asked for it.
        key_required: bool = false,
        /// Networks of proxies, such as `10.0.0.0/8`, whose word on the address of their clients is believed. Who is in none of
        /// them is the client.
        trusted_proxies: Vec<Network> = Vec::new(),
        /// Where they say it: `x-forwarded-for` or `forwarded`. They must set it themselves.
        forwarded_header: ForwardedHeader = ForwardedHeader::XForwardedFor,
        /// How long a session's record is kept after its last message.
        session_keep: Span<{ 10 * SECOND }, { 24 * HOUR }> = Span::of_ms(10 * MINUTE),
    }

    /// Transport security of the session front-end. Certificate and key, or neither.
    TlsSettings in "session.tls" {
        /// PEM file of the certificate chain, the server's own first. Read again when it changes.
        certificate: Option<PathBuf> = None,
        /// PEM file of the private key, for nobody else's eyes. Read again when it changes.
        key: Option<PathBuf> = None,
        /// The oldest version that is spoken, `1.2` or `1.3`. Both only with forward secrecy and authenticated encryption.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// Whether a device shows a certificate of its own: `off` (it is not asked), `optional` (one that it shows must
        /// be good), or `required`.
        client_auth: TlsClientAuth = TlsClientAuth::Off,
        /// PEM file of the authorities that devices' certificates are checked against. Read again when it changes.
        client_ca: Option<PathBuf> = None,
        /// PEM file of lists of revoked certificates, one of each of these authorities. Read again when it changes.
        client_crl: Option<PathBuf> = None,
        /// Whom a device's certificate stands for: `none` (anybody may use it), or `device-id`: only for the device whose
        /// id is one of the certificate's URIs (subjectAltName) or, where it has no URI, its common name.
        client_identity: TlsClientIdentity = TlsClientIdentity::None,
    }

    /// The operators' side.
    AdminSettings in "admin" {
        /// Where the REST API, health and metrics listen.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8081)),
        /// The file of the operator's token. Unset: `admin.token` in the data directory.
        token_file: Option<PathBuf> = None,
        /// Asks for the token. `false` only for a listener that something else guards.
        token_required: bool = true,
        /// Connections open at once; the next is answered 503 and closed.
        connections_max: Count<1, 100_000> = Count::of(1_024),
        /// How long a request's header may take, and a TLS handshake.
        header_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(15 * SECOND),
        /// How long a connection may be open with nothing moving on it, between requests, while content is awaited, or
        /// while an answer is sent.
        idle_timeout: Span<100, HOUR> = Span::of_ms(75 * SECOND),
        /// Networks of proxies whose word on the address of their clients is believed.
        trusted_proxies: Vec<Network> = Vec::new(),
        /// Where they say it: `x-forwarded-for` or `forwarded`. They must set it themselves.
        forwarded_header: ForwardedHeader = ForwardedHeader::XForwardedFor,
        /// The largest artifact that is taken.
        artifact_bytes_max: Octets<KIB, { 1024 * 1024 * MIB }> = Octets::of(4 * 1024 * MIB),
    }

    /// Transport security of the admin listener. Certificate and key, or neither.
    AdminTlsSettings in "admin.tls" {
        /// PEM file of the certificate chain, the server's own first. Read again when it changes.
        certificate: Option<PathBuf> = None,
        /// PEM file of the private key, for nobody else's eyes. Read again when it changes.
        key: Option<PathBuf> = None,
        /// The oldest version that is spoken, `1.2` or `1.3`. Both only with forward secrecy and authenticated encryption.
        min_version: TlsVersion = TlsVersion::Tls12,
        /// Whether an operator shows a certificate, beside the token: `off`, `optional` or `required`.
        client_auth: TlsClientAuth = TlsClientAuth::Off,
        /// PEM file of the authorities that operators' certificates are checked against. Read again when it changes.
        client_ca: Option<PathBuf> = None,
        /// PEM file of lists of revoked certificates, one of each of these authorities. Read again when it changes.
        client_crl: Option<PathBuf> = None,
    }

    /// Where everything is stored.
    StorageSettings in "storage" {
        /// `embedded`: in one data directory, of one process. `cluster`: in Redis, Kafka and Scylla, for many processes.
        backend: StorageBackend = StorageBackend::Embedded,
        /// The data directory; made when it is not there. A cluster keeps the operator's token in it and nothing else.
        data: PathBuf = PathBuf::from("flotilla-data"),
    }

    /// Asking devices to come (Package #0).
    NotifySettings in "notify" {
        /// How long a device that was asked to come and has not is given until it is asked again; doubled each time, up to
        /// 6 hours or this, until its job's wait ends.
        repeat_after: Span<100, { 7 * 24 * HOUR }> = Span::of_ms(5 * MINUTE),
        /// Notifications sent a second, at most.
        per_second_max: Count<1, 1_000_000> = Count::of(1_000),
        /// What the device's user sees of a session that was asked for: `not-specified`, `background`, `informative`, or
        /// `interaction`, which asks the user first.
        ui_mode: NotifyUiMode = NotifyUiMode::NotSpecified,
        /// How long a gateway may take over one notification.
        gateway_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(10 * SECOND),
        /// Gateways for bearers other than UDP: `[[notify.gateways]]` with `scheme` (of the devices' addresses, such as `sms`),
        /// `url` (in which `{address}` and `{device}` are filled in) and `authorization_file` (the Authorization header).
        gateways: Vec<GatewaySettings> = Vec::new(),
    }

    /// What devices do differently.
    DialectSettings in "dialect" {
        /// Roots under which a device's FUMO node is looked for where the device cannot list its tree. Empty: the usual ones.
        fumo_search_roots: Vec<String> = Vec::new(),
        /// A device whose DevDetail was read this long ago is asked for it again.
        dev_detail_max_age: Span<MINUTE, { 366 * 24 * HOUR }> = Span::of_ms(7 * 24 * HOUR),
        /// What is known of models: `[[dialect.models]]` with `maker`, `model` and `fumo_root`.
        models: Vec<ModelSettings> = Vec::new(),
    }

    /// Logs and traces.
    TelemetrySettings in "telemetry" {
        /// `error`, `warn`, `info`, `debug` or `trace`, also by module: `info,session_service=debug`.
        level: String = "info".to_owned(),
        /// `human`, `json`, or `auto`: human on a terminal and JSON elsewhere.
        format: LogFormat = LogFormat::Auto,
        /// Where traces go: a receiver of OTLP by HTTP (protobuf), such as `http://collector:4318`; `/v1/traces` is
        /// added. Unset: nowhere.
        otlp_endpoint: Option<PublicUrl> = None,
        /// A file with lines of `Name: value`, headers for the receiver such as Authorization. Read at the start.
        otlp_headers_file: Option<PathBuf> = None,
        /// PEM file of the authorities that the receiver's certificate is checked against. Unset: the system's.
        otlp_ca: Option<PathBuf> = None,
        /// PEM file of the client's certificate, where the receiver asks for one.
        otlp_certificate: Option<PathBuf> = None,
        /// PEM file of its private key.
        otlp_key: Option<PathBuf> = None,
        /// How long the receiver may take over one request.
        otlp_timeout: Span<100, MINUTE> = Span::of_ms(10 * SECOND),
        /// Spans that wait to be sent; past it they are dropped and counted.
        otlp_queue_spans: Count<512, 1_000_000> = Count::of(8_192),
        /// Which part of sessions is traced, 0 to 1: a session is traced whole or not at all. Releases of campaigns always are.
        trace_sample: Ratio = Ratio::ONE,
        /// What traces call this service.
        service_name: String = "flotilla".to_owned(),
    }

    /// The end.
    ShutdownSettings in "shutdown" {
        /// How long requests that have begun may take after SIGTERM before they are cut off.
        deadline: Span<0, { 10 * MINUTE }> = Span::of_ms(25 * SECOND),
    }
}

/// Whether a device that nobody has added may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enrol {
    /// It is refused.
    #[default]
    Off,
    /// It is added, without credentials.
    Open,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For eyes.
    Human,
    /// One object a line.
    Json,
}

/// What the device's user sees of a session that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyUiMode {
    /// The device decides.
    #[default]
    NotSpecified,
    /// Nothing.
    Background,
    /// That it happens.
    Informative,
    /// The user is asked first.
    Interaction,
}

/// Where notifications of one bearer are handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// The scheme of the devices' addresses: `sms`, `fcm`, ...
    pub scheme: String,
    /// Where to POST; `{address}` and `{device}` are filled in.
    pub url: String,
    /// A file whose content is the Authorization header.
    pub authorization_file: Option<PathBuf>,
}

/// What is known of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// `./DevInfo/Man`, as devices say it.
    pub maker: String,
    /// `./DevInfo/Mod`, as devices say it; absent: all models of the maker.
    pub model: Option<String>,
    /// Where the FUMO node is.
    pub fumo_root: String,
}
