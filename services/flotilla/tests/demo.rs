//! The demo, small: the whole way from an empty folder to a campaign's end, over real sockets, with one kill.

#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;

use common::{flotilla, stderr, stdout};

#[test]
fn a_campaign_of_fifty_devices_ends_well_although_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("demo.html");
    let output = flotilla()
        .args(["demo", "--devices", "50", "--seed", "7", "--kills", "1", "--report"])
        .arg(&report)
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let text = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("FAIL"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(report.with_extension("json")).unwrap()).unwrap();
    assert_eq!((&json["ended_well"], &json["kills"]), (&true.into(), &1.into()));
    assert_eq!(json["campaign"]["state"], "finished");
    assert_eq!(json["fleet"]["versions"], serde_json::json!({"9.0.0": 50}));
    assert_eq!(json["fleet"]["execs"]["max_per_correlator"], 1);
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.get(..15).is_some_and(|begin| begin.eq_ignore_ascii_case("<!doctype html>")), "{page:.100}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the two reports are left: {left:?}");
}
