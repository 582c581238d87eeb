//! Spans in the form of OTLP 1.x (`opentelemetry/proto/collector/trace/v1`), as far as we use it.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;
use trace::{Finished, Kind, Traceparent, Value};

/// The version of the conventions that names of attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<Span>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(fixed32, tag = "6")]
    flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    /// 2: an error.
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// Who sends.
pub(super) struct Origin {
    resource: Resource,
    version: String,
}

impl Origin {
    pub(super) fn new(service: &str, version: &str, roles: &str) -> Self {
        let mut attributes = vec![
            text("service.name", service),
            text("service.version", version),
            text("service.instance.id", &instance()),
            text("dm.roles", roles),
            KeyValue { key: "process.pid".to_owned(), value: any(Any::Number(std::process::id().into())) },
        ];
        attributes.extend(host().map(|host| text("host.name", &host)));
        Self { resource: Resource { attributes }, version: version.to_owned() }
    }

    pub(super) fn request(&self, spans: &[Finished]) -> Vec<u8> {
        let scope = Scope { name: "flotilla".to_owned(), version: self.version.clone() };
        let schema_url = SCHEMA_URL.to_owned();
        let spans = spans.iter().map(Span::of).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: schema_url.clone() }];
        let resource = Some(self.resource.clone());
        Request { resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url }] }.encode_to_vec()
    }
}

/// Another for each start of each process.
fn instance() -> String {
    use std::fmt::Write as _;
    let drawn = Traceparent::draw().map(|drawn| drawn.trace).unwrap_or_default();
    drawn.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// In a container its name.
fn host() -> Option<String> {
    let set = std::env::var("HOSTNAME").ok();
    let host = set.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())?;
    Some(host.trim().to_owned()).filter(|host| !host.is_empty())
}

impl Span {
    fn of(span: &Finished) -> Self {
        Self {
            trace_id: span.context.trace.to_vec(),
            span_id: span.context.span.to_vec(),
            parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            name: span.name.to_owned(),
            kind: match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
                Kind::Producer => 4,
                Kind::Consumer => 5,
            },
            start_time_unix_nano: nanoseconds(span.begun),
            end_time_unix_nano: nanoseconds(span.ended.max(span.begun)),
            attributes: span.attributes.iter().map(attribute).collect(),
            links: span.links.iter().map(Link::to).collect(),
            status: span.failure.as_ref().map(|why| Status { message: why.clone(), code: 2 }),
            flags: 1,
        }
    }
}

impl Link {
    fn to(context: &Traceparent) -> Self {
        let Traceparent { trace, span, is_sampled } = context;
        Self { trace_id: trace.to_vec(), span_id: span.to_vec(), flags: u32::from(*is_sampled) }
    }
}

fn attribute((key, value): &(&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::Text(text.to_string()),
        Value::Number(number) => Any::Number(*number),
        Value::Flag(flag) => Any::Flag(*flag),
    };
    KeyValue { key: (*key).to_owned(), value: any(value) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(Any::Text(value.to_owned())) }
}

fn any(value: Any) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
