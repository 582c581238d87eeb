//! Stores that fail by a seeded plan: real code runs around them, so that what it does about a bad dependency
//! is tested.
//!
//! A call is refused before anything was done ([`ErrorKind::Unavailable`]), or it is done and its answer is
//! lost ([`ErrorKind::TimedOut`]): those two cover what a network and a dying server can do to a caller.
//!
//! ```
//! use std::sync::Arc;
//! use storage::{SessionStore, faults::{FaultPlan, Faulty}};
//!
//! # fn example(store: Arc<dyn SessionStore>) {
//! let plan = Arc::new(FaultPlan::new(7, 20, 10)); // of a thousand calls 20 are refused, 10 lose their answer
//! let store = Faulty::new(store, Arc::clone(&plan));
//! // ... the code under test runs with `store` ...
//! plan.stop(); // from here on all goes well, so all work must finish
//! # }
//! ```

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use campaign::{CampaignId, Job, JobEvent};
use dm_protocol::DevId;
use dm_tree::{Leaf, TreeDelta};
use jiff::Timestamp;
use tokio::io::AsyncRead;

use crate::{
    ArtifactMeta, ArtifactStore, CampaignRecord, CampaignStore, Device, DeviceStore, Epoch, ErrorKind,
    InventoryRow, JobStore, LimitStore, Receipt, Release, RequestId, RequestStore, Revision, SessionKey,
    SessionStore, SnapshotId, SnapshotRef, SnapshotStore, StartStore, Started, StoreError, Taken, TenantId,
    Trigger, TriggerConsumer, TriggerStore, Versioned,
    limits::{AttemptPolicy, Attempts, Grant, LimitKey, Rate},
    seal::SealedPage,
    trace::Traceparent,
};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused; nothing was done.
    Refused,
    /// It is done, and the caller hears that it is not known. A read is refused instead.
    AnswerLost,
}

/// Which calls fail. One plan may serve many stores; with one caller at a time, the same seed gives the same faults.
#[derive(Debug)]
pub struct FaultPlan {
    random: Mutex<u64>,
    refused_per_mille: u64,
    lost_per_mille: u64,
    next: Mutex<VecDeque<(&'static str, Fault)>>,
    stopped: AtomicBool,
    happened: AtomicU64,
}

impl FaultPlan {
    /// Of a thousand calls, so many are refused and of so many the answer is lost, by the seed.
    pub fn new(seed: u64, refused_per_mille: u16, lost_per_mille: u16) -> Self {
        Self {
            random: Mutex::new(seed),
            refused_per_mille: refused_per_mille.into(),
            lost_per_mille: lost_per_mille.into(),
            next: Mutex::default(),
            stopped: AtomicBool::new(false),
            happened: AtomicU64::new(0),
        }
    }

    /// No call fails but those named by [`FaultPlan::fail_next`].
    pub fn quiet() -> Self {
        Self::new(0, 0, 0)
    }

    /// The next call of an operation (the name in its errors, such as `put session`) fails so. Named faults of one
    /// operation happen in the order they were named.
    pub fn fail_next(&self, operation: &'static str, fault: Fault) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    /// From here on no call fails.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// How many faults have happened.
    pub fn happened(&self) -> u64 {
        self.happened.load(Ordering::Relaxed)
    }

    /// What happens to this call of an operation; for wrappers of other traits than the stores'.
    pub fn fault(&self, operation: &'static str) -> Option<Fault> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let fault = self.named(operation).or_else(|| self.drawn())?;
        self.happened.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    /// Runs a call with the fault that comes to it, if one does.
    ///
    /// # Errors
    ///
    /// Those of the call, [`ErrorKind::Unavailable`] where it was refused, [`ErrorKind::TimedOut`] where its answer was lost.
    pub async fn around<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.fault(operation) {
            None => call.await,
            Some(Fault::Refused) => Err(StoreError::unavailable(operation, "refused by the plan of faults")),
            Some(Fault::AnswerLost) => {
                // An error of the call itself is an answer, and that is lost too.
                drop(call.await);
                let source = Some("the answer was lost by the plan of faults".into());
                Err(StoreError { kind: ErrorKind::TimedOut, operation, source })
            }
        }
    }

    fn named(&self, operation: &'static str) -> Option<Fault> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let position = next.iter().position(|(named, _)| *named == operation)?;
        next.remove(position).map(|(_, fault)| fault)
    }

    fn drawn(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to draw lots.
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut lot = *random;
        lot = (lot ^ (lot >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        lot = (lot ^ (lot >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let lot = (lot ^ (lot >> 31)) % 1000;
        if lot < self.refused_per_mille {
            return Some(Fault::Refused);
        }
        (lot < self.refused_per_mille + self.lost_per_mille).then_some(Fault::AnswerLost)
    }
}

/// A store around which calls fail by a plan.
pub struct Faulty<S: ?Sized> {
    inner: Arc<S>,
    plan: Arc<FaultPlan>,
}

impl<S: ?Sized> Clone for Faulty<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), plan: Arc::clone(&self.plan) }
    }
}

impl<S: ?Sized> Faulty<S> {
    /// Wraps a store.
    pub fn new(inner: Arc<S>, plan: Arc<FaultPlan>) -> Self {
        Self { inner, plan }
    }

    /// Runs a call that changes something.
    async fn write<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.plan.around(operation, call).await
    }

    /// Runs a call that changes nothing.
    async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.plan.fault(operation) {
            None => call.await,
            Some(_) => Err(StoreError::unavailable(operation, "refused by the plan of faults")),
        }
    }
}

#[async_trait]
impl<S: SessionStore + ?Sized> SessionStore for Faulty<S> {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        self.read("load session", self.inner.load(key)).await
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        self.write("put session", self.inner.put(key, expected, record, keep)).await
    }
}

#[async_trait]
impl<S: LimitStore + ?Sized> LimitStore for Faulty<S> {
    async fn take(
        &self,
        key: &LimitKey,
        rate: Rate,
        wanted: NonZeroU32,
        reserve: u32,
    ) -> Result<Grant, StoreError> {
        self.write("take uses", self.inner.take(key, rate, wanted, reserve)).await
    }

    async fn attempts(&self, key: &LimitKey) -> Result<Attempts, StoreError> {
        self.read("read failures", self.inner.attempts(key)).await
    }

    async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Result<Attempts, StoreError> {
        self.write("count a failure", self.inner.fail(key, policy)).await
    }

    async fn succeed(&self, key: &LimitKey, keep: Duration) -> Result<(), StoreError> {
        self.write("note a success", self.inner.succeed(key, keep)).await
    }
}

#[async_trait]
impl<S: DeviceStore + ?Sized> DeviceStore for Faulty<S> {
    async fn add(&self, tenant: &TenantId, devices: &[Device]) -> Result<Vec<Option<u32>>, StoreError> {
        self.write("add devices", self.inner.add(tenant, devices)).await
    }

    async fn load(&self, tenant: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError> {
        self.read("load device", self.inner.load(tenant, id)).await
    }

    async fn name(&self, tenant: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError> {
        self.read("find device by ordinal", self.inner.name(tenant, ordinal)).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        expected: Revision,
        device: &Device,
    ) -> Result<Revision, StoreError> {
        self.write("put device", self.inner.put(tenant, expected, device)).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        self.read("list devices", self.inner.list(tenant, after, limit)).await
    }

    async fn scan(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError> {
        self.read("scan devices", self.inner.scan(tenant, from, limit)).await
    }

    async fn scan_inventory(
        &self,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        self.read("scan inventory", self.inner.scan_inventory(tenant, from, limit)).await
    }

    async fn sealed(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<SealedPage, StoreError> {
        self.read("look at sealed accounts", self.inner.sealed(tenant, from, limit)).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        self.read("count devices", self.inner.count(tenant)).await
    }
}

#[async_trait]
impl<S: SnapshotStore + ?Sized> SnapshotStore for Faulty<S> {
    async fn current(&self, tenant: &TenantId, device: &DevId) -> Result<Option<SnapshotRef>, StoreError> {
        self.read("load snapshot", self.inner.current(tenant, device)).await
    }

    async fn apply(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
        delta: &TreeDelta,
    ) -> Result<SnapshotRef, StoreError> {
        self.write("apply to snapshot", self.inner.apply(tenant, device, at, delta)).await
    }

    async fn as_of(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
    ) -> Result<Option<SnapshotRef>, StoreError> {
        self.read("load snapshot as of an instant", self.inner.as_of(tenant, device, at)).await
    }

    async fn history(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<SnapshotRef>, StoreError> {
        self.read("load history of snapshots", self.inner.history(tenant, device, limit)).await
    }

    async fn leaf(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, StoreError> {
        self.read("read leaf", self.inner.leaf(tenant, root, uri)).await
    }

    async fn read(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<TreeDelta, StoreError> {
        self.read("read tree", self.inner.read(tenant, root, uri)).await
    }

    async fn diff(
        &self,
        tenant: &TenantId,
        from: SnapshotId,
        to: SnapshotId,
    ) -> Result<TreeDelta, StoreError> {
        self.read("compare trees", self.inner.diff(tenant, from, to)).await
    }
}

#[async_trait]
impl<S: JobStore + ?Sized> JobStore for Faulty<S> {
    async fn claim(&self, tenant: &TenantId, campaign: CampaignId) -> Result<Epoch, StoreError> {
        self.write("claim ledger", self.inner.claim(tenant, campaign)).await
    }

    async fn release(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        releases: &[Release],
    ) -> Result<usize, StoreError> {
        self.write("release jobs", self.inner.release(tenant, campaign, epoch, releases)).await
    }

    async fn may_have(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        self.read("ask for jobs", self.inner.may_have(tenant, device)).await
    }

    async fn end_missing(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        epoch: Epoch,
        attempt: u16,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        let ended = self.inner.end_missing(tenant, device, campaign, epoch, attempt, events);
        self.write("end a missing job", ended).await
    }

    async fn pending(&self, tenant: &TenantId, device: &DevId) -> Result<Vec<Versioned<Job>>, StoreError> {
        self.read("load pending jobs", self.inner.pending(tenant, device)).await
    }

    async fn cause(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        attempt: u16,
    ) -> Result<Option<Traceparent>, StoreError> {
        self.read("load cause of job", self.inner.cause(tenant, device, campaign, attempt)).await
    }

    async fn update(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        expected: Revision,
        job: Option<&Job>,
        events: &[JobEvent],
    ) -> Result<Option<Revision>, StoreError> {
        self.write("update job", self.inner.update(tenant, device, campaign, expected, job, events)).await
    }

    async fn append(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        self.write("append events", self.inner.append(tenant, campaign, epoch, events)).await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, JobEvent)>, StoreError> {
        self.read("read events", self.inner.events(tenant, campaign, from, limit)).await
    }

    async fn device_events(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<(CampaignId, JobEvent)>, StoreError> {
        self.read("read events of a device", self.inner.device_events(tenant, device, limit)).await
    }

    async fn wait_events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
    ) -> Result<(), StoreError> {
        self.read("wait for events", self.inner.wait_events(tenant, campaign, from)).await
    }
}

#[async_trait]
impl<S: CampaignStore + ?Sized> CampaignStore for Faulty<S> {
    async fn create(
        &self,
        tenant: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError> {
        self.write("create campaign", self.inner.create(tenant, key, definition, state)).await
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        self.read("load campaign", self.inner.load(tenant, id)).await
    }

    async fn load_head(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        self.read("load campaign", self.inner.load_head(tenant, id)).await
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<Versioned<CampaignRecord>>, StoreError> {
        self.read("list campaigns", self.inner.list(tenant)).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        expected: Revision,
        members: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Revision, StoreError> {
        self.write("put campaign", self.inner.put(tenant, id, expected, members, state)).await
    }
}

#[async_trait]
impl<S: ArtifactStore + ?Sized> ArtifactStore for Faulty<S> {
    async fn add(
        &self,
        tenant: &TenantId,
        name: &str,
        version: &str,
        media_type: &str,
        size_max: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<ArtifactMeta, StoreError> {
        let call = self.inner.add(tenant, name, version, media_type, size_max, content);
        self.write("add artifact", call).await
    }

    async fn meta(&self, tenant: &TenantId, digest: &[u8; 32]) -> Result<Option<ArtifactMeta>, StoreError> {
        self.read("load artifact", self.inner.meta(tenant, digest)).await
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<ArtifactMeta>, StoreError> {
        self.read("list artifacts", self.inner.list(tenant)).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        digest: &[u8; 32],
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        self.read("read artifact", self.inner.read(tenant, digest, offset, len)).await
    }
}

#[async_trait]
impl<S: StartStore + ?Sized> StartStore for Faulty<S> {
    async fn last_start(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        self.read("find last start", self.inner.last_start(tenant)).await
    }

    async fn start(&self, tenant: &TenantId, number: u64) -> Result<Option<Started>, StoreError> {
        self.read("load start", self.inner.start(tenant, number)).await
    }

    async fn append_start(&self, tenant: &TenantId, number: u64, start: &Started) -> Result<(), StoreError> {
        self.write("append start", self.inner.append_start(tenant, number, start)).await
    }
}

#[async_trait]
impl<S: RequestStore + ?Sized> RequestStore for Faulty<S> {
    async fn ask(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        request: &[u8],
    ) -> Result<(), StoreError> {
        self.write("ask owner", self.inner.ask(tenant, campaign, id, request)).await
    }

    async fn asked(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
    ) -> Result<Vec<(RequestId, Vec<u8>)>, StoreError> {
        self.read("read requests", self.inner.asked(tenant, campaign)).await
    }

    async fn answer(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        self.write("answer request", self.inner.answer(tenant, campaign, id, answer)).await
    }

    async fn answered(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("read answer", self.inner.answered(tenant, campaign, id)).await
    }

    async fn forget(&self, tenant: &TenantId, campaign: CampaignId, id: RequestId) -> Result<(), StoreError> {
        self.write("forget request", self.inner.forget(tenant, campaign, id)).await
    }
}

#[async_trait]
impl<S: TriggerStore + ?Sized> TriggerStore for Faulty<S> {
    async fn ask(&self, triggers: &[Trigger]) -> Result<(), StoreError> {
        self.write("ask for triggers", self.inner.ask(triggers)).await
    }

    async fn consume(&self) -> Result<Box<dyn TriggerConsumer>, StoreError> {
        let inner = self.read("consume triggers", self.inner.consume()).await?;
        Ok(Box::new(FaultyConsumer { inner, plan: Arc::clone(&self.plan) }))
    }
}

struct FaultyConsumer {
    inner: Box<dyn TriggerConsumer>,
    plan: Arc<FaultPlan>,
}

#[async_trait]
impl TriggerConsumer for FaultyConsumer {
    async fn take(&mut self, max: usize, now: Timestamp, wait: Duration) -> Result<Vec<Taken>, StoreError> {
        let calls = Faulty::new(Arc::new(()), Arc::clone(&self.plan));
        calls.read("take triggers", self.inner.take(max, now, wait)).await
    }

    async fn settle(&mut self, settled: &[Receipt], again: &[Trigger]) -> Result<(), StoreError> {
        let calls = Faulty::new(Arc::new(()), Arc::clone(&self.plan));
        calls.write("settle triggers", self.inner.settle(settled, again)).await
    }
}
