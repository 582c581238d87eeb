use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{Revision, StoreError, TenantId, Versioned};

use crate::hot::{Claim, Hot, HotDevices, HotPut, HotRecord};

/// Hot records in memory.
#[derive(Debug, Default)]
pub struct MemoryHotDevices(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Never goes back, also not when all is lost.
    last: u64,
    places: BTreeMap<(TenantId, DevId), Place>,
}

#[derive(Clone, Debug)]
enum Place {
    Filling(Claim),
    Changing(Claim),
    Record(Versioned<HotRecord>),
}

impl MemoryHotDevices {
    /// Loses everything.
    pub fn clear(&self) {
        self.state().places.clear();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn write(&mut self, key: (TenantId, DevId), record: HotRecord) -> Revision {
        let revision = Revision(self.next());
        self.places.insert(key, Place::Record(Versioned { value: record, revision }));
        revision
    }
}

fn key(tenant: &TenantId, device: &DevId) -> (TenantId, DevId) {
    (tenant.clone(), device.clone())
}

#[async_trait]
impl HotDevices for MemoryHotDevices {
    async fn load(&self, tenant: &TenantId, device: &DevId) -> Result<Hot, StoreError> {
        Ok(match self.state().places.get(&key(tenant, device)) {
            None | Some(Place::Filling(_)) => Hot::Absent,
            Some(Place::Changing(claim)) => Hot::Changing(*claim),
            Some(Place::Record(record)) => Hot::Record(record.clone()),
        })
    }

    async fn put(
        &self,
        tenant: &TenantId,
        device: &DevId,
        expected: Revision,
        digest: [u8; 16],
        sealed: &[u8],
    ) -> Result<HotPut, StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        let Some(Place::Record(found)) = state.places.get(&key) else { return Ok(HotPut::Lost) };
        if found.revision != expected {
            return Ok(HotPut::Lost);
        }
        let HotRecord { digest: known, durable, ordinal, .. } = found.value;
        if known == digest {
            let record = HotRecord { digest, durable, ordinal, sealed: sealed.to_vec() };
            return Ok(HotPut::Written(state.write(key, record)));
        }
        let claim = Claim(state.next());
        state.places.insert(key, Place::Changing(claim));
        Ok(HotPut::Changes { claim, durable, ordinal })
    }

    async fn claim_fill(&self, tenant: &TenantId, device: &DevId) -> Result<Option<Claim>, StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        if matches!(state.places.get(&key), Some(Place::Changing(_) | Place::Record(_))) {
            return Ok(None);
        }
        let claim = Claim(state.next());
        state.places.insert(key, Place::Filling(claim));
        Ok(Some(claim))
    }

    async fn fill(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        let is_held = matches!(state.places.get(&key), Some(Place::Filling(held)) if *held == claim);
        Ok(is_held.then(|| state.write(key, record.clone())))
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        if matches!(state.places.get(&key), Some(Place::Changing(held)) if *held == claim) {
            return Ok(Some(state.write(key, record.clone())));
        }
        state.places.remove(&key);
        Ok(None)
    }

    async fn abandon(&self, tenant: &TenantId, device: &DevId, claim: Claim) -> Result<(), StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        if matches!(state.places.get(&key), Some(Place::Changing(held) | Place::Filling(held)) if *held == claim)
        {
            state.places.remove(&key);
        }
        Ok(())
    }

    async fn forget(&self, tenant: &TenantId, device: &DevId, revision: Revision) -> Result<(), StoreError> {
        let (mut state, key) = (self.state(), key(tenant, device));
        if matches!(state.places.get(&key), Some(Place::Record(found)) if found.revision == revision) {
            state.places.remove(&key);
        }
        Ok(())
    }
}
