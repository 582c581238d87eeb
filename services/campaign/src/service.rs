//! The service: what its parts share, and its life.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use campaign::{CampaignId, Plan, StoredState};
use storage::{CampaignRecord, TenantId, Versioned};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Clock, Process, ServiceError, Stores, live::Live, owner::Command, views::Views};

/// Campaigns of one tenant: the operations on them, and the owners of those that run. Clones are one service.
///
/// Every process may have one. Which campaigns it owns is for [`Process::ownership`] to say; operations on the others go
/// to their owners through the stores, and reports on them are read from checkpoint and ledger.
#[derive(Clone)]
pub struct CampaignService(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) stores: Stores,
    pub(crate) tenant: TenantId,
    pub(crate) process: Process,
    pub(crate) owners: Mutex<BTreeMap<CampaignId, Handle>>,
    /// Campaigns that were started and are not known to be over.
    pub(crate) known: Mutex<BTreeSet<CampaignId>>,
    pub(crate) views: Views,
    /// Only spares choosing members in vain: the store alone decides which start comes first.
    pub(crate) starting: tokio::sync::Mutex<()>,
    pub(crate) is_running: AtomicBool,
    /// There may be a campaign to take up.
    pub(crate) wake: Notify,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// The owner of a campaign in this process.
#[derive(Clone)]
pub(crate) struct Handle {
    /// What it sees, once it has taken the campaign up.
    pub(crate) live: Arc<Mutex<Option<Arc<Live>>>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) stop: CancellationToken,
}

impl Handle {
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for CampaignService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CampaignService").field("tenant", &self.0.tenant).finish_non_exhaustive()
    }
}

impl CampaignService {
    /// A service over these stores, the only one. Campaigns run from [`CampaignService::run`] on.
    pub fn new(stores: Stores, tenant: TenantId, clock: Clock) -> Self {
        Self::in_process(stores, tenant, Process { clock, ..Process::default() })
    }

    /// A service over these stores, in one of many processes. Campaigns run from [`CampaignService::run`] on.
    pub fn in_process(stores: Stores, tenant: TenantId, process: Process) -> Self {
        Self(Arc::new(Inner {
            stores,
            tenant,
            process,
            owners: Mutex::default(),
            known: Mutex::default(),
            views: Views::default(),
            starting: tokio::sync::Mutex::new(()),
            is_running: AtomicBool::new(false),
            wake: Notify::new(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }))
    }

    pub(crate) fn owners(&self) -> MutexGuard<'_, BTreeMap<CampaignId, Handle>> {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, BTreeSet<CampaignId>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self, id: CampaignId) -> Option<Handle> {
        self.owners().get(&id).cloned()
    }

    /// What the owner in this process sees, where there is one.
    pub(crate) fn owned(&self, id: CampaignId) -> Option<Arc<Live>> {
        self.handle(id)?.live()
    }

    /// A campaign's record, with its members.
    pub(crate) async fn load(&self, id: CampaignId) -> Result<Versioned<CampaignRecord>, ServiceError> {
        let found = self.0.stores.campaigns.load(&self.0.tenant, id).await?;
        found.ok_or(ServiceError::NotFound(id))
    }

    /// A campaign's record, for who needs only its definition and the head of its state.
    pub(crate) async fn load_light(&self, id: CampaignId) -> Result<Versioned<CampaignRecord>, ServiceError> {
        let found = self.0.stores.campaigns.load_head(&self.0.tenant, id).await?;
        found.ok_or(ServiceError::NotFound(id))
    }
}

pub(crate) fn decode_plan(record: &CampaignRecord) -> Result<Plan, ServiceError> {
    Plan::decode(&record.definition).map_err(|source| ServiceError::Corrupt { campaign: record.id, source })
}

/// The state without its checkpoint.
pub(crate) fn decode_state(record: &CampaignRecord) -> Result<StoredState, ServiceError> {
    StoredState::decode_head(&record.state)
        .map_err(|source| ServiceError::Corrupt { campaign: record.id, source })
}
