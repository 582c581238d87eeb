//! How long it takes to start a campaign of many, and to give out their jobs. Run by hand, on a quiet machine:
//! `cargo test --release -p campaign-service --test scale -- --ignored --nocapture`, with `DEVICES` in the environment.

mod support;

use std::time::{Duration, Instant};

use support::{Place, definition, spawn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a quiet machine"]
async fn many_devices_are_started_and_released() {
    let devices = std::env::var("DEVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let begin = Instant::now();
    let place = Place::with_devices(devices).await;
    println!("{devices} devices added in {:.2?}", begin.elapsed());

    let service = place.service();
    let shutdown = spawn(&service);
    let begin = Instant::now();
    let text = format!(
        "in_flight_max = {devices}\nwaves = [{{percent = 1, gate = {{tried_min_percent = 0}}}}, {{}}]"
    );
    let id = service.create(definition(&text), None).await.unwrap();
    service.start(id, "ann").await.unwrap();
    println!("created and started in {:.2?}", begin.elapsed());

    while service.status(id).await.unwrap().in_flight < devices {
        assert!(begin.elapsed() < Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begin.elapsed();
    println!("all released in {took:.2?}: {:.0} a second", f64::from(devices) / took.as_secs_f64());

    let begin = Instant::now();
    assert!(service.verify(id).await.unwrap().adds_up);
    println!("verified in {:.2?}", begin.elapsed());
    shutdown.cancel();
}
