//! Reading a definition from its file, all mistakes together.

use std::{fmt, num::NonZeroU32};

use serde_json::Value;

use super::{
    ArtifactRef, Definition, Digest, FailureGate, Gate, Method, Operation, Timers, Wave,
    table::{Mistakes, Table},
};
use crate::{Filter, Period, RetryPolicy, RetryRule, Share};

/// The most waves a campaign has.
const WAVES_MAX: usize = 100;
/// The longest timer or delay.
const YEAR: Period = Period::from_secs(365 * 24 * 3600);
/// The shortest timer.
const SHORTEST: Period = Period::from_secs(1);

/// Why a text is no definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It is not TOML or JSON at all.
    #[error("could not read the campaign's file: {0}")]
    Syntax(String),
    /// It is, and these keys are wrong.
    #[error("{}", list(.0))]
    Mistakes(Vec<Mistake>),
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The key, such as `waves[1].gate.soak`.
    pub key: String,
    /// What was expected and what came.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Definition {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`], with every mistake in it.
    pub fn parse_toml(text: &str) -> Result<Self, DefinitionError> {
        let value = toml::from_str(text).map_err(|error| DefinitionError::Syntax(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`], with every mistake in it.
    pub fn parse_json(text: &str) -> Result<Self, DefinitionError> {
        let value = serde_json::from_str(text).map_err(|error| DefinitionError::Syntax(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads TOML or JSON: JSON when the first character that is no space is a brace.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`], with every mistake in it.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        if text.trim_start().starts_with('{') { Self::parse_json(text) } else { Self::parse_toml(text) }
    }

    /// Reads a JSON value.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`], with every mistake in it.
    pub fn from_value(value: &Value) -> Result<Self, DefinitionError> {
        let Some(values) = value.as_object() else {
            return Err(DefinitionError::Syntax("expected a table of keys".into()));
        };
        let mistakes = Mistakes::default();
        let definition = read(Table::new(String::new(), values, &mistakes));
        let mistakes = mistakes.into_inner();
        if mistakes.is_empty() { Ok(definition) } else { Err(DefinitionError::Mistakes(mistakes)) }
    }
}

/// Reads the whole file. Where there are mistakes the result is not used.
fn read(mut file: Table<'_>) -> Definition {
    if !file.has("name") {
        file.wrong("name", "missing; expected the campaign's name");
    }
    let name = file.text("name", 120).unwrap_or_default();
    let mut definition = Definition::new(name, read_artifact(&mut file));
    definition.operation = file.word("operation", &[("firmware", Operation::Firmware)]).unwrap_or_default();
    let methods = [
        ("auto", Method::Auto),
        ("download-then-update", Method::DownloadThenUpdate),
        ("in-band", Method::InBand),
    ];
    definition.method = file.word("method", &methods).unwrap_or_default();
    definition.target_version = file.text("target_version", 200);
    definition.target = file.table("target").map(read_filter).unwrap_or_default();
    if let Some(waves) = read_waves(&mut file) {
        definition.waves = waves;
    }
    if let Some(count) = file.count("in_flight_max", 1).and_then(NonZeroU32::new) {
        definition.in_flight_max = count;
    }
    definition.failure_gate = file.table("failure_gate").map(read_failure_gate).unwrap_or_default();
    definition.timers = file.table("timers").map(read_timers).unwrap_or_default();
    definition.retry = file.table("retry").map(read_retry).unwrap_or_default();
    // TOML has no numbers beyond this one.
    definition.seed = file.number("seed", 0..=i64::MAX as u64);
    definition.allow_zero_members = file.flag("allow_zero_members").unwrap_or(false);
    definition.trigger = file.flag("trigger").unwrap_or(true);
    file.finish();
    definition
}

fn read_artifact(file: &mut Table<'_>) -> ArtifactRef {
    let mut artifact = ArtifactRef { digest: None, name: None, version: None };
    if !file.has("artifact") {
        file.wrong(
            "artifact",
            "missing; expected { name = \"…\", version = \"…\" } or { digest = \"sha256:…\" }",
        );
    }
    let Some(mut table) = file.table("artifact") else { return artifact };
    if let Some(text) = table.text("digest", 71) {
        artifact.digest = Digest::parse(&text);
        if artifact.digest.is_none() {
            table.wrong("digest", "expected sha256: and 64 hexadecimal digits");
        }
    }
    artifact.name = table.text("name", 200);
    artifact.version = table.text("version", 200);
    match (table.has("digest"), table.has("name"), table.has("version")) {
        (false, false, _) => table.wrong("name", "missing; expected a name, or a digest"),
        (true, true, _) | (true, _, true) => {
            table.wrong("digest", "names the artifact alone; leave name and version out");
        }
        _ => {}
    }
    table.finish();
    artifact
}

fn read_filter(mut table: Table<'_>) -> Filter {
    let filter = Filter {
        maker: table.texts("maker").unwrap_or_default(),
        model: table.texts("model").unwrap_or_default(),
        firmware: table.texts("firmware").unwrap_or_default(),
        firmware_not: table.texts("firmware_not").unwrap_or_default(),
        tags_all: table.texts("tags_all").unwrap_or_default(),
        tags_any: table.texts("tags_any").unwrap_or_default(),
        tags_none: table.texts("tags_none").unwrap_or_default(),
        ids: table.texts("ids").unwrap_or_default(),
        ids_not: table.texts("ids_not").unwrap_or_default(),
        tree: table.texts_by_key("tree").into_iter().collect(),
    };
    table.finish();
    filter
}

fn read_waves(file: &mut Table<'_>) -> Option<Vec<Wave>> {
    let tables = file.tables("waves")?;
    let count = tables.len();
    if !(1..=WAVES_MAX).contains(&count) {
        file.wrong("waves", format!("expected 1 to {WAVES_MAX} waves, got {count}"));
    }
    let mut before = Share::default();
    let mut waves = Vec::new();
    for (at, mut table) in tables.into_iter().enumerate() {
        let up_to = read_share(&mut table, before, at + 1 == count);
        let gate = table.table("gate").map(read_gate).unwrap_or_default();
        table.finish();
        before = up_to;
        waves.push(Wave { up_to, gate });
    }
    Some(waves)
}

/// How far this wave reaches, with those before it.
fn read_share(table: &mut Table<'_>, before: Share, is_last: bool) -> Share {
    let own = table.percent("percent");
    let cumulative = table.percent("up_to_percent");
    let up_to = match (table.has("percent"), table.has("up_to_percent")) {
        (true, true) => {
            table.wrong("percent", "expected percent or up_to_percent, got both");
            return before;
        }
        (false, false) if is_last => Some(Share::ALL),
        (false, false) => {
            table.wrong("percent", "missing; only the last wave may leave it out and take the rest");
            return before;
        }
        (true, false) => {
            let Some(own) = own else { return before };
            before.checked_add(own)
        }
        (false, true) if cumulative.is_none() => return before,
        (false, true) => cumulative,
    };
    match up_to {
        None => table.wrong("percent", "the waves together are more than 100 %"),
        Some(up_to) if up_to <= before => table.wrong(
            if own.is_some() { "percent" } else { "up_to_percent" },
            format!("expected more than the waves before, which reach {before}, got {up_to}"),
        ),
        Some(up_to) if is_last && up_to != Share::ALL => table.wrong(
            if own.is_some() { "percent" } else { "up_to_percent" },
            format!("the waves together are {up_to}; expected 100 % at the last"),
        ),
        Some(_) => {}
    }
    up_to.unwrap_or(before)
}

fn read_gate(mut table: Table<'_>) -> Gate {
    let usual = Gate::default();
    let gate = Gate {
        success_min: table.percent("success_min_percent").unwrap_or(usual.success_min),
        failure_max: table.percent("failure_max_percent").unwrap_or(usual.failure_max),
        silence_max: table.percent("silence_max_percent").unwrap_or(usual.silence_max),
        tried_min: table.percent("tried_min_percent").unwrap_or(usual.tried_min),
        sample_min: table.count("sample_min", 1).unwrap_or(usual.sample_min),
        soak: table.period("soak", Period::ZERO..=YEAR).unwrap_or(usual.soak),
        approval: table.flag("approval").unwrap_or(usual.approval),
    };
    table.finish();
    gate
}

fn read_failure_gate(mut table: Table<'_>) -> FailureGate {
    let usual = FailureGate::default();
    let gate = FailureGate {
        failure_max: table.percent("failure_max_percent").unwrap_or(usual.failure_max),
        failure_max_count: table.count("failure_max_count", 1).and_then(NonZeroU32::new),
        silence_max: table.percent("silence_max_percent").unwrap_or(usual.silence_max),
        package_fault_max_count: table.count("package_fault_max_count", 1).and_then(NonZeroU32::new),
        sample_min: table.count("sample_min", 1).unwrap_or(usual.sample_min),
    };
    table.finish();
    gate
}

fn read_timers(mut table: Table<'_>) -> Timers {
    let usual = Timers::default();
    let timers = Timers {
        wait: table.period("wait", SHORTEST..=YEAR).unwrap_or(usual.wait),
        session: table.period("session", SHORTEST..=YEAR).unwrap_or(usual.session),
        download: table.period("download", SHORTEST..=YEAR).unwrap_or(usual.download),
        install: table.period("install", SHORTEST..=YEAR).unwrap_or(usual.install),
        report: table.period("report", SHORTEST..=YEAR).unwrap_or(usual.report),
    };
    table.finish();
    timers
}

fn read_retry(mut table: Table<'_>) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    for (key, rule) in policy.rules_mut() {
        if let Some(rule_table) = table.table(key) {
            *rule = read_rule(rule_table, *rule);
        }
    }
    table.finish();
    policy
}

fn read_rule(mut table: Table<'_>, usual: RetryRule) -> RetryRule {
    let attempts_max = table.number("attempts_max", 1..=u64::from(RetryRule::ATTEMPTS_MAX));
    let rule = RetryRule {
        attempts_max: attempts_max.and_then(|max| u8::try_from(max).ok()).unwrap_or(usual.attempts_max),
        delay: table.period("delay", Period::ZERO..=YEAR).unwrap_or(usual.delay),
        delay_max: table.period("delay_max", Period::ZERO..=YEAR).unwrap_or(usual.delay_max),
    };
    table.finish();
    rule
}
