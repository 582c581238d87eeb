use super::*;

#[test]
fn asking_twice_gives_the_same_counter_and_labels_tell_series_apart() {
    let metrics = Metrics::new("9.9.9");
    metrics.counter("dm_things_total", "Things that were.", &[("kind", "a")]).increment();
    metrics.counter("dm_things_total", "Things that were.", &[("kind", "a")]).add(2);
    metrics.counter("dm_things_total", "Things that were.", &[("kind", "b")]).increment();
    let text = metrics.expose();
    for line in [
        "dm_things_total{kind=\"a\"} 3",
        "dm_things_total{kind=\"b\"} 1",
        "dm_build_info{version=\"9.9.9\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}

#[test]
fn every_series_of_the_front_end_is_there_from_the_start() {
    let metrics = Metrics::new("1");
    let session = SessionMetrics::new(&metrics);
    session.message_in(WireEncoding::Wbxml, MessageResult::Ok);
    session.shed(Shed::Messages);
    session.message_seconds(Duration::from_micros(70));
    let text = metrics.expose();
    for line in [
        "dm_messages_total{direction=\"in\",encoding=\"wbxml\",result=\"ok\"} 1",
        "dm_messages_total{direction=\"in\",encoding=\"xml\",result=\"malformed\"} 0",
        "dm_shed_total{reason=\"messages\"} 1",
        "dm_auth_failures_total{reason=\"wrong\",scheme=\"md5\"} 0",
        "dm_message_duration_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}

#[test]
fn a_reading_is_taken_at_each_look() {
    let metrics = Metrics::new("1");
    let level = Arc::new(Mutex::new(1.5));
    let seen = Arc::clone(&level);
    metrics.gauge_of("dm_level_bytes", "A level.", &[("of", "tank")], move || *seen.lock().unwrap());
    metrics.counter_of("dm_drops_total", "Drops that fell.", &[], || 7.0);
    assert!(metrics.expose().contains("dm_level_bytes{of=\"tank\"} 1.5"));
    *level.lock().unwrap() = 2.0;
    let text = metrics.expose();
    for line in ["dm_level_bytes{of=\"tank\"} 2", "# TYPE dm_drops_total counter", "dm_drops_total 7"] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert_eq!(metrics.expose().matches("dm_drops_total 7").count(), 1, "read again, not added up");
}

#[test]
fn families_tell_labels_and_their_values() {
    let metrics = Metrics::new("1");
    metrics.counter("dm_things_total", "Things that were.", &[("kind", "b")]);
    metrics.counter("dm_things_total", "Things that were.", &[("kind", "a")]);
    metrics.histogram("dm_wait_seconds", "Time waited.", &[], &[1.0]);
    let families = metrics.families();
    let names: Vec<_> = families.iter().map(|family| (family.name.as_str(), family.kind)).collect();
    let want = [
        ("dm_build_info", Kind::Gauge),
        ("dm_things_total", Kind::Counter),
        ("dm_wait_seconds", Kind::Histogram),
    ];
    assert_eq!(names, want);
    let values: Vec<_> = families[1].labels["kind"].iter().map(String::as_str).collect();
    assert_eq!(values, ["a", "b"]);
    assert_eq!((families[1].unit(), families[2].unit()), ("things", "seconds"));
}

#[test]
#[should_panic(expected = "dm_wait_ms")]
fn a_name_against_the_conventions_is_no_metric() {
    Metrics::new("1").gauge("dm_wait_ms", "Time waited.", &[]);
}

#[test]
fn the_process_and_its_disk_are_seen() {
    let metrics = Metrics::new("1");
    show_process(&metrics);
    show_filesystem(&metrics, std::env::temp_dir());
    let text = metrics.expose();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value("process_start_time_seconds");
    assert!(start <= now + 2.0 && start > now - 7.0 * 24.0 * 3600.0, "{start} {now}");
    let (free, size) = (value("dm_data_filesystem_avail_bytes"), value("dm_data_filesystem_size_bytes"));
    assert!(free > 0.0 && free <= size, "{free} {size}");
}

#[test]
fn calls_are_timed_and_their_failures_counted_by_kind() {
    let metrics = Metrics::new("1");
    let calls = CallMetrics::new(&metrics, CallStore::Redis);
    let begun = std::time::Instant::now();
    calls.done(begun, None);
    calls.done(begun, Some("timed-out"));
    calls.done(begun, Some("a kind that nobody named"));
    let text = metrics.expose();
    for line in [
        "dm_store_call_duration_seconds_count{store=\"redis\"} 3",
        "dm_store_call_failures_total{kind=\"timed-out\",store=\"redis\"} 1",
        "dm_store_call_failures_total{kind=\"other\",store=\"redis\"} 1",
        "dm_store_call_failures_total{kind=\"unavailable\",store=\"redis\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
}
