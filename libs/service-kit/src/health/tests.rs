use std::{cell::Cell, io, time::Duration};

use super::*;
use crate::Metrics;

fn started() -> (Health, Shutdown) {
    let shutdown = Shutdown::new();
    (Health::new(shutdown.clone()), shutdown)
}

#[test]
fn readiness_names_what_is_missing_and_liveness_does_not_care() {
    let (health, shutdown) = started();
    let metrics = Metrics::new("test");
    let ready = || page("/health/readyz", &health, Some(&metrics));
    health.needs("redis", "session");
    health.needs("scylla", "session, campaign");
    assert_eq!(ready().status, 503);
    shutdown.set_ready();
    assert!(health.found("redis"));
    assert!(!health.found("redis"), "that is no news");
    assert_eq!(ready().text, "scylla is missing (for session, campaign): not reached yet\n");
    assert!(health.missing("scylla", "connection refused"));
    assert!(!health.missing("scylla", "connection refused"), "that is no news");
    assert!(ready().text.contains("connection refused"));
    assert_eq!(page("/health/livez", &health, Some(&metrics)).status, 200);
    health.found("scylla");
    assert_eq!((ready().status.as_u16(), ready().text.as_str()), (200, "ok\n"));
    health.missing("redis", "gone");
    shutdown.begin();
    assert_eq!(ready().text, "draining\nredis is missing (for session): gone\n");
    assert_eq!(page("/health/livez", &health, Some(&metrics)).status, 200);
    assert_eq!(page("/", &health, Some(&metrics)).status, 503);
}

#[test]
fn a_process_serves_while_a_server_is_away_but_not_before_its_start_nor_after_its_end() {
    let (health, shutdown) = started();
    health.needs("redis", "session");
    let serving = || page("/health/servez", &health, None);
    assert_eq!((serving().status.as_u16(), serving().text.as_str()), (503, "starting\n"));
    assert_eq!(page("/v1/devices", &health, None), serving(), "there may be such a page soon");
    shutdown.set_ready();
    assert_eq!(page("/v1/devices", &health, None).status, 404);
    assert_eq!(page("/health/readyz", &health, None).status, 503);
    assert_eq!((serving().status.as_u16(), serving().text.as_str()), (200, "ok\n"));
    shutdown.begin();
    assert_eq!((serving().status.as_u16(), serving().text.as_str()), (503, "draining\n"));
}

#[test]
fn metrics_show_readiness_and_each_server() {
    let (health, shutdown) = started();
    let metrics = Metrics::new("test");
    let health = health.shown_in(&metrics);
    health.needs("redis", "session");
    let shows = |lines: [&str; 2]| {
        let text = metrics.expose();
        for line in lines {
            assert!(text.contains(&format!("{line}\n")), "{line} is missing in:\n{text}");
        }
    };
    shows(["dm_ready 0", "dm_store_up{store=\"redis\"} 0"]);
    health.found("redis");
    shows(["dm_ready 0", "dm_store_up{store=\"redis\"} 1"]);
    shutdown.set_ready();
    shows(["dm_ready 1", "dm_store_up{store=\"redis\"} 1"]);
    health.missing("redis", "gone");
    shows(["dm_ready 0", "dm_store_up{store=\"redis\"} 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_tried_again_until_it_is_there() {
    let (health, _) = started();
    health.needs("redis", "session");
    let tries = Cell::new(0);
    let got = health
        .wait_for("redis", Duration::from_secs(5), || {
            tries.set(tries.get() + 1);
            let outcome = if tries.get() < 6 { Err(io::Error::other("refused")) } else { Ok(tries.get()) };
            std::future::ready(outcome)
        })
        .await;
    assert_eq!(got, Some(6));
    assert!(health.lock()["redis"].missing.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_server_that_is_down() {
    let (health, shutdown) = started();
    health.needs("redis", "session");
    let began = tokio::time::Instant::now();
    let wait = health.wait_for::<(), io::Error, _>("redis", Duration::from_secs(3600), std::future::pending);
    let end = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        shutdown.begin();
    };
    assert_eq!(tokio::join!(wait, end).0, None);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_and_comes_back_is_seen_to() {
    let (health, shutdown) = started();
    shutdown.set_ready();
    health.needs("kafka", "campaign");
    let second = Duration::from_secs(1);
    let asked = Cell::new(0);
    let watch = health.watch("kafka", second, second, || {
        asked.set(asked.get() + 1);
        let round = asked.get();
        async move {
            match round {
                2 => Err(io::Error::other("refused")),
                3 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    });
    let look = async {
        let (began, mut seen) = (tokio::time::Instant::now(), Vec::new());
        for at_ms in [1500, 2500, 4500, 5500] {
            tokio::time::sleep_until(began + Duration::from_millis(at_ms)).await;
            seen.push(health.ready().map_err(|missing| missing.to_string()));
        }
        shutdown.begin();
        seen
    };
    let ((), seen) = tokio::join!(watch, look);
    let said: Vec<bool> = seen.iter().map(Result::is_ok).collect();
    assert_eq!(said, [true, false, false, true], "{seen:?}");
    assert!(seen[1].as_ref().unwrap_err().contains("refused"));
    assert!(seen[2].as_ref().unwrap_err().contains("no answer within 1s"));
}

#[tokio::test]
async fn the_listener_answers_probes_until_it_is_told_to_stop() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (health, shutdown) = started();
    shutdown.set_ready();
    let metrics = Metrics::new("test");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ask = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let probes = async {
        assert!(ask("/health/readyz").await.starts_with("HTTP/1.1 200 "));
        assert!(ask("/metrics").await.contains("# TYPE"));
        assert!(ask("/nothing").await.starts_with("HTTP/1.1 404 "));
        shutdown.begin();
        assert!(ask("/health/readyz").await.contains("draining"));
        assert!(ask("/health/livez").await.starts_with("HTTP/1.1 200 "));
    };
    serve(&listener, None, &health, Some(&metrics), probes).await;
}

/// Threat: connections that say nothing take every slot, the next probe is refused, and a healthy process is restarted.
#[tokio::test]
async fn who_holds_connections_to_the_health_listener_holds_up_no_probe_for_long() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (health, shutdown) = started();
    shutdown.set_ready();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let probe = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET /health/livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer.starts_with("HTTP/1.1 200 ")
    };
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..64 {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /health").await.unwrap();
            held.push(stream);
        }
        // Until then all slots are theirs, or this test shows nothing.
        let was_refused = !probe().await;
        let began = std::time::Instant::now();
        while !probe().await {
            assert!(began.elapsed() < Duration::from_secs(20), "probes are refused for good");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        was_refused
    };
    let refused = std::cell::Cell::new(false);
    serve(&listener, None, &health, None, async { refused.set(attack.await) }).await;
    assert!(refused.get(), "the slots were not taken");
}
