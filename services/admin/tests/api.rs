//! The API over a real socket, on the embedded store in a temporary directory.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod hostile;
mod server;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use server::{Answer, Server};
use service_kit::settings::{AdminSettings, Count, LimitsSettings, Network, RateLimit, Span};

const NOT_FOUND: &str = "urn:flotilla:problem:not-found";
const INVALID: &str = "urn:flotilla:problem:invalid-input";

#[tokio::test]
async fn every_bad_request_has_its_status_and_its_type() {
    let server = Server::start().await;
    server.post("/v1/devices", &json!({"id": "d1", "auth": "none"})).await.expect(StatusCode::CREATED);
    for (method, path, body, status, type_) in [
        ("GET", "/nope", "", 404, NOT_FOUND),
        ("GET", "/v1/devices/nobody", "", 404, NOT_FOUND),
        ("GET", "/v1/devices/nobody/tree", "", 404, NOT_FOUND),
        ("GET", "/v1/devices/d1/tree", "", 404, NOT_FOUND),
        ("GET", "/v1/devices/d1/tree?at=yesterday", "", 400, INVALID),
        ("GET", "/v1/devices/d1/tree?depth=1", "", 400, INVALID),
        ("GET", "/v1/devices/d1/history?limit=0", "", 400, INVALID),
        ("GET", "/v1/devices/d1/diff", "", 400, INVALID),
        ("GET", "/v1/devices?limit=0", "", 400, INVALID),
        ("GET", "/v1/devices?limit=many", "", 400, INVALID),
        ("GET", "/v1/devices?cursor=***", "", 400, INVALID),
        ("DELETE", "/v1/devices", "", 405, "urn:flotilla:problem:method-not-allowed"),
        ("POST", "/v1/devices", "", 400, INVALID),
        ("POST", "/v1/devices", "{", 400, INVALID),
        ("POST", "/v1/devices", "{} {}", 400, INVALID),
        ("POST", "/v1/devices", r#"{"id":"a","auth":"digest"}"#, 400, INVALID),
        ("POST", "/v1/devices", r#"{"id":"a","pasword":"x"}"#, 400, INVALID),
        ("POST", "/v1/devices", r#"{"id":"a","auth":"md5","user":"u"}"#, 400, INVALID),
        ("POST", "/v1/devices", r#"{"id":"d1","auth":"none"}"#, 409, "urn:flotilla:problem:already-exists"),
        ("PUT", "/v1/devices/d1/tags", r#"{"tags":["a b"]}"#, 400, INVALID),
        ("PUT", "/v1/devices/d1/tags", r#"["a"]"#, 400, INVALID),
        ("PUT", "/v1/devices/d1/tags", r#"[["a"]]"#, 400, INVALID),
        ("PUT", "/v1/devices/nobody/tags", r#"{"tags":[]}"#, 404, NOT_FOUND),
        ("PUT", "/v1/devices/d1/credentials", r#"{"user":"u"}"#, 400, INVALID),
        ("PUT", "/v1/devices/d1/credentials", r#"{"user":"u","password":""}"#, 400, INVALID),
        ("PUT", "/v1/devices/d1/credentials", r#"{"id":"d2","auth":"none"}"#, 400, INVALID),
        ("PUT", "/v1/devices/nobody/credentials", r#"{"auth":"none"}"#, 404, NOT_FOUND),
        ("PUT", "/v1/devices/d1/notify-address", "{}", 400, INVALID),
        ("PUT", "/v1/devices/d1/notify-address", r#"{"notify_address":"nowhere"}"#, 400, INVALID),
        ("PUT", "/v1/devices/nobody/notify-address", r#"{"notify_address":null}"#, 404, NOT_FOUND),
        ("POST", "/v1/artifacts", "x", 400, INVALID),
        ("POST", "/v1/artifacts?name=&version=1", "x", 400, INVALID),
        ("GET", "/v1/campaigns/c7", "", 404, NOT_FOUND),
        ("GET", "/v1/campaigns/c7/events", "", 404, NOT_FOUND),
        ("GET", "/v1/campaigns/c7/watch", "", 404, NOT_FOUND),
        ("GET", "/v1/campaigns/seven", "", 400, INVALID),
        ("POST", "/v1/campaigns/c7/start", "", 404, NOT_FOUND),
        ("POST", "/v1/campaigns", "name = ", 400, INVALID),
        ("POST", "/v1/campaigns", "name = 'n'", 400, INVALID),
        ("POST", "/v1/campaigns", "name = 'n'\nartifact = { name = 'fw' }", 400, INVALID),
        ("POST", "/v1/campaigns/preview", "{}", 400, INVALID),
        ("GET", "/v1/devices/nobody/explain", "", 404, NOT_FOUND),
        ("GET", "/v1/artifacts/00", "", 400, INVALID),
        ("GET", &format!("/v1/artifacts/{}", "0".repeat(64)), "", 404, NOT_FOUND),
    ] {
        let answer = server.send(method.parse().unwrap(), path, &[], body).await;
        let problem = answer.problem(StatusCode::from_u16(status).unwrap());
        assert_eq!(problem["type"], type_, "{method} {path} {body}");
        assert_eq!(problem["instance"], path.split('?').next().unwrap(), "{method} {path}");
        assert!(problem["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{problem}");
        assert!(!problem["detail"].as_str().unwrap_or_default().is_empty(), "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn bad_input_says_where_what_was_expected_and_what_came() {
    let server = Server::start().await;
    let answer = server.send(Method::POST, "/v1/devices", &[], r#"{"id":"a","auth":"digest"}"#).await;
    let problem = answer.problem(StatusCode::BAD_REQUEST);
    assert_eq!(problem["where"], "auth");
    assert_eq!(problem["expected"], "one of `none`, `basic`, `md5`");
    assert_eq!(problem["got"], "unknown variant `digest`");
}

#[tokio::test]
async fn only_health_is_open_without_the_token() {
    let server = Server::start().await;
    for (path, header, status) in [
        ("/health/livez", None, 200),
        ("/health/servez", None, 200),
        ("/health/readyz", None, 200),
        ("/metrics", None, 401),
        ("/v1/devices", None, 401),
        ("/nope", None, 401),
        ("/v1/devices", Some("Bearer wrong"), 401),
        ("/v1/devices", Some("Basic wrong"), 401),
        ("/v1/devices", Some(server.bearer().as_str()), 200),
        ("/metrics", Some(server.bearer().as_str()), 200),
    ] {
        let headers: Vec<_> = header.map(|value| ("authorization", value)).into_iter().collect();
        let answer = server.send_bare(Method::GET, path, &headers, "").await;
        assert_eq!(answer.status, status, "{path} {header:?}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"flotilla\"");
        }
    }
}

#[tokio::test]
async fn readiness_turns_false_as_soon_as_the_end_is_asked_for() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let alive = connection.send(Method::GET, "/health/readyz", &[], "").await;
    assert_eq!(alive.status, 200);
    server.shutdown.begin();
    assert!(!server.shutdown.is_ready());
    server.ended().await;
}

#[tokio::test]
async fn a_device_comes_back_without_its_secrets() {
    let server = Server::start().await;
    let input = json!({"id": "IMEI:1/é", "auth": "md5", "user": "u", "password": "hunter2",
        "server_id": "srv", "server_password": "hunter3", "client_nonce": "AAEC", "tags": ["lab"]});
    let answer = server.post("/v1/devices", &input).await.expect(StatusCode::CREATED);
    let location = answer.header("location").to_owned();
    assert_eq!(location, "/v1/devices/IMEI:1%2F%C3%A9");
    let shown = server.get(&location).await.expect(StatusCode::OK);
    for text in [&answer.text, &shown.text] {
        assert!(!text.contains("hunter") && !text.contains("AAEC"), "{text}");
    }
    let device = shown.json();
    assert_eq!(device["auth"], "md5");
    assert_eq!(device["server_id"], "srv");
    assert_eq!(device["tags"], json!(["lab"]));
}

#[tokio::test]
async fn a_repeated_request_with_a_key_is_answered_as_before() {
    let server = Server::start().await;
    let input = json!({"id": "d1", "auth": "basic", "user": "u", "password": "p"}).to_string();
    let key = [("idempotency-key", "k1")];
    let first = server.send(Method::POST, "/v1/devices", &key, &input).await.expect(StatusCode::CREATED);
    let again = server.send(Method::POST, "/v1/devices", &key, &input).await.expect(StatusCode::CREATED);
    assert_eq!(first.json(), again.json());
    let other = json!({"id": "d1", "auth": "basic", "user": "u", "password": "q"}).to_string();
    server.send(Method::POST, "/v1/devices", &key, &other).await.problem(StatusCode::CONFLICT);
}

#[tokio::test]
async fn tags_are_not_overwritten_by_who_read_an_older_revision() {
    let server = Server::start().await;
    server.post("/v1/devices", &json!({"id": "d1", "auth": "none"})).await.expect(StatusCode::CREATED);
    let read = server.get("/v1/devices/d1").await;
    let old = read.header("etag").to_owned();
    let put = |tag: &str, etag: Option<String>| {
        let body = json!({"tags": [tag]}).to_string();
        let server = &server;
        async move {
            let headers: Vec<_> = etag.as_deref().map(|etag| ("if-match", etag)).into_iter().collect();
            server.send(Method::PUT, "/v1/devices/d1/tags", &headers, &body).await
        }
    };
    let new = put("a", Some(old.clone())).await.expect(StatusCode::OK).header("etag").to_owned();
    assert_ne!(new, old);
    put("b", Some(old.clone())).await.problem(StatusCode::PRECONDITION_FAILED);
    put("c", Some(new)).await.expect(StatusCode::OK);
    put("d", None).await.expect(StatusCode::OK);
    assert_eq!(server.get("/v1/devices/d1").await.json()["tags"], json!(["d"]));
    let fresh = server.get("/v1/devices/d1").await.header("etag").to_owned();
    let answer = server.send(Method::GET, "/v1/devices/d1", &[("if-none-match", &fresh)], "").await;
    assert_eq!(answer.status, 304);
}

#[tokio::test]
async fn bulk_keeps_the_good_rows_and_names_the_bad_ones() {
    let server = Server::start().await;
    let rows = concat!(
        "{\"id\":\"a\",\"auth\":\"none\"}\n",
        "not json\n",
        "\n",
        "{\"id\":\"b\",\"auth\":\"md5\",\"user\":\"u\"}\n",
        "{\"id\":\"a\",\"auth\":\"none\"}\n",
        "{\"id\":\"a\",\"auth\":\"none\",\"tags\":[\"x\"]}\n",
        "{\"id\":\"c\",\"auth\":\"none\"}",
    );
    let lines = server.bulk("/v1/devices/bulk", rows).await;
    let results: Vec<_> = lines.iter().map(|line| (line["line"].clone(), line["result"].clone())).collect();
    assert_eq!(
        results,
        [
            (json!(1), json!("created")),
            (json!(2), json!("invalid")),
            (json!(4), json!("invalid")),
            (json!(5), json!("unchanged")),
            (json!(6), json!("conflict")),
            (json!(7), json!("created")),
            (Value::Null, Value::Null),
        ]
    );
    assert_eq!(lines[2]["where"], "password");
    let summary = json!({"created": 2, "unchanged": 1, "replaced": 0, "conflict": 1, "invalid": 2});
    assert_eq!(lines[6]["summary"], summary);
    let again = server.bulk("/v1/devices/bulk?results=bad", "{\"id\":\"a\",\"auth\":\"none\"}\n").await;
    let summary = json!({"created": 0, "unchanged": 1, "replaced": 0, "conflict": 0, "invalid": 0});
    assert_eq!(again, [json!({ "summary": summary })]);
}

#[tokio::test]
async fn pages_hold_every_device_once_and_filters_leave_the_rest_out() {
    let server = Server::start().await;
    let mut rows = String::new();
    for number in 0..25 {
        let tag = if number % 5 == 0 { "lab" } else { "field" };
        rows.push_str(&format!("{{\"id\":\"d{number:02}\",\"auth\":\"none\",\"tags\":[\"{tag}\"]}}\n"));
    }
    server.bulk("/v1/devices/bulk", &rows).await;
    for (query, count) in [("?limit=10", 25), ("?limit=25", 25), ("?limit=2&tag=lab", 5), ("?tag=none", 0)] {
        let ids = server.all_pages("/v1/devices", query).await;
        assert_eq!(ids.len(), count, "{query}");
        assert!(ids.is_sorted(), "{query}: {ids:?}");
    }
}

#[tokio::test]
async fn an_artifact_is_stored_once_by_its_digest() {
    let server = Server::start().await;
    let path = "/v1/artifacts?name=router&version=2.0";
    let first = server.send(Method::POST, path, &[], "firmware").await.expect(StatusCode::CREATED);
    // sha256 of the text, by sha256sum
    let digest = "c3bf47ea1f4a4a605470313cacb3a44f4a461f68c6faeab07e737610cb5ac835";
    assert_eq!(first.json()["digest"], digest);
    assert_eq!(first.json()["size"], 8);
    server.send(Method::POST, path, &[], "firmware").await.expect(StatusCode::OK);
    let list = server.get("/v1/artifacts").await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get(&format!("/v1/artifacts/{digest}")).await.json()["name"], "router");
    let big = "x".repeat(server::ARTIFACT_BYTES_MAX + 1);
    let answer = server.send(Method::POST, "/v1/artifacts?name=big&version=1", &[], &big).await;
    assert_eq!(answer.problem(StatusCode::PAYLOAD_TOO_LARGE)["type"], "urn:flotilla:problem:too-large");
}

#[tokio::test]
async fn a_tree_is_read_now_and_as_it_was() {
    use dm_protocol::DevId;
    use dm_tree::{Change, Leaf};
    use storage::SnapshotStore as _;

    let server = Server::start().await;
    server.post("/v1/devices", &json!({"id": "d1", "auth": "none"})).await.expect(StatusCode::CREATED);
    let leaf = |uri: &str, value: &str| Change::Leaf {
        uri: uri.to_owned(),
        leaf: Leaf { value: value.as_bytes().into(), ..Leaf::default() },
    };
    let id = DevId::parse("d1").unwrap();
    for (at, version) in [("2026-01-01T00:00:00Z", "1.0"), ("2026-02-01T00:00:00Z", "2.0")] {
        let delta = vec![leaf("DevDetail/FwV", version), leaf("DevInfo/Man", "Acme")];
        let tenant = storage::TenantId::default();
        server.store.apply(&tenant, &id, at.parse().unwrap(), &delta).await.unwrap();
    }
    let version = |answer: &Answer| {
        let tree = answer.json();
        let nodes = tree["nodes"].as_array().unwrap().clone();
        nodes.iter().find(|node| node["uri"] == "DevDetail/FwV").unwrap()["value"].clone()
    };
    assert_eq!(version(&server.get("/v1/devices/d1/tree").await), "2.0");
    assert_eq!(version(&server.get("/v1/devices/d1/tree?at=2026-01-15T00:00:00Z").await), "1.0");
    let subtree = server.get("/v1/devices/d1/tree?uri=./DevInfo").await.json();
    let uris: Vec<_> = subtree["nodes"].as_array().unwrap().iter().map(|node| node["uri"].clone()).collect();
    assert!(uris.contains(&json!("DevInfo/Man")) && !uris.contains(&json!("DevDetail/FwV")), "{uris:?}");
    let diff = server.get("/v1/devices/d1/diff?from=2026-01-15T00:00:00Z").await.json();
    assert_eq!(diff["changes"].as_array().map(Vec::len), Some(1), "{diff}");
    assert_eq!(diff["changes"][0]["value"], "2.0");
    let history = server.get("/v1/devices/d1/history").await.json();
    assert_eq!(history["snapshots"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_campaign_goes_from_its_dry_run_to_its_stop() {
    let server = Server::start().await;
    server
        .send(Method::POST, "/v1/artifacts?name=fw&version=2.0", &[], "firmware")
        .await
        .expect(StatusCode::CREATED);
    let rows: String = (0..20).map(|n| format!("{{\"id\":\"d{n:02}\",\"auth\":\"none\"}}\n")).collect();
    server.bulk("/v1/devices/bulk", &rows).await;
    let definition = "name = 'first'\nartifact = { name = 'fw' }\nin_flight_max = 5\nseed = 1\n\
        [[waves]]\nup_to_percent = 50\n[[waves]]\nup_to_percent = 100\n";
    let toml = [("content-type", "application/toml"), ("idempotency-key", "k")];
    let preview = server.send(Method::POST, "/v1/campaigns/preview", &toml[..1], definition).await;
    let preview = preview.expect(StatusCode::OK).json();
    assert_eq!((&preview["members"], &preview["download_bytes"]), (&json!(20), &json!(160)), "{preview}");
    assert_eq!(preview["waves"].as_array().map(Vec::len), Some(2));

    let created = server.send(Method::POST, "/v1/campaigns", &toml, definition).await;
    let created = created.expect(StatusCode::CREATED);
    assert_eq!(created.header("location"), "/v1/campaigns/c1");
    let again = server.send(Method::POST, "/v1/campaigns", &toml, definition).await;
    assert_eq!(again.expect(StatusCode::CREATED).json()["id"], "c1");
    assert_eq!(created.json()["state"], "draft");
    server.post("/v1/campaigns/c1/pause", &json!({})).await.problem(StatusCode::CONFLICT);

    server.post("/v1/campaigns/c1/start", &json!({})).await.expect(StatusCode::OK);
    let released = server.until("/v1/campaigns/c1", |campaign| campaign["in_flight"] == 5).await;
    assert_eq!((&released["state"], &released["members"]), (&json!("running"), &json!(20)), "{released}");
    let waiting = server.all_rows("/v1/campaigns/c1/devices", "?limit=2&state=waiting").await;
    assert_eq!(waiting.len(), 5);
    let device = waiting[0]["device"].as_str().unwrap().to_owned();
    let explained = server.get(&format!("/v1/devices/{device}/explain")).await.expect(StatusCode::OK).json();
    assert_eq!(explained[0]["member"]["state"], "waiting", "{explained}");
    let history = server.get(&format!("/v1/devices/{device}/history")).await.json();
    assert_eq!(history["events"][0]["event"], "released", "{history}");

    let paused = server.post("/v1/campaigns/c1/pause", &json!({"reason": "lunch"})).await;
    let paused = paused.expect(StatusCode::OK).json();
    assert_eq!((&paused["state"], &paused["pause"]["cause"]), (&json!("paused"), &json!("operator")));
    server.post("/v1/campaigns/c1/resume", &json!({})).await.expect(StatusCode::OK);
    server.post("/v1/campaigns/c1/stop", &json!({"hard": true})).await.expect(StatusCode::OK);
    let stopped = server.until("/v1/campaigns/c1", |campaign| campaign["state"] == "stopped").await;
    assert_eq!(stopped["ended"], 20, "{stopped}");

    let watched = server.get("/v1/campaigns/c1/watch").await.expect(StatusCode::OK);
    assert_eq!(watched.header("content-type"), "text/event-stream");
    let last = watched.text.trim().lines().last().unwrap().strip_prefix("data: ").unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["state"], "stopped");
    let verified = server.post("/v1/campaigns/c1/verify", &json!({})).await.expect(StatusCode::OK).json();
    assert_eq!((&verified["adds_up"], &verified["members"]), (&json!(true), &json!(20)), "{verified}");
    let (mut from, mut names) = (0, Vec::new());
    loop {
        let events = server.get(&format!("/v1/campaigns/c1/events?from={from}&limit=3")).await.json();
        let items = events["items"].as_array().unwrap();
        if items.is_empty() {
            break;
        }
        names.extend(items.iter().map(|event| event["event"].as_str().unwrap().to_owned()));
        from = events["next"].as_u64().unwrap();
    }
    assert_eq!(names.iter().filter(|name| *name == "released").count(), 5, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "paused").count(), 1, "{names:?}");
}

#[tokio::test]
async fn an_empty_ledger_is_waited_for_and_no_longer_than_asked() {
    let server = Server::start().await;
    server
        .send(Method::POST, "/v1/artifacts?name=fw&version=2.0", &[], "firmware")
        .await
        .expect(StatusCode::CREATED);
    let definition = "name = 'first'\nartifact = { name = 'fw' }\nallow_zero_members = true";
    let toml = [("content-type", "application/toml")];
    server.send(Method::POST, "/v1/campaigns", &toml, definition).await.expect(StatusCode::CREATED);
    let began = std::time::Instant::now();
    let events = server.get("/v1/campaigns/c1/events?wait_s=1").await.expect(StatusCode::OK).json();
    assert_eq!(events, json!({"items": [], "next": 0}));
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
    let waiting = server.get("/v1/campaigns/c1/events?wait_s=60");
    let nothing = json!({});
    let start = server.post("/v1/campaigns/c1/start", &nothing);
    let (events, started) = tokio::join!(waiting, start);
    started.expect(StatusCode::OK);
    assert_ne!(events.json()["items"], json!([]));
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[tokio::test]
async fn wrong_tokens_lock_an_address_and_an_operator_there_goes_on() {
    let limits = LimitsSettings {
        admin_login_failures: Count::of(3),
        login_lock: Span::of_ms(2_000),
        ..LimitsSettings::default()
    };
    let settings = AdminSettings {
        trusted_proxies: vec![Network::parse("127.0.0.1").unwrap()],
        ..AdminSettings::default()
    };
    let server = Server::start_limited(settings, &limits).await;
    let (right, get) = (server.bearer(), Method::GET);
    let ask = async |address: &str, token: &str| {
        let headers = [("x-forwarded-for", address), ("authorization", token)];
        server.send_bare(get.clone(), "/v1/devices", &headers, "").await
    };
    ask("192.0.2.1", &right).await.expect(StatusCode::OK);
    for guess in 0..3 {
        ask("192.0.2.66", &format!("Bearer guess-number-{guess}")).await.expect(StatusCode::UNAUTHORIZED);
    }
    let answer = ask("192.0.2.66", &right).await;
    assert_eq!(
        answer.problem(StatusCode::TOO_MANY_REQUESTS)["type"],
        "urn:flotilla:problem:too-many-requests"
    );
    assert!((1..=3).contains(&answer.header("retry-after").parse::<u32>().unwrap()), "{answer:?}");
    ask("192.0.2.67", &right).await.expect(StatusCode::OK);

    // Where an operator is, somebody guesses too: behind one address, such as a proxy's that nobody named.
    for guess in 0..3 {
        ask("192.0.2.1", &format!("Bearer guess-number-{guess}")).await.expect(StatusCode::UNAUTHORIZED);
    }
    ask("192.0.2.1", "Bearer guess-number-4").await.expect(StatusCode::TOO_MANY_REQUESTS);
    ask("192.0.2.1", &right).await.expect(StatusCode::OK);

    // No token at all is no guess.
    for _ in 0..9 {
        let bare =
            server.send_bare(get.clone(), "/v1/devices", &[("x-forwarded-for", "192.0.2.9")], "").await;
        bare.expect(StatusCode::UNAUTHORIZED);
    }
    ask("192.0.2.9", &right).await.expect(StatusCode::OK);
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    ask("192.0.2.66", &right).await.expect(StatusCode::OK);
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("dm_rate_limited_total{by=\"admin-login\"} 2"), "{metrics}");
}

#[tokio::test]
async fn operators_requests_are_bounded_by_address_and_by_token() {
    for (limits, by) in [
        (
            LimitsSettings { admin_per_address: RateLimit::parse("3/h").unwrap(), ..Default::default() },
            "address",
        ),
        (LimitsSettings { admin_per_token: RateLimit::parse("3/h").unwrap(), ..Default::default() }, "token"),
    ] {
        let server = Server::start_limited(AdminSettings::default(), &limits).await;
        for _ in 0..3 {
            server.get("/v1/devices").await.expect(StatusCode::OK);
        }
        let answer = server.get("/v1/devices").await;
        answer.problem(StatusCode::TOO_MANY_REQUESTS);
        assert!(
            answer.header("retry-after").parse::<u32>().unwrap() >= 1000,
            "a third of an hour: {answer:?}"
        );
        let health = server.send_bare(Method::GET, "/health/livez", &[], "").await;
        assert_eq!(health.status, StatusCode::OK, "probes are not counted by {by}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_an_operators_browser() {
    let server = Server::start().await;
    let body = r#"{"id":"d1","auth":"none"}"#;
    for origin in ["https://evil.example", "null", "http://localhost:9999"] {
        let answer = server.send(Method::POST, "/v1/devices", &[("origin", origin)], body).await;
        answer.problem(StatusCode::FORBIDDEN);
    }
    server.get("/v1/devices/d1").await.expect(StatusCode::NOT_FOUND);
    let own = [("origin", "http://localhost")];
    let answer = server.send(Method::POST, "/v1/devices", &own, body).await.expect(StatusCode::CREATED);
    assert!(
        !answer.headers.contains_key("access-control-allow-origin"),
        "no page of another site may read an answer: {answer:?}"
    );
}
