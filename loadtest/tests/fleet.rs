//! Whole fleets over real sockets, against a server of a few lines.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod stub;

use std::{sync::Arc, time::Duration};

use loadtest::{ClientOptions, FaultPlan, Fleet, Mix, Timing, TlsOptions, Until, report::Ending};
use stub::Stub;
use tokio_util::sync::CancellationToken;

/// Nobody proves anything, everyone is quick.
fn fleet(url: &str, devices: u32) -> Fleet {
    Fleet {
        mix: Mix { auth_none: 1.0, auth_basic: 0.0, auth_md5: 0.0, xml: 0.5 },
        timing: Timing {
            poll_ms: 400,
            install_ms: 10..=50,
            resend_ms: 20,
            slow_ms: 10..=50,
            ..Timing::default()
        },
        until: Until { duration: Some(Duration::from_secs(3)), version: None },
        ..Fleet::new(url, devices, 1)
    }
}

fn image() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).take(200_000).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_updates_itself_and_tells_of_it() {
    let stub = Arc::new(Stub { image: image(), update: Some("2.0.0"), ..Stub::default() });
    let url = stub.clone().serve().await;
    let mut last = None;
    let report =
        loadtest::run(fleet(&url, 120), |progress| last = Some(progress.clone()), CancellationToken::new())
            .await;
    let report = report.unwrap();
    let updated = report.versions.get("2.0.0").copied().unwrap_or(0);
    let orderable =
        fleet(&url, 120).roster().filter(|device| ["A1", "A2 Tab", "Car 2"].contains(&device.model)).count();
    assert_eq!(updated, orderable as u64, "{:?}", report.versions);
    assert_eq!(report.outcomes.get("reported 200"), Some(&updated));
    assert_eq!(report.downloads.digests_checked, updated);
    assert_eq!(report.downloads.octets, updated * 200_000);
    assert_eq!((report.execs.received, report.execs.max_per_correlator), (updated, 1));
    assert!(stub.alerts.lock().unwrap().values().all(|code| code == "200"));
    assert_eq!(report.ended_by, Ending::Duration);
    assert!(report.sessions.done > 240, "{} sessions", report.sessions.done);
    assert!(report.sessions.broken.is_empty(), "{:?}", report.sessions.broken);
    assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["200"]);
    let last = last.unwrap();
    assert_eq!((u64::from(last.updated), last.updating, last.active), (updated, 0, 0));
    assert_eq!(report.samples.iter().map(|row| row.sessions).sum::<u64>(), report.sessions.done);
    assert!(report.connections <= 256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_run_nothing_twice_and_broken_downloads_go_on() {
    let stub = Arc::new(Stub { image: image(), update: Some("2.0.0"), ..Stub::default() });
    let url = stub.clone().serve().await;
    let faults = FaultPlan {
        reply_lost: 0.1,
        repeated: 0.1,
        cut: 0.5,
        silent: 0.1,
        failing: 0.2,
        ..FaultPlan::default()
    };
    let report =
        loadtest::run(Fleet { faults, ..fleet(&url, 100) }, |_| (), CancellationToken::new()).await.unwrap();
    assert_eq!(report.execs.max_per_correlator, 1, "{:?}", report.execs.repeated);
    for kind in
        ["reply lost", "message repeated", "message cut", "download cut", "update failing", "silent for ever"]
    {
        assert!(report.faults_injected.get(kind).is_some_and(|count| *count > 0), "no fault {kind}");
    }
    let ranges = stub.ranges.lock().unwrap().len() as u64;
    assert!(ranges > 0, "no download went on");
    assert_eq!(report.downloads.resumed, ranges);
    assert_eq!(report.downloads.done, report.downloads.digests_checked);
    let silent = report.outcomes["silent for ever"];
    assert_eq!(silent, report.faults_injected["silent for ever"]);
    assert!(report.versions["2.0.0"] > 20);
}

#[tokio::test]
async fn a_fleet_without_a_server_ends_when_told() {
    let cancel = CancellationToken::new();
    let told = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        told.cancel();
    });
    // Nothing listens on port 1.
    let report = loadtest::run(fleet("http://127.0.0.1:1/dm", 20), |_| (), cancel).await.unwrap();
    assert_eq!(report.ended_by, Ending::Cancelled);
    assert_eq!((report.sessions.done, report.sessions.messages), (0, 0));
    assert!(report.answers["broken"] > 20);
    assert!(report.duration_ms < 2_500, "{} ms", report.duration_ms);
}

#[tokio::test]
async fn a_fleet_goes_to_several_front_ends_in_turn() {
    let stub = Arc::new(Stub::default()).serve().await;
    let there = stub.trim_start_matches("http://").trim_end_matches("/dm").to_owned();
    let mut fleet = fleet("http://dm.invalid/dm", 20);
    fleet.until.duration = Some(Duration::from_millis(600));
    // Nothing listens on port 1.
    fleet.client.via = vec![there, "127.0.0.1:1".into()];
    let report = loadtest::run(fleet, |_| (), CancellationToken::new()).await.unwrap();
    assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["200", "broken"]);
}

#[tokio::test]
async fn a_fleet_ends_when_all_have_the_version() {
    let stub = Arc::new(Stub { image: image(), update: Some("2.0.0"), ..Stub::default() });
    let url = stub.clone().serve().await;
    // A seed whose first devices are all of models that the stub knows how to order.
    let known = |seed: &u64| {
        let fleet = Fleet { seed: *seed, ..fleet(&url, 3) };
        fleet.roster().all(|device| ["A1", "A2 Tab", "Car 2"].contains(&device.model))
    };
    let until = Until { duration: Some(Duration::from_secs(10)), version: Some("2.0.0".into()) };
    let fleet = Fleet { seed: (0..1_000).find(known).unwrap(), until, ..fleet(&url, 3) };
    let report = loadtest::run(fleet, |_| (), CancellationToken::new()).await.unwrap();
    assert_eq!(report.ended_by, Ending::Settled);
    assert_eq!(report.versions.get("2.0.0"), Some(&3));
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    for url in ["", "dm.example/dm", "ftp://dm.example/dm"] {
        let result = loadtest::run(Fleet::new(url, 1, 1), |_| (), CancellationToken::new()).await;
        assert!(result.is_err(), "{url}");
    }
}

#[tokio::test]
async fn the_report_is_one_page_and_json_beside_it() {
    let stub = Arc::new(Stub { image: image(), update: Some("<2.0> & \"more\""), ..Stub::default() });
    let url = stub.serve().await;
    let mut fleet = fleet(&url, 30);
    fleet.until.duration = Some(Duration::from_millis(1_500));
    let report = loadtest::run(fleet, |_| (), CancellationToken::new()).await.unwrap();
    let folder = std::env::temp_dir().join(format!("loadtest-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    report.write(&folder.join("report.html")).unwrap();
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.contains("&lt;2.0&gt; &amp; &quot;more&quot;") && !page.contains("<2.0>"));
    for outside in ["src=", "<script", "@import", "<link", "url("] {
        assert!(!page.contains(outside), "the page wants {outside}");
    }
    assert_eq!(json["devices"], 30);
    assert!(json["samples"].as_array().unwrap().len() >= 3);
    assert!(json["latency_us"]["p99"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn fleets_speak_tls_and_http2_and_mind_the_certificate() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("loadtest-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, own.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let https =
        Arc::new(Stub::default()).serve_with(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await;
    let http = Arc::new(Stub::default()).serve().await;
    let trusted = TlsOptions { ca: Some(ca), insecure: false };
    let any = TlsOptions { ca: None, insecure: true };
    for (url, http2, tls, is_trusted) in [
        (&https, false, trusted.clone(), true),
        (&https, true, trusted, true),
        (&https, false, any, true),
        (&https, false, TlsOptions::default(), false),
        (&http, true, TlsOptions::default(), true),
    ] {
        let mut fleet = fleet(url, 20);
        fleet.until.duration = Some(Duration::from_millis(600));
        fleet.client = ClientOptions { http2, tls, ..ClientOptions::default() };
        let report = loadtest::run(fleet, |_| (), CancellationToken::new()).await.unwrap();
        let answers: Vec<_> = report.answers.keys().map(String::as_str).collect();
        assert_eq!(answers, [if is_trusted { "200" } else { "broken" }], "{url}, HTTP/2 {http2}");
        if http2 {
            assert_eq!(report.connections, 1, "{url}: one connection serves all");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
