//! What a campaign is: the file that an operator writes.

mod read;
mod table;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

pub use self::read::{DefinitionError, Mistake};
use crate::{Filter, Period, RetryPolicy, Share, TimedPhase};

/// What a campaign is, as an operator writes it. Read by [`Definition::parse_toml`], [`Definition::parse_json`] and
/// [`Definition::from_value`]; shown by serializing it as JSON, which reads back as the same definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// `name`: for people, 1 to 120 characters.
    pub name: String,
    /// `artifact`: `{ name = "fw", version = "2.0" }` or `{ digest = "sha256:…" }`.
    pub artifact: ArtifactRef,
    /// `operation`: `"firmware"`, which is the default and so far the only one.
    pub operation: Operation,
    /// `method`: `"auto"` (the default), `"download-then-update"` or `"in-band"`.
    pub method: Method,
    /// `target_version`: what `./DevDetail/FwV` says after success. Default: the artifact's version.
    pub target_version: Option<String>,
    /// `[target]`: which devices. Default: all.
    pub target: Filter,
    /// `[[waves]]`: 1 to 100. Default: one wave of all.
    pub waves: Vec<Wave>,
    /// `in_flight_max`: devices that have been given an attempt which has not ended. Never exceeded. Default: 1000.
    pub in_flight_max: NonZeroU32,
    /// `[failure_gate]`: when the whole campaign pauses by itself.
    pub failure_gate: FailureGate,
    /// `[timers]`: how long each phase may take.
    pub timers: Timers,
    /// `[retry.…]`: who gets another attempt, and when.
    pub retry: RetryPolicy,
    /// `seed`: decides which device is in which wave, and the spread of retries. Default: drawn at creation.
    pub seed: Option<u64>,
    /// `allow_zero_members`: a campaign whose target matches nobody may start, and is finished then. Default: false.
    pub allow_zero_members: bool,
    /// `trigger`: devices whose bearer is known are asked to come when their attempt begins. Default: true. A device that has
    /// no address, or does not hear, comes by itself within the timer `wait`, as without.
    pub trigger: bool,
}

/// Which artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// `digest`: `sha256:` and 64 hexadecimal digits. Names the artifact alone.
    pub digest: Option<Digest>,
    /// `name`: as it was added. The newest of that name and version is taken.
    pub name: Option<String>,
    /// `version`: as it was added. Default: the newest of that name.
    pub version: Option<String>,
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// What is done to the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A firmware update by FUMO.
    #[default]
    Firmware,
}

/// How the package gets to the device (FUMO 1.0, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// DownloadAndUpdate where the device has it, else Download and then Update.
    #[default]
    Auto,
    /// Download, and Update once the download has been reported.
    DownloadThenUpdate,
    /// Written into the tree as a large object, then Update.
    InBand,
}

/// A part of a campaign that starts together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// `up_to_percent`: of all members, this wave and those before it; or `percent`: this wave alone. The last wave
    /// may say neither and takes the rest; together they are everybody.
    #[serde(rename = "up_to_percent")]
    pub up_to: Share,
    /// `[waves.gate]`: what must hold before the next wave opens. Not asked for after the last.
    pub gate: Gate,
}

/// What must hold after a wave before the next one opens.
///
/// Percentages are of the devices that were tried: those in a last state, and those that wait for another attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// `success_min_percent`: default 90.
    #[serde(rename = "success_min_percent")]
    pub success_min: Share,
    /// `failure_max_percent`: more pause the campaign. Default 10.
    #[serde(rename = "failure_max_percent")]
    pub failure_max: Share,
    /// `silence_max_percent`: devices that ended by a timer; more pause the campaign. Default 20.
    #[serde(rename = "silence_max_percent")]
    pub silence_max: Share,
    /// `tried_min_percent`: of the wave's members, before the gate may open. Default 90.
    #[serde(rename = "tried_min_percent")]
    pub tried_min: Share,
    /// `sample_min`: devices tried before failure and silence are judged at all (the whole wave where it is smaller).
    /// Default 20.
    pub sample_min: u32,
    /// `soak`: how long to wait, once enough were tried, before the gate is judged open. Default 0s.
    pub soak: Period,
    /// `approval`: when the gate holds, pause until somebody resumes. Default false.
    pub approval: bool,
}

/// When the whole campaign pauses by itself. Percentages are of the devices tried, as in [`Gate`], since somebody last
/// resumed the campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureGate {
    /// `failure_max_percent`: default 20. 100 switches it off.
    #[serde(rename = "failure_max_percent")]
    pub failure_max: Share,
    /// `failure_max_count`: default none.
    pub failure_max_count: Option<NonZeroU32>,
    /// `silence_max_percent`: default 50. 100 switches it off.
    #[serde(rename = "silence_max_percent")]
    pub silence_max: Share,
    /// `package_fault_max_count`: failures that say that the package is wrong or broken. Default none.
    pub package_fault_max_count: Option<NonZeroU32>,
    /// `sample_min`: devices tried before percentages are judged. Default 50.
    pub sample_min: u32,
}

/// How long each phase may take, from 1s to 1 year each. At its end the attempt ends too, by that phase's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// `wait`: from the release to the device's coming, whether it was asked to come or not; and after a download, to its coming for the update. Stands still
    /// while the campaign is paused. Default 7d.
    ///
    /// A trigger has no timer of its own beside this one: Package #0 is answered by nothing but the session, so a device
    /// that did not hear it, one that cannot come and one that was never asked are the same silence, and whoever waited
    /// shorter for a trigger would only have to go on waiting for the device's own visit. What has a period of its own is
    /// the repeat of a trigger (`notify.repeat_after` in the settings), which ends no attempt.
    pub wait: Period,
    /// `session`: a session that has sent no Exec. Stands still while the campaign is paused. Default 30m.
    pub session: Period,
    /// `download`: default 12h.
    pub download: Period,
    /// `install`: default 4h. One operation that downloads and installs has both times.
    pub install: Period,
    /// `report`: from the report of success until the version has been read back. Default 1d.
    pub report: Period,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            success_min: Share::from_percent(90),
            failure_max: Share::from_percent(10),
            silence_max: Share::from_percent(20),
            tried_min: Share::from_percent(90),
            sample_min: 20,
            soak: Period::ZERO,
            approval: false,
        }
    }
}

impl Default for FailureGate {
    fn default() -> Self {
        Self {
            failure_max: Share::from_percent(20),
            failure_max_count: None,
            silence_max: Share::from_percent(50),
            package_fault_max_count: None,
            sample_min: 50,
        }
    }
}

impl Timers {
    /// The timer of a phase.
    pub fn of(&self, phase: TimedPhase) -> Period {
        match phase {
            TimedPhase::Wait => self.wait,
            TimedPhase::Session => self.session,
            TimedPhase::Download => self.download,
            TimedPhase::Install => self.install,
            TimedPhase::Report => self.report,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        Self {
            wait: Period::from_secs(7 * DAY),
            session: Period::from_secs(30 * MINUTE),
            download: Period::from_secs(12 * HOUR),
            install: Period::from_secs(4 * HOUR),
            report: Period::from_secs(DAY),
        }
    }
}

impl Definition {
    /// What the file says when it says no more than this.
    pub fn new(name: impl Into<String>, artifact: ArtifactRef) -> Self {
        Self {
            name: name.into(),
            artifact,
            operation: Operation::default(),
            method: Method::default(),
            target_version: None,
            target: Filter::default(),
            waves: vec![Wave { up_to: Share::ALL, gate: Gate::default() }],
            in_flight_max: NonZeroU32::MIN.saturating_add(999),
            failure_gate: FailureGate::default(),
            timers: Timers::default(),
            retry: RetryPolicy::default(),
            seed: None,
            allow_zero_members: false,
            trigger: true,
        }
    }
}

impl ArtifactRef {
    /// By its digest.
    pub fn digest(digest: [u8; 32]) -> Self {
        Self { digest: Some(Digest(digest)), name: None, version: None }
    }

    /// By name and version.
    pub fn named(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { digest: None, name: Some(name.into()), version: Some(version.into()) }
    }
}

impl std::fmt::Display for ArtifactRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.digest, &self.name, &self.version) {
            (Some(digest), ..) => digest.fmt(f),
            (None, Some(name), Some(version)) => write!(f, "{name} {version}"),
            (None, name, _) => f.write_str(name.as_deref().unwrap_or("?")),
        }
    }
}

impl Digest {
    /// Reads 64 hexadecimal digits, with or without `sha256:` before them.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (octet, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` would take a sign.
            if pair.starts_with('+') {
                return None;
            }
            *octet = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests;
