//! A campaign as it is stored: the definition with everything found out that it left open.

mod v1;

use dm_objects::agenda::{FirmwareMethod, FirmwareTask};
use serde::{Deserialize, Serialize};

use crate::codec::CodecError;
use crate::{Definition, Digest, Job, Method, Period, Phase, TimedPhase, codec};

/// The stored form that is written today. The first one is still read.
const VERSION: u8 = 2;

/// A definition with everything found out that it left open. Written once, when the campaign is created; what is
/// added or changed elsewhere afterwards does not reach into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the operator wrote.
    pub definition: Definition,
    /// The artifact that the definition named then.
    pub artifact: Artifact,
    /// What `./DevDetail/FwV` says after success.
    pub target_version: String,
    /// Decides which device is in which wave, and the spread of retries.
    pub seed: u64,
}

/// What a campaign must know about its artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its SHA-256.
    pub digest: Digest,
    /// Octets.
    pub size: u64,
    /// The name it was added by.
    pub name: String,
    /// The version it was added by.
    pub version: String,
}

impl Plan {
    /// Fills in what `definition` leaves open: the version from the artifact, the seed from `drawn`.
    pub fn new(definition: Definition, artifact: Artifact, drawn: u64) -> Self {
        let target_version = definition.target_version.clone().unwrap_or_else(|| artifact.version.clone());
        let seed = definition.seed.unwrap_or(drawn);
        Self { definition, artifact, target_version, seed }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is of another version, or cut, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.first() == Some(&1) {
            return codec::decode::<v1::PlanV1>(1, "plan", bytes).map(Self::from);
        }
        codec::decode(VERSION, "plan", bytes)
    }

    /// What the session with the job's device is to do. `url` is where the device finds the package (the artifact
    /// itself or its download descriptor); an in-band operation does not use it.
    pub fn firmware_task(&self, job: &Job, url: &str) -> FirmwareTask {
        FirmwareTask {
            correlator: job.correlator(),
            method: match self.definition.method {
                Method::Auto => FirmwareMethod::Url(url.into()),
                Method::DownloadThenUpdate => FirmwareMethod::DownloadThenUpdate(url.into()),
                Method::InBand => {
                    FirmwareMethod::InBand { digest: self.artifact.digest.0, size: self.artifact.size }
                }
            },
            package_name: self.artifact.name.clone(),
            package_version: self.artifact.version.clone(),
            target_version: self.target_version.clone(),
            stage: job.phase.stage(),
        }
    }

    /// The timer that runs in `phase`.
    pub fn timer(&self, phase: Phase) -> Timer {
        use dm_objects::agenda::FirmwareStage as Stage;
        let timers = &self.definition.timers;
        let timer = |phase, period, pausable| Timer { phase, period, pausable };
        match phase {
            Phase::Waiting => timer(TimedPhase::Wait, timers.wait, true),
            Phase::Session(Stage::Pending) | Phase::Running(Stage::Pending) => {
                timer(TimedPhase::Session, timers.session, true)
            }
            Phase::Session(stage) | Phase::Running(stage) => match stage {
                Stage::Pending | Stage::DownloadExecSent | Stage::Downloading => {
                    timer(TimedPhase::Download, timers.download, false)
                }
                // The install is due and waits for the device's next visit.
                Stage::Downloaded => timer(TimedPhase::Install, timers.wait, false),
                Stage::ExecSent | Stage::Updating if self.definition.method == Method::Auto => {
                    timer(TimedPhase::Install, timers.download.plus(timers.install), false)
                }
                Stage::ExecSent | Stage::Updating => timer(TimedPhase::Install, timers.install, false),
                Stage::Reported => timer(TimedPhase::Report, timers.report, false),
            },
        }
    }
}

/// How long a phase may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What its end is called.
    pub phase: TimedPhase,
    /// How long, from the event that began the phase.
    pub period: Period,
    /// It stands still while the campaign is paused, because the device gets no work then.
    pub pausable: bool,
}
