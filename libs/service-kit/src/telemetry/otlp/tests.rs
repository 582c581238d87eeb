use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use trace::{Kind, Traceparent, Value};

use super::*;
use crate::settings::PublicUrl;

/// A request that a receiver took.
#[derive(Clone, Debug)]
struct Taken {
    path: String,
    key: Option<String>,
    names: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Received(Arc<Mutex<Vec<Taken>>>);

impl Received {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().flat_map(|taken| taken.names.clone()).collect()
    }
}

/// A receiver that answers `statuses` in turn, and 200 from then on.
async fn receiver(statuses: &[u16]) -> (PublicUrl, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = PublicUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let received = Received::default();
    let statuses = Arc::new(Mutex::new(statuses.to_vec()));
    let ours = received.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (received, statuses) = (ours.clone(), Arc::clone(&statuses));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (received, statuses) = (received.clone(), Arc::clone(&statuses));
                async move {
                    let path = request.uri().path().to_owned();
                    let key = request.headers().get("x-key").map(|value| value.to_str().unwrap().to_owned());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let sent = ExportTraceServiceRequest::decode(body).unwrap();
                    let spans = sent.resource_spans.into_iter().flat_map(|of| of.scope_spans);
                    let names = spans.flat_map(|of| of.spans).map(|span| span.name).collect();
                    let mut statuses = statuses.lock().unwrap();
                    let status = if statuses.is_empty() { 200 } else { statuses.remove(0) };
                    if status == 200 {
                        received.0.lock().unwrap().push(Taken { path, key, names });
                    }
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (url, received)
}

fn span(name: &'static str) -> Finished {
    let now = SystemTime::now();
    Finished {
        context: Traceparent { is_sampled: true, ..Traceparent::draw().unwrap() },
        parent: Some([7; 8]),
        name,
        kind: Kind::Server,
        begun: now,
        ended: now,
        attributes: vec![("dm.result", Value::Text("ok".into()))],
        links: Vec::new(),
        failure: None,
    }
}

/// An exporter beside the one of the process, with its queue.
fn exporter(settings: &TelemetrySettings, metrics: &Metrics) -> (Queue, Exporter) {
    let client = Client::open(settings.otlp_endpoint.as_ref().unwrap(), settings).unwrap();
    let counts = Counts::new(metrics);
    let (sender, spans) = mpsc::channel(settings.otlp_queue_spans.as_usize());
    let queue = Queue { spans: sender, queue_full: counts.queue_full.clone() };
    let origin = Origin::new("flotilla", "1", "all");
    (queue, Exporter { spans, client, origin, counts, said: None })
}

fn to(url: PublicUrl) -> TelemetrySettings {
    TelemetrySettings { otlp_endpoint: Some(url), ..TelemetrySettings::default() }
}

fn counted(metrics: &Metrics, result: &str) -> String {
    let text = metrics.expose();
    let name = format!("dm_trace_spans_total{{result=\"{result}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is missing in:\n{text}")).to_owned()
}

#[tokio::test]
async fn what_is_in_the_queue_at_the_end_is_sent() {
    let (url, received) = receiver(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "x-key: secret\n\n").unwrap();
    let metrics = Metrics::new("1");
    let (queue, exporter) =
        exporter(&TelemetrySettings { otlp_headers_file: Some(headers), ..to(url) }, &metrics);
    for _ in 0..BATCH + 1 {
        queue.take(span("message"));
    }
    exporter.run(std::future::ready(())).await;
    assert_eq!(received.names().len(), BATCH + 1);
    let sent = received.0.lock().unwrap().clone();
    assert_eq!(sent.len(), 2, "in batches");
    assert_eq!((sent[0].path.as_str(), sent[0].key.as_deref()), ("/v1/traces", Some("secret")));
    assert_eq!(counted(&metrics, "exported"), (BATCH + 1).to_string());
    assert_eq!(counted(&metrics, "cut-off"), "0");
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (url, received) = receiver(&[503, 400]).await;
    let metrics = Metrics::new("1");
    let (queue, mut exporter) = exporter(&to(url), &metrics);
    let mut batch = vec![span("first")];
    assert!(exporter.send(&mut batch).await.is_err());
    assert_eq!(batch.len(), 1, "to be sent again");
    assert!(exporter.send(&mut batch).await.is_ok(), "refused for good, so it goes on with the next");
    assert!(batch.is_empty());
    queue.take(span("second"));
    exporter.run(std::future::ready(())).await;
    assert_eq!(received.names(), ["second"]);
    assert_eq!((counted(&metrics, "refused"), counted(&metrics, "exported")), ("1".into(), "1".into()));
}

#[tokio::test]
async fn without_a_receiver_spans_are_dropped_and_counted_and_nobody_waits() {
    // Bound and not listened on: nothing answers.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = PublicUrl::parse(&format!("http://{}", socket.local_addr().unwrap())).unwrap();
    let metrics = Metrics::new("1");
    let settings = to(url);
    let (queue, exporter) = exporter(&settings, &metrics);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(exporter.run(ended));
    let room = settings.otlp_queue_spans.as_usize();
    for _ in 0..room + 10 {
        queue.take(span("message"));
    }
    // On one thread nothing was taken out meanwhile.
    assert_eq!(counted(&metrics, "queue-full"), "10");
    tokio::time::sleep(LINGER * 2).await;
    end.send(()).unwrap();
    let begun = Instant::now();
    running.await.unwrap();
    assert!(begun.elapsed() < FLUSH_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(counted(&metrics, "cut-off"), room.to_string());
    assert_eq!(counted(&metrics, "exported"), "0");
}

#[test]
fn what_cannot_be_used_is_named_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no header\n").unwrap();
    let url = |text: &str| PublicUrl::parse(text).unwrap();
    let plain = to(url("http://127.0.0.1:4318"));
    let tls = to(url("https://127.0.0.1:4318"));
    let missing = Some(folder.path().join("missing"));
    for (settings, key, says) in [
        (
            TelemetrySettings { otlp_headers_file: Some(file.clone()), ..plain.clone() },
            "telemetry.otlp_headers_file: ",
            "line 1",
        ),
        (
            TelemetrySettings { otlp_headers_file: missing.clone(), ..plain },
            "telemetry.otlp_headers_file: ",
            "could not be read",
        ),
        (TelemetrySettings { otlp_ca: Some(file), ..tls.clone() }, "telemetry.otlp_ca: ", "found none"),
        (TelemetrySettings { otlp_ca: missing, ..tls }, "telemetry.otlp_ca: ", "missing"),
    ] {
        let endpoint = settings.otlp_endpoint.clone().unwrap();
        let Err(error) = Client::open(&endpoint, &settings) else { panic!("{key} {says}") };
        let error = error.to_string();
        assert!(error.starts_with(key) && error.contains(says), "{error}");
        assert!(!error.contains("no header"), "what a file of secrets says is not told: {error}");
    }
}
