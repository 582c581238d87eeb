//! A device of the simulation: what it does with a job, by its nature.

use std::collections::BTreeMap;

use campaign::{Job, Period};
use dm_objects::agenda::{FirmwareFact, FirmwareStage};
use jiff::Timestamp;
use rand::{Rng, rngs::SmallRng};
use syncml::StatusCode;

use super::MINUTE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    /// Fails most attempts with this code.
    Failing(u16),
    /// Never comes.
    Absent,
    /// Comes until it has the Exec, and never again.
    Bricked,
    Refusing,
    NotCapable,
    /// Reports success with another version.
    Liar,
    /// Has the version already.
    Current,
}

pub(crate) struct Device {
    nature: Nature,
    /// Mean time between visits.
    visits: u64,
    bricked: bool,
    version: &'static str,
    /// The end of the install that runs now.
    busy_until: Option<Timestamp>,
    result: Option<u16>,
    execs: BTreeMap<u16, u32>,
}

impl Device {
    pub(crate) fn draw(rng: &mut SmallRng, _ordinal: u32) -> Self {
        let nature = match rng.random_range(0..100) {
            0..70 => Nature::Good,
            70..78 => Nature::Failing([402, 407, 410, 503, 401][rng.random_range(0..5)]),
            78..82 => Nature::Absent,
            82..86 => Nature::Bricked,
            86..90 => Nature::Refusing,
            90..93 => Nature::NotCapable,
            93..96 => Nature::Liar,
            _ => Nature::Current,
        };
        Self {
            nature,
            visits: rng.random_range(600..30_000),
            bricked: false,
            version: if nature == Nature::Current { "2.0" } else { "1.0" },
            busy_until: None,
            result: None,
            execs: BTreeMap::new(),
        }
    }

    pub(crate) fn next_visit(&self, rng: &mut SmallRng) -> Option<Period> {
        (self.nature != Nature::Absent && !self.bricked)
            .then(|| Period::from_secs(rng.random_range(60..2 * self.visits)))
    }

    pub(crate) fn execs(&self) -> impl Iterator<Item = (u16, u32)> {
        self.execs.iter().map(|(&attempt, &execs)| (attempt, execs))
    }

    pub(crate) fn is_updated(&self) -> bool {
        self.version == "2.0"
    }

    /// One session: what the server finds out. Some facts come twice.
    pub(crate) fn work_on(&mut self, job: &Job, now: Timestamp, rng: &mut SmallRng) -> Vec<FirmwareFact> {
        let mut facts = self.session(job, now, rng);
        if rng.random_bool(0.1)
            && let Some(first) = facts.first().cloned()
        {
            facts.insert(0, first);
        }
        facts
    }

    fn session(&mut self, job: &Job, now: Timestamp, rng: &mut SmallRng) -> Vec<FirmwareFact> {
        let stage = |stage| FirmwareFact::Stage(stage);
        match job.phase.stage() {
            FirmwareStage::Pending if rng.random_bool(0.05) => vec![], // the link broke
            FirmwareStage::Pending => self.begin(job, now, rng),
            FirmwareStage::ExecSent | FirmwareStage::Updating => {
                if self.busy_until.is_some_and(|end| end > now) {
                    return vec![stage(FirmwareStage::Updating)];
                }
                match self.result.take() {
                    None => vec![FirmwareFact::ExecLost],
                    Some(200) => {
                        let mut facts = vec![stage(FirmwareStage::Reported)];
                        if rng.random_bool(0.8) {
                            facts.push(self.done());
                        }
                        facts
                    }
                    Some(code) => vec![FirmwareFact::Failed { code }],
                }
            }
            FirmwareStage::Reported => vec![self.done()],
            other => panic!("the simulated operation has no stage {other:?}"),
        }
    }

    fn done(&self) -> FirmwareFact {
        FirmwareFact::Done { code: 200, version: self.version.into() }
    }

    fn begin(&mut self, job: &Job, now: Timestamp, rng: &mut SmallRng) -> Vec<FirmwareFact> {
        if self.is_updated() {
            return vec![FirmwareFact::AlreadyCurrent { version: self.version.into() }];
        }
        match self.nature {
            Nature::NotCapable => return vec![FirmwareFact::NotCapable { reason: "no FUMO node".into() }],
            Nature::Refusing => {
                let command = "Exec ./FUMO/DownloadAndUpdate".into();
                return vec![FirmwareFact::Refused { code: StatusCode(405), command }];
            }
            _ => {}
        }
        if rng.random_bool(0.03) {
            // Durable at the server, and lost on the way.
            return vec![FirmwareFact::Stage(FirmwareStage::ExecSent)];
        }
        *self.execs.entry(job.attempt).or_default() += 1;
        let install = Period::from_ms(MINUTE.as_ms() * rng.random_range(1..60));
        self.busy_until = Some(install.after(now));
        self.bricked = self.nature == Nature::Bricked;
        self.result = Some(match self.nature {
            Nature::Failing(code) if rng.random_bool(0.8) => code,
            Nature::Liar => 200,
            _ => {
                self.version = "2.0";
                200
            }
        });
        vec![FirmwareFact::Stage(FirmwareStage::ExecSent), FirmwareFact::Stage(FirmwareStage::Updating)]
    }
}
