//! A batch of spans as a request of OTLP 1.x: in the types of OpenTelemetry's SDK, and encoded by its `opentelemetry-proto`.

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use prost::Message as _;
use trace::{Finished, Kind, Traceparent};

pub(super) use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse as Response;

/// The version of the conventions that names of attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Who sends.
pub(super) struct Origin {
    resource: ResourceAttributesWithSchema,
    scope: InstrumentationScope,
}

impl Origin {
    pub(super) fn new(service: &str, version: &str, roles: &str) -> Self {
        let mut attributes = vec![
            KeyValue::new("service.name", service.to_owned()),
            KeyValue::new("service.version", version.to_owned()),
            KeyValue::new("service.instance.id", instance()),
            KeyValue::new("dm.roles", roles.to_owned()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ];
        attributes.extend(host().map(|host| KeyValue::new("host.name", host)));
        let resource = Resource::builder_empty().with_schema_url(attributes, SCHEMA_URL).build();
        let scope = InstrumentationScope::builder("flotilla")
            .with_version(version.to_owned())
            .with_schema_url(SCHEMA_URL)
            .build();
        Self { resource: (&resource).into(), scope }
    }

    pub(super) fn request(&self, spans: &[Finished]) -> Vec<u8> {
        let spans = spans.iter().map(|span| self.span(span)).collect();
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn span(&self, span: &Finished) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = span.links.iter().map(|to| Link::with_context(context(to, true))).collect();
        SpanData {
            span_context: context(&span.context, false),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: false,
            span_kind: match span.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Producer => SpanKind::Producer,
                Kind::Consumer => SpanKind::Consumer,
            },
            name: span.name.into(),
            start_time: span.begun,
            end_time: span.ended.max(span.begun),
            attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: span.failure.clone().map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn context(position: &Traceparent, is_remote: bool) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(position.is_sampled);
    let (trace, span) = (TraceId::from_bytes(position.trace), SpanId::from_bytes(position.span));
    SpanContext::new(trace, span, flags, is_remote, TraceState::NONE)
}

fn attribute(key: &'static str, value: &trace::Value) -> KeyValue {
    let value: Value = match value {
        trace::Value::Text(text) => text.clone().into_owned().into(),
        trace::Value::Number(number) => (*number).into(),
        trace::Value::Flag(flag) => (*flag).into(),
    };
    KeyValue::new(key, value)
}

/// Another for each start of each process.
fn instance() -> String {
    let drawn = Traceparent::draw().map(|drawn| drawn.trace).unwrap_or_default();
    TraceId::from_bytes(drawn).to_string()
}

/// In a container its name.
fn host() -> Option<String> {
    let set = std::env::var("HOSTNAME").ok();
    let host = set.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())?;
    Some(host.trim().to_owned()).filter(|host| !host.is_empty())
}
