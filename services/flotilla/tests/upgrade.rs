//! Data directories as earlier versions left them, killed in the middle of a campaign: this version says the same of them, and goes on.
//!
//! `tests/samples` has one for each release, made by `tests/samples/make` with that release's program. They stay as they are.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{Server, client, flotilla, stderr, stdout};
use serde_json::Value;

/// How long the campaign of a sample may take to its end: those that were in the middle are given another attempt first.
const END: Duration = Duration::from_secs(90);

fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut samples: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect();
    samples.sort();
    samples
}

/// What `earlier` has and `now` does not, by where it is. `now` may have more: fields are added.
fn differences(at: &str, earlier: &Value, now: &Value, into: &mut Vec<String>) {
    match (earlier, now) {
        (Value::Object(earlier), Value::Object(now)) => {
            for (key, value) in earlier {
                differences(&format!("{at}/{key}"), value, now.get(key).unwrap_or(&Value::Null), into);
            }
        }
        (Value::Array(earlier), Value::Array(now)) if earlier.len() == now.len() => {
            for (index, (earlier, now)) in earlier.iter().zip(now).enumerate() {
                differences(&format!("{at}/{index}"), earlier, now, into);
            }
        }
        _ if earlier == now => {}
        _ => into.push(format!("{at}: {earlier} then, {now} now")),
    }
}

fn json(server: &Server, data: &Path, args: &[&str]) -> Value {
    let output = client(server, data, args, "");
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn says_the_same(server: &Server, data: &Path, said: &Path) {
    let read = |name: &str| std::fs::read_to_string(said.join(name)).unwrap();
    let device = read("tree-of");
    for (name, args) in [
        ("devices.json", vec!["device", "list", "-o", "json"]),
        ("artifacts.json", vec!["artifact", "list", "-o", "json"]),
        ("tree.json", vec!["device", "tree", device.trim(), "-o", "json"]),
    ] {
        let mut wrong = Vec::new();
        let earlier = serde_json::from_str(&read(name)).unwrap();
        differences(name, &earlier, &json(server, data, &args), &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

fn goes_on_to_its_end(server: &Server, data: &Path, campaign: &str) {
    let mut fleet = flotilla()
        .args([
            "fleet",
            "run",
            "--devices",
            "24",
            "--seed",
            "11",
            "--poll",
            "1s",
            "--duration",
            "90s",
            "--url",
        ])
        .arg(&server.devices)
        .spawn()
        .unwrap();
    let (begun, mut state) = (Instant::now(), Value::Null);
    while state != "finished" && begun.elapsed() < END {
        std::thread::sleep(Duration::from_millis(250));
        state = json(server, data, &["campaign", "show", campaign, "-o", "json"])["state"].take();
    }
    fleet.kill().unwrap();
    fleet.wait().unwrap();
    assert_eq!(state, "finished");
    let verified = client(server, data, &["campaign", "verify", campaign], "");
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

#[test]
fn a_data_directory_of_an_earlier_version_says_the_same_and_its_campaign_goes_on() {
    let samples = samples();
    assert!(!samples.is_empty(), "there is a sample of each release");
    for sample in samples {
        println!("{}", sample.display());
        let folder = tempfile::tempdir().unwrap();
        let unpacked =
            Command::new("tar").arg("-xzf").arg(&sample).arg("-C").arg(folder.path()).status().unwrap();
        assert!(unpacked.success());
        let (data, said) = (folder.path().join("data"), folder.path().join("said"));
        let server = Server::start(&data);
        says_the_same(&server, &data, &said);
        let campaign = std::fs::read_to_string(said.join("campaign")).unwrap();
        goes_on_to_its_end(&server, &data, campaign.trim());
        assert_eq!(server.terminate().code(), Some(0));
    }
}

#[test]
fn what_is_missing_or_changed_is_a_difference_and_what_was_added_is_not() {
    let earlier = serde_json::json!({"a": [1, {"b": 2}], "c": null});
    let of = |now: Value| {
        let mut found = Vec::new();
        differences("", &earlier, &now, &mut found);
        found
    };
    assert_eq!(of(serde_json::json!({"a": [1, {"b": 2, "more": 3}]})), Vec::<String>::new());
    assert_eq!(of(serde_json::json!({"a": [1, {"b": 3}], "c": null})), ["/a/1/b: 2 then, 3 now"]);
    assert_eq!(of(serde_json::json!({"a": [1]})).len(), 1);
}
