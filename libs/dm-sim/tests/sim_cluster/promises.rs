//! Promises about what stands at more than one server, as functions of what stands there.

use campaign::{CampaignId, JobEvent};
use storage::TenantId;
use storage_cluster::{
    job_rows::{AttemptKey, DeviceKey, JobRow, JobRows as _},
    payload::{EventsMessage, JobMessage},
    topics::{Incoming, Topic},
};

use crate::{
    gate::{Shared, lock},
    world::Servers,
};

/// *An offset is committed after its effects are durable*: of a release that was committed, there is the row.
pub fn unmade(message: &JobMessage, rows: &[JobRow]) -> Option<String> {
    let job = &message.release.job;
    let key = AttemptKey { campaign: job.campaign, attempt: job.attempt };
    let is_made = rows.iter().any(|row| row.key == key && row.released.is_some());
    (!is_made).then(|| {
        let (device, AttemptKey { campaign, attempt }) = (&message.release.device, key);
        format!(
            "{campaign}: the release of {device}, attempt {attempt}, was committed before its row was there"
        )
    })
}

/// *An offset is committed after its effects are durable*: what sessions said and was committed stands in the ledger.
pub fn unheard(message: &EventsMessage, ledger: &[JobEvent]) -> Option<String> {
    let missing = message.events.iter().find(|event| !ledger.contains(event))?;
    let EventsMessage { campaign, device, .. } = message;
    Some(format!("{campaign}: what {device} said was committed before it was in the ledger: {missing:?}"))
}

/// *No job and no event is lost*: at the end a device's history and the ledgers of its campaigns say the same. The history is
/// written with the rows of jobs, by whoever writes those; the ledgers hear of it through the topics.
pub fn differences(history: &[(CampaignId, JobEvent)], ledgers: &[(CampaignId, JobEvent)]) -> Vec<String> {
    let lacks = |said: &[_], by: &[(CampaignId, JobEvent)], what: &str| {
        let missing = said.iter().filter(|said| !by.contains(said));
        missing.map(|(id, event)| format!("{id}: {what}: {event:?}")).collect::<Vec<_>>()
    };
    let mut wrong = lacks(history, ledgers, "the ledger never heard of what happened");
    wrong.extend(lacks(ledgers, history, "the device never had what the ledger says"));
    wrong
}

impl Servers {
    /// A group has committed all before `next`.
    pub async fn judge_commit(&self, world: &Shared, topic: Topic, partition: u32, next: u64) {
        let from = {
            let mut world = lock(world);
            let judged = world.committed.entry((topic, partition)).or_default();
            let from = *judged;
            *judged = next.max(from);
            from
        };
        for message in self.topics.read(topic, partition, from..next) {
            if let Some(wrong) = self.not_taken_in(world, topic, &message).await {
                lock(world).breach(wrong);
            }
        }
    }

    async fn not_taken_in(&self, world: &Shared, topic: Topic, message: &Incoming) -> Option<String> {
        // What cannot be read is put aside, which is judged elsewhere.
        if topic == Topic::Jobs {
            let message = JobMessage::decode(&message.payload).ok()?;
            let device = DeviceKey { tenant: message.tenant.clone(), device: message.release.device.clone() };
            let rows = self.rows.read(&device).await.ok()?;
            return unmade(&message, &rows);
        }
        let message = EventsMessage::decode(&message.payload).ok()?;
        let world = lock(world);
        let told = world.ledgers.get(&message.campaign.0).map_or(&[][..], |ledger| &ledger.told);
        unheard(&message, told)
    }

    /// At the end, when all that was on its way has arrived.
    pub async fn judge_histories(&self, world: &Shared) {
        use storage::JobStore as _;
        let devices: Vec<_> = lock(world).devices.iter().map(|device| device.value.id.clone()).collect();
        for id in devices {
            let history = self.observer.device_events(&TenantId::default(), &id, usize::MAX).await;
            let mut world = lock(world);
            let ledgers: Vec<_> = world
                .ledgers
                .iter()
                .flat_map(|(campaign, ledger)| {
                    let told = ledger.told.iter().filter(|event| event.device.as_ref() == Some(&id));
                    told.map(|event| (CampaignId(*campaign), event.clone()))
                })
                .collect();
            match history {
                Ok(history) => {
                    differences(&history, &ledgers).into_iter().for_each(|wrong| world.breach(wrong));
                }
                Err(error) => world.breach(format!("{id}: its history cannot be read: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use campaign::{EventKind, Job, Phase};
    use dm_objects::agenda::FirmwareStage;
    use dm_protocol::DevId;
    use storage::Release;

    use super::*;

    const CAMPAIGN: CampaignId = CampaignId(3);

    fn device() -> DevId {
        DevId::parse("IMEI:1").unwrap()
    }

    fn event(attempt: u16, kind: EventKind) -> JobEvent {
        JobEvent { device: Some(device()), ordinal: 7, attempt, at: jiff::Timestamp::UNIX_EPOCH, kind }
    }

    fn released(attempt: u16) -> JobEvent {
        event(attempt, EventKind::Released { wave: 0, after: None })
    }

    fn moved(stage: FirmwareStage) -> JobEvent {
        event(1, EventKind::Moved { phase: Phase::Session(stage) })
    }

    #[test]
    fn an_event_that_one_side_lacks_is_told() {
        let [first, second] = [released(1), moved(FirmwareStage::ExecSent)].map(|event| (CAMPAIGN, event));
        let both = [first.clone(), second.clone()];
        let moved_round = [second.clone(), first.clone()];
        assert_eq!(differences(&both, &moved_round), Vec::<String>::new(), "each has its own order");
        for (history, ledger, claim) in [
            (&both[..], &both[..1], "the ledger never heard"),
            (&both[1..], &both[..], "the device never had"),
        ] {
            let told = differences(history, ledger);
            assert!(matches!(&told[..], [told] if told.contains(claim)), "{told:?}");
        }
        let elsewhere = [(CampaignId(4), first.1), second];
        assert_eq!(differences(&both, &elsewhere).len(), 2, "the same in another campaign is another event");
    }

    #[test]
    fn a_release_is_made_when_its_own_row_is_released() {
        let job =
            Job { campaign: CAMPAIGN, ordinal: 7, attempt: 2, phase: Phase::Waiting, since: released(2).at };
        let release = Release { device: device(), job, event: released(2), trigger_until: None };
        let message = JobMessage { tenant: TenantId::default(), release };
        let row = |attempt, released: Option<Vec<u8>>| JobRow {
            key: AttemptKey { campaign: CAMPAIGN, attempt },
            released,
            written: None,
            published: 0,
        };
        assert_eq!(unmade(&message, &[row(2, Some(vec![1]))]), None);
        for rows in [&[][..], &[row(1, Some(vec![1]))], &[row(2, None)]] {
            assert!(unmade(&message, rows).is_some(), "{rows:?}");
        }
    }

    #[test]
    fn what_was_said_is_heard_when_all_of_it_stands_in_the_ledger() {
        let events = vec![moved(FirmwareStage::ExecSent), moved(FirmwareStage::Updating)];
        let message = EventsMessage {
            tenant: TenantId::default(),
            campaign: CAMPAIGN,
            device: device(),
            attempt: 1,
            revision: 1,
            copy: false,
            events: events.clone(),
        };
        assert_eq!(unheard(&message, &events), None);
        assert!(unheard(&message, &events[..1]).is_some_and(|told| told.contains("Updating")));
    }
}
