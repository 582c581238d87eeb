//! Everything out of the stores, line by line.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write,
    num::NonZeroU32,
    time::Duration,
};

use campaign::{CampaignId, EventKind, JobEvent};
use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use storage::{Device, SnapshotRef};
use tokio::time::Instant;

use crate::{
    Counts, FORMAT, Resume, Side, TransferError, bound_to,
    line::{Artifact, Campaign, DeviceLine, Events, Header, JobLine, Line, Octets, State, Tree},
    resume::Part,
    tree::ChangeLine,
};

/// Devices read at once.
const DEVICES: usize = 1000;
/// Of those, how many have their trees read at the same time.
const TREES_AT_ONCE: usize = 16;
/// Octets of a file in one line.
const PIECE_OCTETS: usize = 192 << 10;
/// Events in one line.
const EVENTS: usize = 500;

/// How an export goes about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Export {
    /// When it began: told in the header.
    pub now: Timestamp,
    /// Devices a second, at most; `None`: as fast as it goes.
    pub devices_per_s: Option<NonZeroU32>,
    /// Where an earlier one was broken off; the default begins at the beginning.
    pub resume: Resume,
}

/// Writes everything of one side. `progress` hears of every thousand devices and every line of a ledger.
///
/// What changes meanwhile is in the file as it was at some moment of the export, each device and each campaign for itself; so
/// pause campaigns first, or stop the server.
///
/// # Errors
///
/// [`TransferError`]: the file, a store, or the seal. What was written stays good: see [`Resume`].
pub async fn export(
    side: &Side,
    how: &Export,
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(&Counts) + Send),
) -> Result<Counts, TransferError> {
    let Resume { part, counts, .. } = how.resume;
    if part == Part::End {
        return Ok(counts);
    }
    let mut work = Work { side, out, counts };
    if part <= Part::Header {
        let (tenant, written) = (side.tenant.to_string(), how.now);
        work.write(&Line::Header(Header { format: FORMAT, tenant, written }))?;
    }
    if part <= Part::Artifacts {
        work.artifacts().await?;
    }
    if part < Part::Campaigns {
        let from = if let Part::Devices(from) = part { from } else { 0 };
        work.devices(from, how.devices_per_s, progress).await?;
    }
    work.campaigns(progress).await?;
    let counts = work.counts;
    work.write(&Line::End(counts))?;
    work.out.flush().map_err(|error| TransferError::File("write", error))?;
    Ok(counts)
}

struct Work<'a> {
    side: &'a Side,
    out: &'a mut (dyn Write + Send),
    counts: Counts,
}

impl Work<'_> {
    fn write(&mut self, line: &Line) -> Result<(), TransferError> {
        let failed = |error| TransferError::File("write", error);
        serde_json::to_writer(&mut *self.out, line).map_err(|error| failed(error.into()))?;
        self.out.write_all(b"\n").map_err(failed)
    }

    async fn artifacts(&mut self) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let artifacts = &stores.artifacts;
        let mut metas = artifacts.list(tenant).await?;
        // The oldest first, so that the newest of a name stays the newest.
        metas.reverse();
        for meta in metas {
            self.write(&Line::Artifact(Artifact {
                digest: campaign::Digest(meta.digest).to_string(),
                size: meta.size,
                name: meta.name,
                version: meta.version,
                media_type: meta.media_type,
            }))?;
            let mut offset = 0;
            while offset < meta.size {
                let data = artifacts.read(tenant, &meta.digest, offset, PIECE_OCTETS).await?;
                let read = data.len() as u64;
                if read == 0 {
                    return Err(
                        storage::StoreError::corrupt("read artifact", "it ends before its size").into()
                    );
                }
                self.write(&Line::Octets(Octets { offset, data }))?;
                offset += read;
            }
            self.counts.artifacts += 1;
        }
        Ok(())
    }

    async fn devices(
        &mut self,
        mut from: u32,
        per_s: Option<NonZeroU32>,
        progress: &mut (dyn FnMut(&Counts) + Send),
    ) -> Result<(), TransferError> {
        let side = self.side;
        // A tenth of a second's devices, so that they come evenly.
        let limit = per_s.map_or(DEVICES, |per_s| (per_s.get() as usize / 10).clamp(1, DEVICES));
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let devices = side.stores.devices.scan(&side.tenant, from, limit).await?;
            let Some(last) = devices.last() else { return Ok(()) };
            from = last.ordinal + 1;
            if let Some(per_s) = per_s {
                due += Duration::from_secs_f64(devices.len() as f64 / f64::from(per_s.get()));
            }
            let mut lines = stream::iter(devices)
                .map(async |device| {
                    let trees = trees(side, &device.id).await?;
                    Ok::<_, TransferError>((device_line(side, device)?, trees))
                })
                .buffered(TREES_AT_ONCE);
            while let Some((device, trees)) = lines.try_next().await? {
                self.write(&Line::Device(Box::new(device)))?;
                self.counts.devices += 1;
                for tree in trees {
                    self.write(&Line::Tree(tree))?;
                    self.counts.trees += 1;
                }
            }
            progress(&self.counts);
        }
    }

    async fn campaigns(&mut self, progress: &mut (dyn FnMut(&Counts) + Send)) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let campaigns = &stores.campaigns;
        for listed in campaigns.list(tenant).await? {
            let id = listed.value.id;
            let Some(found) = campaigns.load(tenant, id).await? else { continue };
            let record = found.value;
            self.write(&Line::Campaign(Campaign {
                id: id.0,
                definition: record.definition,
                members: record.members,
            }))?;
            self.jobs(id).await?;
            self.ledger(id, progress).await?;
            self.write(&Line::State(State { state: record.state }))?;
            self.counts.campaigns += 1;
        }
        Ok(())
    }

    /// The jobs of a campaign that are in flight: the ledger says of which devices.
    async fn jobs(&mut self, id: CampaignId) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let jobs = &stores.jobs;
        let mut in_flight: HashMap<DevId, u16> = HashMap::new();
        let mut from = 0;
        loop {
            let events = jobs.events(tenant, id, from, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { break };
            for (_, event) in &events {
                note(&mut in_flight, event);
            }
            from = last;
        }
        let devices: BTreeSet<DevId> = in_flight.into_keys().collect();
        for device in devices {
            let pending = jobs.pending(tenant, &device).await?;
            for job in pending.into_iter().filter(|job| job.value.campaign == id) {
                let device = device.as_str().to_owned();
                self.write(&Line::Job(JobLine { device, job: job.value }))?;
                self.counts.jobs += 1;
            }
        }
        Ok(())
    }

    async fn ledger(
        &mut self,
        id: CampaignId,
        progress: &mut (dyn FnMut(&Counts) + Send),
    ) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let jobs = &stores.jobs;
        let mut from = 0;
        loop {
            let events = jobs.events(tenant, id, from, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { return Ok(()) };
            self.counts.events += events.len() as u64;
            let events = events.into_iter().map(|(_, event)| event).collect();
            self.write(&Line::Events(Events { from, events }))?;
            progress(&self.counts);
            from = last;
        }
    }
}

fn device_line(side: &Side, device: Device) -> Result<DeviceLine, TransferError> {
    let id = device.id.as_str().to_owned();
    let refused = |problem| TransferError::Seal { device: id.clone(), problem };
    let account = postcard::to_allocvec(&device.account).map_err(|error| refused(error.to_string()))?;
    let account = side.keys.seal(&account, &bound_to(&side.tenant, &id));
    let account = account.map_err(|error| refused(error.to_string()))?;
    Ok(DeviceLine {
        id,
        ordinal: device.ordinal,
        account,
        tags: device.tags,
        added: device.added,
        last_seen: device.last_seen,
        inventory: device.inventory,
        fumo_root: device.fumo_root,
        dev_detail_read: device.dev_detail_read,
        notify_address: device.notify_address,
        more: Default::default(),
    })
}

/// The oldest tree whole, each later one as what changed.
async fn trees(side: &Side, id: &DevId) -> Result<Vec<Tree>, TransferError> {
    let Side { tenant, stores, .. } = side;
    let snapshots = &stores.snapshots;
    let mut history = snapshots.history(tenant, id, usize::MAX).await?;
    history.reverse();
    let mut before: Option<SnapshotRef> = None;
    let mut trees = Vec::with_capacity(history.len());
    for tree in history {
        let changes = match before {
            None => snapshots.read(tenant, tree.root, ".").await?,
            Some(before) => snapshots.diff(tenant, before.root, tree.root).await?,
        };
        let changes = changes.into_iter().map(ChangeLine::from).collect();
        let device = id.as_str().to_owned();
        trees.push(Tree { device, since: tree.since, seen: tree.seen, changes });
        before = Some(tree);
    }
    Ok(trees)
}

/// Which devices a ledger leaves with an attempt in flight.
fn note(in_flight: &mut HashMap<DevId, u16>, event: &JobEvent) {
    let Some(device) = &event.device else { return };
    match event.kind {
        EventKind::Released { .. } => {
            in_flight.insert(device.clone(), event.attempt);
        }
        EventKind::Ended { .. } if in_flight.get(device) == Some(&event.attempt) => {
            in_flight.remove(device);
        }
        _ => {}
    }
}
