//! Everything into the stores, line by line, as often as it takes.

use std::{collections::HashMap, io::BufRead, time::Duration};

use campaign::{CampaignId, EventKind, Job, JobEvent};
use dm_protocol::DevId;
use dm_tree::Change;
use storage::{CampaignRecord, Device, Epoch, ErrorKind, Release, StoreError, Versioned};

use crate::{
    Counts, Side, TransferError, bound_to,
    line::{Artifact, Campaign, DeviceLine, Events, JobLine, Line, Octets, Tree},
    pieces::pieces,
};

/// Devices added at once.
const DEVICES: usize = 500;
/// Events read at once to find a ledger's end.
const EVENTS: usize = 4096;
/// How long a released job may take to be seen, and how often one looks.
const SEEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_millis(20));

/// Reads everything into one side, which is empty or holds the beginning of the same file.
///
/// # Errors
///
/// [`TransferError`]: where the file cannot be read, says something that cannot be, or is not whole; where the store holds
/// something else already; where a store fails. What was taken stays, and the same call goes on behind it.
pub async fn import(
    side: &Side,
    input: &mut (dyn BufRead + Send),
    progress: &mut (dyn FnMut(&Counts) + Send),
) -> Result<Counts, TransferError> {
    let lines = Lines { input, number: 0 };
    let known = side.stores.devices.count(&side.tenant).await?;
    let import = Import { side, lines, counts: Counts::default(), known, batch: Vec::new() };
    import.run(progress).await
}

struct Lines<'a> {
    input: &'a mut (dyn BufRead + Send),
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Line, TransferError> {
        let mut text = String::new();
        let read = self.input.read_line(&mut text).map_err(|error| TransferError::File("read", error))?;
        self.number += 1;
        if read == 0 {
            return Err(self.wrong("expected another line, the file ends: it is not whole"));
        }
        serde_json::from_str(&text).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, problem: impl Into<String>) -> TransferError {
        TransferError::Line { line: self.number, problem: problem.into() }
    }

    fn differs(&self, problem: String) -> TransferError {
        TransferError::Differs { line: self.number, problem }
    }
}

struct Import<'a> {
    side: &'a Side,
    lines: Lines<'a>,
    counts: Counts,
    /// Devices that the store had when we began.
    known: u32,
    batch: Vec<Device>,
}

impl Import<'_> {
    async fn run(mut self, progress: &mut (dyn FnMut(&Counts) + Send)) -> Result<Counts, TransferError> {
        let header = self.lines.next()?;
        header.as_header().map_err(|problem| self.lines.wrong(problem))?;
        loop {
            let line = self.lines.next()?;
            if !matches!(line, Line::Device(_)) {
                self.add_devices().await?;
            }
            match line {
                Line::Artifact(artifact) => self.artifact(&artifact).await?,
                Line::Device(device) => self.device(*device).await?,
                Line::Tree(tree) => self.tree(tree).await?,
                Line::Campaign(campaign) => self.campaign(campaign, progress).await?,
                Line::End(counts) if counts == self.counts => return Ok(counts),
                Line::End(counts) => {
                    let problem = format!("the file says that it has {counts:?}, it has {:?}", self.counts);
                    return Err(self.lines.wrong(problem));
                }
                _ => {
                    return Err(self
                        .lines
                        .wrong("expected an artifact, a device, a tree, a campaign or the end"));
                }
            }
            if self.counts.devices.is_multiple_of(1000) {
                progress(&self.counts);
            }
        }
    }

    /// Takes a file's octets as they come; one that is there already is passed over.
    async fn artifact(&mut self, artifact: &Artifact) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let artifacts = &stores.artifacts;
        let digest = campaign::Digest::parse(&artifact.digest)
            .ok_or_else(|| self.lines.wrong("expected a digest such as sha256:…"))?;
        let is_there = artifacts.meta(tenant, &digest.0).await?.is_some();
        let (into, mut from) = pieces(artifact.size);
        let lines = &mut self.lines;
        let read = async move {
            let mut offset = 0;
            while offset < artifact.size {
                let Line::Octets(Octets { offset: at, data }) = lines.next()? else {
                    return Err(lines.wrong("expected more octets of the artifact"));
                };
                if at != offset || data.is_empty() {
                    return Err(
                        lines.wrong(format!("expected octets from {offset} on, got them from {at} on"))
                    );
                }
                offset += data.len() as u64;
                // A store that stops reading says why itself.
                if !is_there && into.send(data).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        if is_there {
            read.await?;
        } else {
            let Artifact { name, version, media_type, size, .. } = artifact;
            let add = artifacts.add(tenant, name, version, media_type, *size, &mut from);
            let (read, added) = tokio::join!(read, add);
            read?;
            let added = added?;
            if added.digest != digest.0 {
                let problem =
                    format!("expected octets of {}, got {}", artifact.digest, campaign::Digest(added.digest));
                return Err(self.lines.wrong(problem));
            }
        }
        self.counts.artifacts += 1;
        Ok(())
    }

    async fn device(&mut self, line: DeviceLine) -> Result<(), TransferError> {
        if u64::from(line.ordinal) != self.counts.devices {
            let problem =
                format!("expected the device of ordinal {}, got {}", self.counts.devices, line.ordinal);
            return Err(self.lines.wrong(problem));
        }
        self.counts.devices += 1;
        let id = DevId::parse(&line.id).map_err(|error| self.lines.wrong(error.to_string()))?;
        if line.ordinal < self.known {
            let there = self.side.stores.devices.name(&self.side.tenant, line.ordinal).await?;
            if there.as_ref() != Some(&id) {
                let there = there.map_or_else(|| "none".to_owned(), |there| there.to_string());
                return Err(self
                    .lines
                    .differs(format!("device {} is {id} in the file, {there} there", line.ordinal)));
            }
            return Ok(());
        }
        let account = self
            .side
            .keys
            .open(&line.account, &bound_to(&self.side.tenant, &line.id))
            .map_err(|error| self.lines.wrong(format!("credentials of {id} do not open: {error}")))?;
        let account = postcard::from_bytes(&account).map_err(|error| self.lines.wrong(error.to_string()))?;
        self.batch.push(Device {
            id,
            ordinal: line.ordinal,
            account,
            tags: line.tags,
            added: line.added,
            last_seen: line.last_seen,
            inventory: line.inventory,
            fumo_root: line.fumo_root,
            dev_detail_read: line.dev_detail_read,
            notify_address: line.notify_address,
        });
        if self.batch.len() >= DEVICES { self.add_devices().await } else { Ok(()) }
    }

    async fn add_devices(&mut self) -> Result<(), TransferError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let given = self.side.stores.devices.add(&self.side.tenant, &batch).await?;
        for (device, given) in batch.iter().zip(given) {
            if given != Some(device.ordinal) {
                let given =
                    given.map_or_else(|| "none, its name is taken".to_owned(), |given| given.to_string());
                let problem = format!(
                    "{} has ordinal {} in the file, and was given {given}",
                    device.id, device.ordinal
                );
                return Err(self.lines.differs(problem));
            }
        }
        Ok(())
    }

    async fn tree(&mut self, line: Tree) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let snapshots = &stores.snapshots;
        let id = DevId::parse(&line.device).map_err(|error| self.lines.wrong(error.to_string()))?;
        self.counts.trees += 1;
        let current = snapshots.current(tenant, &id).await?;
        if current.is_some_and(|current| current.seen >= line.seen) {
            return Ok(());
        }
        if current.is_none_or(|current| current.since < line.since) {
            let changes: Result<Vec<Change>, String> =
                line.changes.into_iter().map(Change::try_from).collect();
            let changes = changes.map_err(|problem| self.lines.wrong(problem))?;
            snapshots.apply(tenant, &id, line.since, &changes).await?;
        }
        if line.seen > line.since {
            // Nothing new was learned then, but that it was still so.
            snapshots.apply(tenant, &id, line.seen, &Vec::new()).await?;
        }
        Ok(())
    }

    async fn campaign(
        &mut self,
        line: Campaign,
        progress: &mut (dyn FnMut(&Counts) + Send),
    ) -> Result<(), TransferError> {
        let id = CampaignId(line.id);
        let record = self.open_campaign(&line).await?;
        let mut ledger = Ledger::open(self.side, id).await?;
        let mut jobs: HashMap<String, Job> = HashMap::new();
        loop {
            match self.lines.next()? {
                Line::Job(JobLine { device, job }) => {
                    self.counts.jobs += 1;
                    jobs.insert(device, job);
                }
                Line::Events(events) => {
                    self.counts.events += events.events.len() as u64;
                    self.events(&mut ledger, events, &jobs).await?;
                    progress(&self.counts);
                }
                Line::State(state) => {
                    for (device, job) in &jobs {
                        self.job(device, job).await?;
                    }
                    self.counts.campaigns += 1;
                    if record.value.state == state.state {
                        return Ok(());
                    }
                    let members = (!line.members.is_empty()).then_some(&*line.members);
                    let Side { tenant, stores, .. } = self.side;
                    let campaigns = &stores.campaigns;
                    campaigns.put(tenant, id, record.revision, members, &state.state).await?;
                    return Ok(());
                }
                _ => {
                    return Err(self
                        .lines
                        .wrong("expected a job, events or the state of the campaign above"));
                }
            }
        }
    }

    /// The campaign as a draft, made where it was not.
    async fn open_campaign(&self, line: &Campaign) -> Result<Versioned<CampaignRecord>, TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let campaigns = &stores.campaigns;
        let id = CampaignId(line.id);
        if campaigns.load(tenant, id).await?.is_none() {
            let draft = campaign::StoredState::default().encode();
            let given = campaigns.create(tenant, None, &line.definition, &draft).await?;
            if given != id {
                return Err(self
                    .lines
                    .differs(format!("the campaign is {id} in the file, and was given {given}")));
            }
        }
        let record = campaigns.load(tenant, id).await?.ok_or_else(|| StoreError::missing("load campaign"))?;
        if record.value.definition != line.definition {
            return Err(self.lines.differs(format!("campaign {id} has another definition")));
        }
        Ok(record)
    }

    /// Appends what the ledger does not have; the releases of jobs in flight as releases.
    async fn events(
        &self,
        ledger: &mut Ledger<'_>,
        line: Events,
        jobs: &HashMap<String, Job>,
    ) -> Result<(), TransferError> {
        let Some(known) = ledger.length.checked_sub(line.from) else {
            let problem =
                format!("expected events from {} on, got them from {} on", ledger.length, line.from);
            return Err(self.lines.wrong(problem));
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(line.events.len());
        let new = line.events.get(known..).unwrap_or_default();
        let job_of = |event: &JobEvent| {
            let device = event.device.as_ref()?;
            let job = jobs.get(device.as_str())?;
            let is_its = matches!(event.kind, EventKind::Released { .. }) && job.attempt == event.attempt;
            is_its.then_some(job)
        };
        for run in new.chunk_by(|one, other| job_of(one).is_some() == job_of(other).is_some()) {
            if run.first().and_then(job_of).is_none() {
                ledger.append(run).await?;
                continue;
            }
            let releases: Vec<Release> = run
                .iter()
                .filter_map(|event| {
                    let job =
                        Job { phase: campaign::Phase::Waiting, since: event.at, ..job_of(event)?.clone() };
                    let (device, event) = (event.device.clone()?, event.clone());
                    // Where it waits still, its device was asked to come when it was released.
                    Some(Release { device, job, event, trigger_until: None })
                })
                .collect();
            ledger.release(&releases).await?;
        }
        Ok(())
    }

    /// Brings a job that was released to where it was.
    async fn job(&self, device: &str, job: &Job) -> Result<(), TransferError> {
        let id = DevId::parse(device).map_err(|error| self.lines.wrong(error.to_string()))?;
        let Side { tenant, stores, .. } = self.side;
        let jobs = &stores.jobs;
        let until = tokio::time::Instant::now() + SEEN.0;
        loop {
            let pending = jobs.pending(tenant, &id).await?;
            let found = pending.into_iter().find(|found| found.value.campaign == job.campaign);
            match found {
                Some(found) if found.value == *job => return Ok(()),
                Some(found) if found.value.attempt == job.attempt => {
                    match jobs.update(tenant, &id, job.campaign, found.revision, Some(job), &[]).await {
                        Ok(_) => return Ok(()),
                        Err(error) if error.kind == ErrorKind::Conflict => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                _ if tokio::time::Instant::now() > until => {
                    return Err(self
                        .lines
                        .differs(format!("{id} has no job of {}, as its ledger says", job.campaign)));
                }
                _ => tokio::time::sleep(SEEN.1).await,
            }
        }
    }
}

/// A ledger that is being written.
struct Ledger<'a> {
    side: &'a Side,
    id: CampaignId,
    epoch: Epoch,
    length: u64,
}

impl<'a> Ledger<'a> {
    async fn open(side: &'a Side, id: CampaignId) -> Result<Self, TransferError> {
        let epoch = side.stores.jobs.claim(&side.tenant, id).await?;
        let mut length = 0;
        while let Some((last, _)) = side.stores.jobs.events(&side.tenant, id, length, EVENTS).await?.last() {
            length = *last;
        }
        Ok(Self { side, id, epoch, length })
    }

    async fn append(&mut self, events: &[JobEvent]) -> Result<(), TransferError> {
        self.side.stores.jobs.append(&self.side.tenant, self.id, self.epoch, events).await?;
        self.length += events.len() as u64;
        Ok(())
    }

    async fn release(&mut self, releases: &[Release]) -> Result<(), TransferError> {
        self.length +=
            self.side.stores.jobs.release(&self.side.tenant, self.id, self.epoch, releases).await? as u64;
        Ok(())
    }
}
