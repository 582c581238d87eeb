use super::*;

const FULL: &str = r#"
name = "fw 2.0"
artifact = { name = "fw", version = "2.0" }
method = "download-then-update"
target_version = "2.0.1"
in_flight_max = 500
seed = 42

[target]
maker = "Acme"
model = ["M1", "M2"]
firmware = ["1.0", "1.1"]
tags_any = ["pilot"]
[target.tree]
"./DevDetail/HwV" = ["rev-b"]

[[waves]]
percent = 1
[waves.gate]
success_min_percent = 95
soak = "2h"
approval = true
[[waves]]
up_to_percent = 25.5
[[waves]]

[failure_gate]
failure_max_percent = 5
failure_max_count = 100

[timers]
wait = "14d"

[retry.transient]
attempts_max = 6
delay = "10m"
"#;

#[test]
fn a_file_is_read_with_its_defaults() {
    let definition = Definition::parse(FULL).unwrap();
    assert_eq!(definition.method, Method::DownloadThenUpdate);
    assert_eq!(definition.target.maker, ["Acme"]);
    let reach: Vec<_> = definition.waves.iter().map(|wave| wave.up_to.as_percent()).collect();
    assert_eq!(reach, [1.0, 25.5, 100.0]);
    assert!(definition.waves[0].gate.approval);
    assert_eq!(definition.waves[0].gate.failure_max, Gate::default().failure_max);
    assert_eq!(definition.timers.wait, Period::from_secs(14 * 86400));
    assert_eq!(definition.timers.session, Timers::default().session);
    assert_eq!(
        (definition.retry.transient.attempts_max, definition.retry.transient.delay),
        (6, Period::from_secs(600))
    );
    assert_eq!(definition.retry.silent, RetryPolicy::default().silent);
}

#[test]
fn what_is_shown_as_json_reads_back_the_same() {
    for text in [
        FULL,
        "name = 'x'\nartifact = { digest = 'sha256:00ff000000000000000000000000000000000000000000000000000000000001' }",
    ] {
        let definition = Definition::parse(text).unwrap();
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(Definition::parse(&json).unwrap(), definition, "{json}");
    }
}

#[test]
fn all_mistakes_are_reported_together_by_key() {
    let text = r#"
nam = "x"
artifact = { digest = "sha256:xyz" }
method = "by-post"
in_flight_max = 0
[target]
makr = "Acme"
tree = { "./A" = 3 }
[[waves]]
percent = 60
[[waves]]
percent = 60
gate = { soak = "2 fortnights" }
[timers]
wait = "0s"
[retry.transient]
attempts_max = 1000
"#;
    let Err(DefinitionError::Mistakes(mistakes)) = Definition::parse(text) else {
        panic!("mistakes expected")
    };
    let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
    let want = [
        "name",
        "artifact.digest",
        "method",
        "target.tree.\"./A\"",
        "target.makr",
        "waves[1].percent",
        "waves[1].gate.soak",
        "in_flight_max",
        "timers.wait",
        "retry.transient.attempts_max",
        "nam",
    ];
    assert_eq!(keys, want, "{mistakes:#?}");
}

#[test]
fn waves_must_grow_and_reach_everybody() {
    let with = |waves: &str| {
        let text = format!(r#"{{"name":"x","artifact":{{"name":"fw"}},"waves":{waves}}}"#);
        Definition::parse(&text).map(|definition| definition.waves.len())
    };
    assert_eq!(with(r#"[{"percent":10},{"percent":90}]"#), Ok(2));
    assert_eq!(with(r#"[{"percent":10},{}]"#), Ok(2));
    assert_eq!(with(r#"[{}]"#), Ok(1));
    for waves in [
        "[]",
        "[{},{}]",
        r#"[{"percent":10},{"percent":80}]"#,
        r#"[{"up_to_percent":50},{"up_to_percent":40},{}]"#,
        r#"[{"percent":0},{}]"#,
        r#"[{"percent":10,"up_to_percent":10},{}]"#,
        r#"[{"percent":100},{}]"#,
        "3",
    ] {
        assert!(with(waves).is_err(), "{waves}");
    }
}
