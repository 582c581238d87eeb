//! Everything that outlives a process, and the promises, checked whenever something of it changes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use campaign::{Campaign, CampaignId, Job, JobEvent, StoredState, decode_members, history::History};
use dm_sim::Chance;
use jiff::Timestamp;
use storage::{
    ArtifactMeta, CampaignRecord, Device, Epoch, Release, RequestId, Revision, SnapshotId, SnapshotRef,
    Started, Versioned,
};
use tokio::time::Instant;

/// A job's way to its device, or an event's to its ledger.
pub enum Parcel {
    Job(Release),
    Event(CampaignId, String, JobEvent),
}

#[derive(Default)]
pub struct Ledger {
    pub epoch: u64,
    pub events: Vec<JobEvent>,
    pub checks: Option<(History, Campaign)>,
}

pub struct World {
    pub begun: Instant,
    pub chance: Chance,
    /// Parcels take up to so long; 0: they are there at once.
    pub late_ms: u64,
    pub parcels: VecDeque<(Instant, Parcel)>,
    pub sessions: BTreeMap<(String, String), (Revision, Vec<u8>, Instant)>,
    /// Revisions of sessions are never used twice, whatever was lost.
    pub session_revision: u64,
    /// How often all sessions were lost.
    pub session_losses: u64,
    pub devices: Vec<Versioned<Device>>,
    pub ordinals: BTreeMap<String, u32>,
    pub nonces_seen: BTreeSet<(u32, Vec<u8>)>,
    pub pages: BTreeMap<SnapshotId, Vec<u8>>,
    pub heads: BTreeMap<String, Vec<SnapshotRef>>,
    pub jobs: BTreeMap<String, Vec<Versioned<Job>>>,
    /// By campaign and device: the last attempt released, and the last that came to the device's row.
    pub attempts: BTreeMap<(u64, String), (u16, u16)>,
    pub ledgers: BTreeMap<u64, Ledger>,
    pub campaigns: Vec<Versioned<CampaignRecord>>,
    pub campaign_keys: BTreeMap<String, CampaignId>,
    pub starts: Vec<Started>,
    pub requests: BTreeMap<(u64, RequestId), (Vec<u8>, Option<Vec<u8>>)>,
    pub artifact: (ArtifactMeta, Vec<u8>),
    pub history: Vec<String>,
    pub broken: Vec<String>,
}

impl World {
    pub fn now(&self) -> Timestamp {
        now(self.begun)
    }

    pub fn note(&mut self, what: &str) {
        let line = format!("{:>9} ms {what}", self.begun.elapsed().as_millis());
        self.history.push(line);
    }

    /// A promise is broken.
    pub fn breach(&mut self, what: String) {
        self.note(&format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    pub fn post(&mut self, parcel: Parcel) {
        if self.late_ms == 0 {
            return self.deliver(parcel);
        }
        let mut at = Instant::now() + Duration::from_millis(self.chance.below(self.late_ms));
        // Of one device nothing overtakes what was sent before it.
        let of = parcel.device().to_owned();
        if let Some((before, _)) = self.parcels.iter().rev().find(|(_, before)| before.device() == of) {
            at = at.max(*before);
        }
        self.parcels.push_back((at, parcel));
    }

    /// Delivers what is due.
    pub fn deliver_due(&mut self) {
        let now = Instant::now();
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parcels).into_iter().partition(|(at, _)| *at <= now);
        self.parcels = later.into();
        due.sort_by_key(|(at, _)| *at);
        for (_, parcel) in due {
            self.deliver(parcel);
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Job(release) => self.deliver_job(&release),
            Parcel::Event(campaign, _, event) => self.append(campaign, event),
        }
    }

    fn deliver_job(&mut self, release: &Release) {
        let device = release.device.as_str().to_owned();
        let key = (release.job.campaign.0, device.clone());
        let (_, arrived) = self.attempts.entry(key).or_default();
        if release.job.attempt <= *arrived {
            return;
        }
        *arrived = release.job.attempt;
        let jobs = self.jobs.entry(device).or_default();
        jobs.retain(|job| job.value.campaign != release.job.campaign);
        let revision = Revision(u64::from(release.job.attempt) << 32);
        jobs.push(Versioned { value: release.job.clone(), revision });
    }

    /// The end of every event's way: the ledger, and the promises about it.
    pub fn append(&mut self, campaign: CampaignId, event: JobEvent) {
        self.note(&format!("{campaign} #{}/{}: {:?}", event.ordinal, event.attempt, event.kind));
        let ledger = self.ledgers.entry(campaign.0).or_default();
        let mut wrong = Vec::new();
        if let Some((history, fold)) = &mut ledger.checks {
            let told = history.violations().len();
            history.take_event(&event);
            wrong.extend(history.violations()[told..].iter().map(|wrong| format!("{campaign}: {wrong}")));
            let over = fold.members_from(0).filter(|(_, status)| status.is_last()).map(|(it, _)| it);
            let over: Vec<u32> = over.collect();
            let members = fold.counts().members();
            fold.fold(&event);
            if fold.counts().members() != members {
                wrong
                    .push(format!("{campaign}: states add up to {}, not {members}", fold.counts().members()));
            }
            if fold.counts().in_flight() > fold.plan().definition.in_flight_max.get() {
                wrong.push(format!("{campaign}: {} in flight", fold.counts().in_flight()));
            }
            let back = over.iter().filter(|&&it| !fold.status(it).is_some_and(campaign::Status::is_last));
            wrong.extend(back.map(|it| format!("{campaign}: #{it} left its last state")));
        }
        ledger.events.push(event);
        for wrong in wrong {
            self.breach(wrong);
        }
    }

    /// A campaign has started: from now on its ledger is checked, and its members are in no other.
    pub fn begin(&mut self, started: &Started) {
        let id = started.campaign;
        let found = self.campaigns.iter().find(|campaign| campaign.value.id == id);
        let Some(found) = found else { return self.breach(format!("{id} has started and is not there")) };
        let plan = campaign::Plan::decode(&found.value.definition).unwrap();
        let stored = StoredState::decode(&started.state).unwrap();
        let members = decode_members(&started.members).unwrap();
        let mut shared = Vec::new();
        for (other, ledger) in &self.ledgers {
            let Some((_, fold)) = &ledger.checks else { continue };
            let busy = |ordinal: &u32| fold.status(*ordinal).is_some_and(|status| !status.is_last());
            shared.extend(members.iter().filter(busy).map(|it| format!("#{it} is in c{other} and {id}")));
        }
        shared.into_iter().for_each(|wrong| self.breach(wrong));
        let history = History::new(plan.definition.in_flight_max.get());
        let fold = Campaign::new(plan, &members, &stored.start.unwrap());
        let ledger = self.ledgers.entry(id.0).or_default();
        if ledger.checks.is_some() {
            self.breach(format!("{id} has started twice"));
            return;
        }
        ledger.checks = Some((history, fold));
    }

    /// A device's account was written: a nonce that was in use before never comes back.
    pub fn check_nonces(&mut self, before: &Device, after: &Device) {
        let (old, new) = (&before.account.nonces.client, &after.account.nonces.client);
        if old == new {
            return;
        }
        if let Some(nonce) = old {
            self.nonces_seen.insert((before.ordinal, nonce.clone()));
        }
        if let Some(nonce) = new
            && self.nonces_seen.contains(&(after.ordinal, nonce.clone()))
        {
            self.breach(format!("#{}: a nonce came back", after.ordinal));
        }
    }

    pub fn claim(&mut self, campaign: CampaignId) -> Epoch {
        let ledger = self.ledgers.entry(campaign.0).or_default();
        ledger.epoch += 1;
        Epoch(ledger.epoch)
    }
}

impl Parcel {
    fn device(&self) -> &str {
        match self {
            Self::Job(release) => release.device.as_str(),
            Self::Event(_, device, _) => device,
        }
    }
}

/// The simulation's clock.
pub fn now(begun: Instant) -> Timestamp {
    let elapsed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
    Timestamp::from_second(1_790_000_000).unwrap() + elapsed
}
