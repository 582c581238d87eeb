//! From `dm.jobs` to the rows of devices.

use std::collections::BTreeMap;

use async_trait::async_trait;
use dm_protocol::DevId;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use storage::{
    Release, StoreError, TenantId,
    trace::{self, Kind, Span},
};
use tokio_util::sync::CancellationToken;

use super::drive::{Bad, Effect, drive};
use crate::{
    job_rows::DeviceKey,
    jobs::ClusterJobs,
    payload::JobMessage,
    topics::{Consumer, Incoming, tell_messaging},
    triggers,
};

/// Devices whose rows are written at once.
const AT_ONCE: usize = 256;

/// Makes released jobs seen: writes their rows, then the marks that their devices have work, asks for their triggers, and
/// commits then.
pub struct JobsWorker {
    consumer: Box<dyn Consumer>,
    effect: Jobs,
}

struct Jobs {
    store: ClusterJobs,
    /// Told of each job that sessions can see from now on, and when it was released.
    seen: Box<dyn Fn(Timestamp) + Send + Sync>,
}

/// A release, and the trace that it is part of.
struct Traced {
    release: Release,
    trace: Option<trace::Traceparent>,
}

impl JobsWorker {
    /// A worker over a consumer of [`crate::topics::Topic::Jobs`].
    pub fn new(store: ClusterJobs, consumer: Box<dyn Consumer>) -> Self {
        Self { consumer, effect: Jobs { store, seen: Box::new(|_| {}) } }
    }

    /// The same, which tells of each job that its device's sessions can see from now on, with when it was released. A
    /// message that is read again is told again.
    pub fn telling(mut self, seen: impl Fn(Timestamp) + Send + Sync + 'static) -> Self {
        self.effect.seen = Box::new(seen);
        self
    }

    /// Runs until `shutdown`. What fails is tried again for as long as it takes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let draw = self.effect.store.0.ports.draw.clone();
        drive(self.consumer, &mut self.effect, &draw, &shutdown).await;
    }
}

#[async_trait]
impl Effect for Jobs {
    const BATCH: usize = 2048;
    const NAME: &'static str = "jobs";

    async fn take(&mut self, batch: &[Incoming]) -> Result<Vec<Bad>, StoreError> {
        let causes = batch.iter().map(Incoming::trace);
        let mut span = Span::of_batch("process dm.jobs", Kind::Consumer, causes);
        tell_messaging(&mut span, "process", "dm.jobs", batch.len());
        span.attempt(self.take_in(batch)).await
    }
}

impl Jobs {
    async fn take_in(&self, batch: &[Incoming]) -> Result<Vec<Bad>, StoreError> {
        let mut released = Vec::with_capacity(batch.len());
        let (mut bad, mut triggers) = (Vec::new(), Vec::new());
        // A device's releases in their order: a later attempt closes the earlier ones.
        let mut devices: BTreeMap<DeviceKey, Vec<Traced>> = BTreeMap::new();
        for (at, message) in batch.iter().enumerate() {
            match JobMessage::decode(&message.payload) {
                Ok(JobMessage { tenant, release }) => {
                    let trace = message.trace();
                    released.push(release.event.at);
                    triggers.extend(release.trigger(&tenant).map(|trigger| (trigger, trace)));
                    let key = DeviceKey { tenant, device: release.device.clone() };
                    devices.entry(key).or_default().push(Traced { release, trace });
                }
                Err(error) => bad.push(Bad { at, reason: error.to_string() }),
            }
        }
        let mut tenants: BTreeMap<TenantId, Vec<DevId>> = BTreeMap::new();
        for key in devices.keys() {
            tenants.entry(key.tenant.clone()).or_default().push(key.device.clone());
        }
        stream::iter(devices)
            .map(|(device, releases)| materialise_all(self.store.clone(), device, releases))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        // Only now that the rows are durable: see the marks.
        for (tenant, devices) in tenants {
            self.store.0.ports.marks.set_busy(&tenant, &devices).await?;
        }
        // A trigger that comes twice is harmless.
        let triggers = triggers.iter().map(|(trigger, trace)| (trigger, *trace));
        triggers::publish(&*self.store.0.ports.topics, triggers).await?;
        released.into_iter().for_each(&self.seen);
        Ok(bad)
    }
}

async fn materialise_all(
    store: ClusterJobs,
    device: DeviceKey,
    releases: Vec<Traced>,
) -> Result<(), StoreError> {
    for Traced { release, trace } in &releases {
        // What it says of the attempts before is part of the trace, too.
        trace::within(*trace, store.materialise(&device.tenant, release)).await?;
    }
    Ok(())
}
