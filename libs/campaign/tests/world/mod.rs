//! The world of the simulation: a store, devices, an owner, an operator and a clock.

mod device;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use campaign::{
    Artifact, Campaign, CampaignId, Decision, Definition, Digest, EventKind, Job, JobEvent, Outcome,
    PauseCause, Period, Phase, Plan, Run, Start, Status, Transition,
};
use device::Device;
use dm_protocol::DevId;
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use roaring::RoaringBitmap;

const MINUTE: Period = Period::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Owner,
    Operator,
    Device(u32),
}

pub(crate) struct World {
    seed: u64,
    rng: SmallRng,
    now: Timestamp,
    turns: BinaryHeap<Reverse<(Timestamp, u64, Turn)>>,
    turn_count: u64,
    devices: BTreeMap<u32, Device>,
    pub(crate) plan: Plan,
    pub(crate) members: RoaringBitmap,
    pub(crate) start: Start,
    /// What the store holds, durable.
    pub(crate) ledger: Vec<JobEvent>,
    jobs: BTreeMap<u32, Job>,
    released: BTreeSet<(u32, u16)>,
    checkpoint: Option<(usize, Vec<u8>)>,
    /// The owner's process; it dies and comes back.
    owner: Option<(Campaign, usize)>,
    /// The ledger's length after the owner's last own write.
    own_writes: usize,
    last: BTreeMap<u32, Status>,
    pub(crate) crashes: u32,
    calm: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let count = rng.random_range(1..200);
        let members: RoaringBitmap = (0..count).map(|at| at * rng.random_range(1..4) + at).collect();
        let start = Start { at: "2026-03-01T00:00:00Z".parse().expect("a time"), by: "sim".into() };
        let plan = plan(seed, &mut rng);
        let devices = members.iter().map(|ordinal| (ordinal, Device::draw(&mut rng, ordinal))).collect();
        let mut world = Self {
            seed,
            now: start.at,
            turns: BinaryHeap::new(),
            turn_count: 0,
            devices,
            plan,
            members,
            start,
            ledger: Vec::new(),
            jobs: BTreeMap::new(),
            released: BTreeSet::new(),
            checkpoint: None,
            owner: None,
            own_writes: 0,
            last: BTreeMap::new(),
            crashes: 0,
            calm: false,
            rng,
        };
        world.schedule(Turn::Owner, Period::ZERO);
        world.schedule(Turn::Operator, Period::from_secs(3600));
        for ordinal in world.members.clone() {
            let first = Period::from_secs(world.rng.random_range(0..7200));
            world.schedule(Turn::Device(ordinal), first);
        }
        world
    }

    pub(crate) fn run_to_the_end(&mut self) {
        let quiet = Period::from_secs(8 * 86_400).after(self.start.at);
        let end = Period::from_secs(200 * 86_400).after(self.start.at);
        while let Some(Reverse((at, _, turn))) = self.turns.pop() {
            self.now = at;
            // Faults and the operator stop one day; then everything must come to its end by itself.
            self.calm = at > quiet;
            assert!(at < end, "seed {}: not over after 200 days: {:?}", self.seed, self.owner().counts());
            match turn {
                Turn::Owner => self.owner_turn(),
                Turn::Operator => self.operator_turn(),
                Turn::Device(ordinal) => self.device_turn(ordinal),
            }
            self.check();
            let all_read = self.owner.as_ref().is_some_and(|(_, offset)| *offset == self.ledger.len());
            if all_read && self.owner().run().is_over() {
                break;
            }
        }
        self.check_end();
    }

    pub(crate) fn owner(&self) -> &Campaign {
        &self.owner.as_ref().expect("the owner is alive").0
    }

    fn schedule(&mut self, turn: Turn, after: Period) {
        self.turn_count += 1;
        self.turns.push(Reverse((after.after(self.now), self.turn_count, turn)));
    }

    /// The owner reads what there is (or some of it), decides, and writes, unless it dies on the way.
    fn owner_turn(&mut self) {
        let next = Period::from_secs(self.rng.random_range(1..1800));
        self.schedule(Turn::Owner, next);
        self.load_owner();
        let unread = self.own_writes.max(self.owner.as_ref().expect("loaded").1);
        let until =
            if self.calm { self.ledger.len() } else { self.rng.random_range(unread..=self.ledger.len()) };
        self.read_ledger(until);
        let limit = self.rng.random_range(1..60);
        let decisions = self.owner().decide(self.now, limit);
        if decisions.is_empty() && until == self.ledger.len() {
            // Nothing is overdue, or the owner would sleep over it.
            let deadline = self.owner().next_deadline(self.now);
            assert!(
                deadline.is_none_or(|deadline| deadline > self.now),
                "seed {}: idle past a deadline",
                self.seed
            );
        }
        for decision in decisions {
            if self.dies() {
                return;
            }
            self.carry_out(&decision);
        }
        self.own_writes = self.ledger.len();
        if self.rng.random_bool(0.1) {
            let (campaign, offset) = self.owner.as_ref().expect("alive");
            self.checkpoint = Some((*offset, campaign.checkpoint()));
        }
    }

    fn dies(&mut self) -> bool {
        let dies = !self.calm && self.rng.random_bool(0.03);
        if dies {
            self.owner = None;
            self.crashes += 1;
        }
        dies
    }

    /// An owner that starts reads everything from its last checkpoint on, its predecessor's writes among it.
    fn load_owner(&mut self) {
        if self.owner.is_some() {
            return;
        }
        let (plan, members, start) = (self.plan.clone(), &self.members, &self.start);
        let (campaign, offset) = match &self.checkpoint {
            Some((offset, bytes)) => {
                (Campaign::restore(plan, members, start, bytes).expect("a checkpoint"), *offset)
            }
            None => (Campaign::new(plan, members, start), 0),
        };
        self.owner = Some((campaign, offset));
        self.own_writes = self.ledger.len();
    }

    fn read_ledger(&mut self, until: usize) {
        let (campaign, offset) = self.owner.as_mut().expect("alive");
        for event in &self.ledger[*offset..until] {
            campaign.fold(event);
        }
        *offset = until;
    }

    fn carry_out(&mut self, decision: &Decision) {
        match decision {
            Decision::Record(kind) => self.ledger.push(JobEvent::campaign(self.now, kind.clone())),
            &Decision::Release { ordinal, attempt, wave, after } => {
                // As the store does it: giving twice is giving once.
                if self.released.insert((ordinal, attempt)) {
                    let id = CampaignId(1);
                    let job = Job { campaign: id, ordinal, attempt, phase: Phase::Waiting, since: self.now };
                    assert!(self.jobs.insert(ordinal, job).is_none(), "seed {}: two jobs at once", self.seed);
                    self.append(ordinal, attempt, EventKind::Released { wave, after });
                }
            }
            &Decision::End { ordinal, attempt, outcome, .. } => {
                let Some(job) = self.jobs.get(&ordinal).cloned() else { return };
                if job.attempt == attempt && decision.still_fits(job.phase) {
                    self.write(job.end(&dev_id(ordinal), outcome, None, None, &self.plan, self.now), ordinal);
                }
            }
        }
    }

    fn append(&mut self, ordinal: u32, attempt: u16, kind: EventKind) {
        self.ledger.push(JobEvent { device: Some(dev_id(ordinal)), ordinal, attempt, at: self.now, kind });
    }

    /// The store's update: the job and its events in one step. Now and then the ledger has an event twice.
    fn write(&mut self, transition: Transition, ordinal: u32) {
        match transition.job {
            Some(job) => self.jobs.insert(ordinal, job),
            None => self.jobs.remove(&ordinal),
        };
        for event in transition.events {
            if self.rng.random_bool(0.02) {
                self.ledger.push(event.clone());
            }
            self.ledger.push(event);
        }
    }

    /// Somebody pauses, resumes or stops. Commands go through the owner, which has read all it wrote.
    fn operator_turn(&mut self) {
        let next = Period::from_secs(self.rng.random_range(600..40_000));
        self.schedule(Turn::Operator, next);
        self.load_owner();
        self.read_ledger(self.ledger.len());
        let by = "sim".to_owned();
        let run = self.owner().run().clone();
        let kind = match run {
            Run::Paused(_) if self.calm || self.rng.random_bool(0.6) => EventKind::Resumed { by },
            Run::Running if !self.calm && self.rng.random_bool(0.2) => {
                EventKind::Paused { cause: PauseCause::Operator { by, reason: String::new() } }
            }
            Run::Running | Run::Paused(_) if !self.calm && self.rng.random_bool(0.01) => {
                EventKind::Stopped { by, hard: self.rng.random_bool(0.3) }
            }
            _ => return,
        };
        self.ledger.push(JobEvent::campaign(self.now, kind));
        self.own_writes = self.ledger.len();
        self.read_ledger(self.ledger.len());
    }

    fn device_turn(&mut self, ordinal: u32) {
        let mut device = self.devices.remove(&ordinal).expect("a member");
        if let Some(next) = device.next_visit(&mut self.rng) {
            self.schedule(Turn::Device(ordinal), next);
        }
        let work = self.jobs.get(&ordinal).cloned().filter(|job| self.owner_lets(job));
        if let Some(job) = work {
            let id = dev_id(ordinal);
            self.write(job.arrive(&id, self.now), ordinal);
            let facts = device.work_on(&job, self.now, &mut self.rng);
            for fact in facts {
                let Some(job) = self.jobs.get(&ordinal).cloned() else { break };
                self.write(job.apply(&id, &fact, &self.plan, self.now), ordinal);
            }
        }
        self.devices.insert(ordinal, device);
    }

    /// What a front-end asks before it works on a job; while the owner is dead it uses what it knew.
    fn owner_lets(&self, job: &Job) -> bool {
        self.owner.as_ref().is_none_or(|(campaign, _)| campaign.run().may_work_on(job.phase))
    }

    fn check(&mut self) {
        let seed = self.seed;
        let max = self.plan.definition.in_flight_max.get() as usize;
        assert!(self.jobs.len() <= max, "seed {seed}: {} jobs, budget {max}", self.jobs.len());
        let Some((campaign, offset)) = &self.owner else { return };
        let counts = campaign.counts();
        assert_eq!(u64::from(counts.members()), self.members.len(), "seed {seed}");
        let waves = campaign.wave_counts().iter().fold(campaign::Counts::default(), campaign::Counts::plus);
        assert_eq!(waves, *counts, "seed {seed}");
        if *offset == self.ledger.len() {
            assert_eq!(counts.in_flight() as usize, self.jobs.len(), "seed {seed}: in flight and jobs");
        }
        if !self.turn_count.is_multiple_of(16) {
            // Looking at every member is most of the simulation's time.
            return;
        }
        for (ordinal, status) in campaign.members_from(0) {
            if let Some(last) = self.last.get(&ordinal) {
                // An owner that starts from an old checkpoint has yet to read that far.
                let behind = *offset < self.own_writes;
                assert!(behind || status == *last, "seed {seed}: {last} became {status}");
            } else if status.is_last() {
                self.last.insert(ordinal, status);
            }
        }
    }

    fn check_end(&self) {
        let (seed, campaign) = (self.seed, self.owner());
        let counts = campaign.counts();
        assert_eq!(u64::from(counts.ended()), self.members.len(), "seed {seed}");
        let listed: u32 = campaign.outcomes().values().sum();
        assert_eq!(listed, counts.ended(), "seed {seed}");
        assert!(self.jobs.is_empty(), "seed {seed}: jobs left over");
        for (&ordinal, device) in &self.devices {
            for (attempt, execs) in device.execs() {
                assert!(execs <= 1, "seed {seed}: {execs} Execs for device {ordinal}, attempt {attempt}");
            }
            let outcome = campaign.outcome(ordinal).expect("an outcome");
            if matches!(outcome, Outcome::Succeeded | Outcome::AlreadyCurrent) {
                assert!(device.is_updated(), "seed {seed}: device {ordinal} is said to be updated");
            }
        }
    }
}

fn dev_id(ordinal: u32) -> DevId {
    DevId::parse(&format!("sim:{ordinal}")).expect("a device id")
}

fn plan(seed: u64, rng: &mut SmallRng) -> Plan {
    let mut text = format!(
        "name = 'sim'\nartifact = {{ name = 'fw' }}\nin_flight_max = {}\nseed = {seed}\n",
        rng.random_range(1..80),
    );
    if rng.random_bool(0.5) {
        text += "method = 'download-then-update'\n";
    }
    if rng.random_bool(0.7) {
        let approval = rng.random_bool(0.5);
        text += &format!(
            "waves = [{{percent = 5, gate = {{approval = {approval}, soak = '1h'}}}}, {{percent = 30}}, {{}}]\n"
        );
    }
    text += "[timers]\nwait = '2d'\nsession = '3h'\ndownload = '6h'\ninstall = '6h'\nreport = '6h'\n";
    text += "[retry.silent]\nattempts_max = 2\ndelay = '4h'\n";
    let artifact = Artifact { digest: Digest([1; 32]), size: 1, name: "fw".into(), version: "2.0".into() };
    Plan::new(Definition::parse_toml(&text).expect("a definition"), artifact, 0)
}
