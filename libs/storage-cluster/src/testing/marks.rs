use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{StoreError, TenantId};

use crate::marks::{MarkVersion, WorkMarks};

/// Marks in memory. Nothing in it expires.
#[derive(Debug, Default)]
pub struct MemoryMarks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Never goes back, also not when all is lost.
    last: u64,
    marks: BTreeMap<(TenantId, DevId), (bool, MarkVersion)>,
}

impl MemoryMarks {
    /// Loses everything.
    pub fn clear(&self) {
        self.state().marks.clear();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fresh(&mut self, key: (TenantId, DevId)) -> MarkVersion {
        self.last += 1;
        let version = MarkVersion(self.last);
        self.marks.insert(key, (false, version));
        version
    }
}

#[async_trait]
impl WorkMarks for MemoryMarks {
    async fn is_idle(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        let key = (tenant.clone(), device.clone());
        Ok(self.state().marks.get(&key).is_some_and(|(is_idle, _)| *is_idle))
    }

    async fn begin_look(&self, tenant: &TenantId, device: &DevId) -> Result<MarkVersion, StoreError> {
        let (mut state, key) = (self.state(), (tenant.clone(), device.clone()));
        let known = state.marks.get(&key).map(|(_, version)| *version);
        Ok(known.unwrap_or_else(|| state.fresh(key)))
    }

    async fn set_idle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        seen: MarkVersion,
    ) -> Result<bool, StoreError> {
        let (mut state, key) = (self.state(), (tenant.clone(), device.clone()));
        Ok(match state.marks.get_mut(&key) {
            Some((is_idle, version)) if *version == seen => {
                *is_idle = true;
                true
            }
            _ => false,
        })
    }

    async fn set_busy(&self, tenant: &TenantId, devices: &[DevId]) -> Result<(), StoreError> {
        let mut state = self.state();
        for device in devices {
            state.fresh((tenant.clone(), device.clone()));
        }
        Ok(())
    }
}
