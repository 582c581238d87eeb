//! What a session found out, as the job's next phase and the ledger's next events.

use dm_objects::{
    agenda::{FirmwareFact, FirmwareStage},
    fumo::FumoResult,
};
use dm_protocol::DevId;
use jiff::Timestamp;

use crate::{EventKind, Job, JobEvent, Outcome, Phase, Plan};

/// What becomes of a job: written in one step, by `JobStore::update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job as it is now; `None`: the attempt has ended.
    pub job: Option<Job>,
    /// What to append to the ledger. Empty: nothing changed, and nothing need be written.
    pub events: Vec<JobEvent>,
}

impl Job {
    /// The device has come and a session works on this job. Changes nothing but a job that only waited.
    pub fn arrive(&self, device: &DevId, now: Timestamp) -> Transition {
        match self.phase {
            Phase::Waiting => self.moved(device, Phase::Session(FirmwareStage::Pending), now),
            Phase::Session(_) | Phase::Running(_) => self.unchanged(),
        }
    }

    /// What a session found out about this job.
    ///
    /// For a stage whose Exec is about to leave, the answer to the device must wait until the transition is durable.
    pub fn apply(&self, device: &DevId, fact: &FirmwareFact, plan: &Plan, now: Timestamp) -> Transition {
        let end = |outcome, version: Option<&str>, detail: Option<&str>| {
            self.end(device, outcome, version, detail, plan, now)
        };
        match fact {
            FirmwareFact::Stage(stage) => self.reach(device, *stage, now),
            FirmwareFact::AlreadyCurrent { version } => end(Outcome::AlreadyCurrent, Some(version), None),
            FirmwareFact::NotCapable { reason } => end(Outcome::NotCapable, None, Some(reason)),
            FirmwareFact::Refused { code, command } => {
                end(Outcome::Refused { code: code.0 }, None, Some(command))
            }
            FirmwareFact::Failed { code } => {
                end(Outcome::Failed { class: FumoResult::from_code(*code).class(), code: *code }, None, None)
            }
            FirmwareFact::Done { version, .. } if *version == plan.target_version => {
                end(Outcome::Succeeded, Some(version), None)
            }
            FirmwareFact::Done { version, .. } => {
                let detail = format!("expected version {}", plan.target_version);
                end(Outcome::WrongVersion, Some(version), Some(&detail))
            }
            FirmwareFact::ExecLost => end(Outcome::ExecLost, None, None),
        }
    }

    /// Nobody knows any more whether the last Exec has left: the attempt goes to where none is sent, and the device is asked
    /// what became of it. Changes nothing where that is known.
    pub fn assume_exec_left(&self, device: &DevId, now: Timestamp) -> Transition {
        self.reach(device, FirmwareStage::ExecSent, now)
    }

    /// The attempt ends, and it is decided whether and when there is another.
    pub fn end(
        &self,
        device: &DevId,
        outcome: Outcome,
        version: Option<&str>,
        detail: Option<&str>,
        plan: &Plan,
        now: Timestamp,
    ) -> Transition {
        let kind = EventKind::Ended {
            outcome,
            version: version.map(Into::into),
            detail: detail.map(Into::into),
            retry_at: plan.definition.retry.retry_at(outcome, self.attempt, self.ordinal, plan.seed, now),
        };
        Transition { job: None, events: vec![self.event(device, kind, now)] }
    }

    /// Moves forward to a stage; a stage that was reached before changes nothing.
    fn reach(&self, device: &DevId, stage: FirmwareStage, now: Timestamp) -> Transition {
        let phase = match stage {
            FirmwareStage::Downloading | FirmwareStage::Updating => Phase::Running(stage),
            _ => Phase::Session(stage),
        };
        let forward = self.phase == Phase::Waiting || stage > self.phase.stage();
        if forward { self.moved(device, phase, now) } else { self.unchanged() }
    }

    fn moved(&self, device: &DevId, phase: Phase, now: Timestamp) -> Transition {
        let job = Self { phase, since: now, ..self.clone() };
        Transition { job: Some(job), events: vec![self.event(device, EventKind::Moved { phase }, now)] }
    }

    fn unchanged(&self) -> Transition {
        Transition { job: Some(self.clone()), events: Vec::new() }
    }

    fn event(&self, device: &DevId, kind: EventKind, at: Timestamp) -> JobEvent {
        JobEvent { device: Some(device.clone()), ordinal: self.ordinal, attempt: self.attempt, at, kind }
    }
}

#[cfg(test)]
mod tests {
    use dm_objects::outcome::ResultClass;
    use syncml::StatusCode;

    use super::*;
    use crate::{CampaignId, testing};

    fn job(phase: Phase) -> Job {
        Job { campaign: CampaignId(3), ordinal: 7, attempt: 1, phase, since: Timestamp::UNIX_EPOCH }
    }

    fn apply(phase: Phase, fact: &FirmwareFact) -> Transition {
        let device = DevId::parse("IMEI:7").unwrap();
        job(phase).apply(&device, fact, &testing::plan(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_fact_that_ends_an_attempt_has_its_outcome() {
        let version = |text: &str| text.to_owned();
        let done = |text: &str| FirmwareFact::Done { code: 200, version: version(text) };
        let failed = |code| FirmwareFact::Failed { code };
        let cases = [
            (done("2.0"), Outcome::Succeeded, false),
            (done("1.0"), Outcome::WrongVersion, false),
            (FirmwareFact::AlreadyCurrent { version: version("2.0") }, Outcome::AlreadyCurrent, false),
            (FirmwareFact::NotCapable { reason: "no FUMO node".into() }, Outcome::NotCapable, false),
            (FirmwareFact::ExecLost, Outcome::ExecLost, true),
            (
                FirmwareFact::Refused { code: StatusCode(405), command: "Exec ./FUMO/Update".into() },
                Outcome::Refused { code: 405 },
                true,
            ),
            (failed(503), Outcome::Failed { class: ResultClass::Transient, code: 503 }, true),
            (failed(402), Outcome::Failed { class: ResultClass::PackageFault, code: 402 }, false),
            (failed(401), Outcome::Failed { class: ResultClass::NeedsUser, code: 401 }, true),
            (failed(410), Outcome::Failed { class: ResultClass::DeviceFault, code: 410 }, true),
            (failed(602), Outcome::Failed { class: FumoResult::from_code(602).class(), code: 602 }, true),
        ];
        for (fact, want, retried) in cases {
            let transition = apply(Phase::Running(FirmwareStage::Updating), &fact);
            assert_eq!(transition.job, None, "{fact:?}");
            let [JobEvent { kind: EventKind::Ended { outcome, retry_at, .. }, .. }] = &transition.events[..]
            else {
                panic!("one end expected for {fact:?}")
            };
            assert_eq!((*outcome, retry_at.is_some()), (want, retried), "{fact:?}");
        }
    }

    #[test]
    fn a_stage_only_moves_forward() {
        use FirmwareStage as Stage;
        let cases = [
            (Phase::Waiting, Stage::Pending, Some(Phase::Session(Stage::Pending))),
            (Phase::Session(Stage::Pending), Stage::Pending, None),
            (Phase::Session(Stage::Pending), Stage::ExecSent, Some(Phase::Session(Stage::ExecSent))),
            (Phase::Session(Stage::ExecSent), Stage::Updating, Some(Phase::Running(Stage::Updating))),
            (Phase::Running(Stage::Updating), Stage::ExecSent, None),
            (Phase::Running(Stage::Updating), Stage::Updating, None),
            (Phase::Running(Stage::Updating), Stage::Reported, Some(Phase::Session(Stage::Reported))),
        ];
        for (from, stage, want) in cases {
            let transition = apply(from, &FirmwareFact::Stage(stage));
            let events: Vec<_> = transition.events.into_iter().map(|event| event.kind).collect();
            let want_events: Vec<_> = want.map(|phase| EventKind::Moved { phase }).into_iter().collect();
            assert_eq!(events, want_events, "{from:?} to {stage:?}");
            assert_eq!(transition.job.map(|job| job.phase), Some(want.unwrap_or(from)));
        }
    }

    #[test]
    fn arriving_is_recorded_once() {
        let device = DevId::parse("IMEI:7").unwrap();
        let first = job(Phase::Waiting).arrive(&device, Timestamp::UNIX_EPOCH);
        assert_eq!(first.events.len(), 1);
        let second = first.job.unwrap().arrive(&device, Timestamp::UNIX_EPOCH);
        assert!(second.events.is_empty());
    }
}
