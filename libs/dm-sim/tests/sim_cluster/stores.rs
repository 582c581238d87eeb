//! The stores that have no port of their own, as one process sees them: the world, through the process's gate.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use campaign::CampaignId;
use dm_protocol::DevId;
use dm_tree::{Leaf, TreeDelta};
use jiff::Timestamp;
use storage::{
    ArtifactMeta, ArtifactStore, CampaignRecord, CampaignStore, Device, DeviceStore, RequestId, RequestStore,
    Revision, SessionKey, SessionStore, SnapshotId, SnapshotRef, SnapshotStore, StartStore, Started,
    StoreError, TenantId, Versioned,
    merkle::{self, Pages},
};
use tokio::{io::AsyncRead, time::Instant};

use crate::{gate::Gate, world::World};

#[derive(Clone)]
pub struct View(pub Arc<Gate>);

#[async_trait]
impl SessionStore for View {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        let key = (key.device.to_string(), key.session.to_string());
        let load = |world: &mut World| {
            let found = world.sessions.get(&key).filter(|(_, _, until)| *until > Instant::now());
            Ok(found.map(|(revision, record, _)| Versioned { value: record.clone(), revision: *revision }))
        };
        self.0.call("load session", false, load).await
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        let key = (key.device.to_string(), key.session.to_string());
        let put = |world: &mut World| {
            let known = world.sessions.get(&key).filter(|(_, _, until)| *until > Instant::now());
            if known.map(|(revision, ..)| *revision) != expected {
                return Err(StoreError::conflict("put session"));
            }
            world.session_revision += 1;
            let revision = Revision(world.session_revision);
            world.sessions.insert(key, (revision, record.to_vec(), Instant::now() + keep));
            Ok(revision)
        };
        self.0.call("put session", true, put).await
    }
}

#[async_trait]
impl DeviceStore for View {
    async fn add(&self, _: &TenantId, _: &[Device]) -> Result<Vec<Option<u32>>, StoreError> {
        unreachable!("nobody enrols")
    }

    async fn load(&self, _: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError> {
        let load = |world: &mut World| {
            let ordinal = world.ordinals.get(id.as_str());
            Ok(ordinal.map(|ordinal| world.devices[*ordinal as usize].clone()))
        };
        self.0.call("load device", false, load).await
    }

    async fn name(&self, _: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError> {
        let name =
            |world: &mut World| Ok(world.devices.get(ordinal as usize).map(|device| device.value.id.clone()));
        self.0.call("find device by ordinal", false, name).await
    }

    async fn put(&self, _: &TenantId, expected: Revision, device: &Device) -> Result<Revision, StoreError> {
        let put = |world: &mut World| {
            let known = world.devices[device.ordinal as usize].clone();
            if known.revision != expected {
                return Err(StoreError::conflict("put device"));
            }
            let revision = Revision(expected.0 + 1);
            world.devices[device.ordinal as usize] = Versioned { value: device.clone(), revision };
            Ok(revision)
        };
        self.0.call("put device", true, put).await
    }

    async fn list(&self, _: &TenantId, _: Option<&DevId>, _: usize) -> Result<Vec<Device>, StoreError> {
        unreachable!("nobody lists")
    }

    async fn scan(&self, _: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError> {
        let scan = |world: &mut World| {
            let devices = world.devices.iter().skip(from as usize).take(limit);
            Ok(devices.map(|device| device.value.clone()).collect())
        };
        self.0.call("scan devices", false, scan).await
    }

    async fn sealed(&self, _: &TenantId, _: u32, _: usize) -> Result<storage::seal::SealedPage, StoreError> {
        unreachable!("nobody rotates keys")
    }

    async fn count(&self, _: &TenantId) -> Result<u32, StoreError> {
        self.0.call("count devices", false, |world| Ok(world.devices.len() as u32)).await
    }
}

impl Pages for World {
    fn load(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pages.get(&id).cloned())
    }
}

#[async_trait]
impl SnapshotStore for View {
    async fn current(&self, _: &TenantId, device: &DevId) -> Result<Option<SnapshotRef>, StoreError> {
        let current =
            |world: &mut World| Ok(world.heads.get(device.as_str()).and_then(|it| it.last().copied()));
        self.0.call("load snapshot", false, current).await
    }

    async fn apply(
        &self,
        _: &TenantId,
        device: &DevId,
        at: Timestamp,
        delta: &TreeDelta,
    ) -> Result<SnapshotRef, StoreError> {
        let apply = |world: &mut World| {
            let before = world.heads.get(device.as_str()).and_then(|heads| heads.last().copied());
            let root = before.map(|before| before.root);
            let applied = merkle::apply(world, root, delta, &merkle::Limits::default());
            let applied = applied.map_err(|error| error.into_store_error("apply to snapshot"))?;
            world.pages.extend(applied.pages.into_iter().map(|page| (page.id, page.octets)));
            let after = SnapshotRef::after(before, applied.root, at);
            world.heads.entry(device.to_string()).or_default().push(after);
            Ok(after)
        };
        self.0.call("apply to snapshot", true, apply).await
    }

    async fn as_of(&self, _: &TenantId, _: &DevId, _: Timestamp) -> Result<Option<SnapshotRef>, StoreError> {
        unreachable!("nobody asks for the past")
    }

    async fn history(&self, _: &TenantId, _: &DevId, _: usize) -> Result<Vec<SnapshotRef>, StoreError> {
        unreachable!("nobody asks for the past")
    }

    async fn leaf(&self, _: &TenantId, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, StoreError> {
        let leaf = |world: &mut World| {
            merkle::leaf(world, root, uri).map_err(|error| error.into_store_error("read leaf"))
        };
        self.0.call("read leaf", false, leaf).await
    }

    async fn read(&self, _: &TenantId, root: SnapshotId, uri: &str) -> Result<TreeDelta, StoreError> {
        let read = |world: &mut World| {
            merkle::read(world, root, uri).map_err(|error| error.into_store_error("read tree"))
        };
        self.0.call("read tree", false, read).await
    }

    async fn diff(&self, _: &TenantId, _: SnapshotId, _: SnapshotId) -> Result<TreeDelta, StoreError> {
        unreachable!("nobody compares trees")
    }
}

#[async_trait]
impl CampaignStore for View {
    async fn create(
        &self,
        _: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError> {
        let create = |world: &mut World| {
            if let Some(known) = key.and_then(|key| world.campaign_keys.get(key)) {
                return Ok(*known);
            }
            let id = CampaignId(world.campaigns.len() as u64 + 1);
            let (definition, state) = (definition.to_vec(), state.to_vec());
            let value = CampaignRecord { id, definition, members: Vec::new(), state };
            world.campaigns.push(Versioned { value, revision: Revision(1) });
            world.campaign_keys.extend(key.map(|key| (key.to_owned(), id)));
            Ok(id)
        };
        self.0.call("create campaign", true, create).await
    }

    async fn load(
        &self,
        _: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        let load = |world: &mut World| Ok(world.campaigns.get(id.0 as usize - 1).cloned());
        self.0.call("load campaign", false, load).await
    }

    async fn list(&self, _: &TenantId) -> Result<Vec<Versioned<CampaignRecord>>, StoreError> {
        let list = |world: &mut World| {
            let mut campaigns = world.campaigns.clone();
            campaigns.iter_mut().for_each(|campaign| campaign.value.members.clear());
            Ok(campaigns)
        };
        self.0.call("list campaigns", false, list).await
    }

    async fn put(
        &self,
        _: &TenantId,
        id: CampaignId,
        expected: Revision,
        members: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Revision, StoreError> {
        let put = |world: &mut World| {
            let known = world.campaigns.get_mut(id.0 as usize - 1).filter(|it| it.revision == expected);
            let Some(known) = known else { return Err(StoreError::conflict("put campaign")) };
            known.revision.0 += 1;
            known.value.state = state.to_vec();
            if let Some(members) = members {
                known.value.members = members.to_vec();
            }
            Ok(known.revision)
        };
        self.0.call("put campaign", true, put).await
    }
}

#[async_trait]
impl StartStore for View {
    async fn last_start(&self, _: &TenantId) -> Result<u64, StoreError> {
        self.0.call("find last start", false, |world| Ok(world.starts.len() as u64)).await
    }

    async fn start(&self, _: &TenantId, number: u64) -> Result<Option<Started>, StoreError> {
        let start = |world: &mut World| Ok(world.starts.get(number as usize - 1).cloned());
        self.0.call("load start", false, start).await
    }

    async fn append_start(&self, _: &TenantId, number: u64, start: &Started) -> Result<(), StoreError> {
        let append = |world: &mut World| {
            if number != world.starts.len() as u64 + 1 {
                return Err(StoreError::conflict("append start"));
            }
            world.starts.push(start.clone());
            world.begin(start);
            Ok(())
        };
        self.0.call("append start", true, append).await
    }
}

#[async_trait]
impl RequestStore for View {
    async fn ask(
        &self,
        _: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        request: &[u8],
    ) -> Result<(), StoreError> {
        let ask = |world: &mut World| {
            world.requests.entry((campaign.0, id)).or_insert_with(|| (request.to_vec(), None));
            Ok(())
        };
        self.0.call("ask owner", true, ask).await
    }

    async fn asked(
        &self,
        _: &TenantId,
        campaign: CampaignId,
    ) -> Result<Vec<(RequestId, Vec<u8>)>, StoreError> {
        let asked = |world: &mut World| {
            let all =
                world.requests.iter().filter(|((of, _), (_, answer))| *of == campaign.0 && answer.is_none());
            Ok(all.map(|((_, id), (request, _))| (*id, request.clone())).collect())
        };
        self.0.call("read requests", false, asked).await
    }

    async fn answer(
        &self,
        _: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        let put = |world: &mut World| {
            if let Some((_, known)) = world.requests.get_mut(&(campaign.0, id)) {
                known.get_or_insert_with(|| answer.to_vec());
            }
            Ok(())
        };
        self.0.call("answer request", true, put).await
    }

    async fn answered(
        &self,
        _: &TenantId,
        campaign: CampaignId,
        id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let answered = |world: &mut World| {
            Ok(world.requests.get(&(campaign.0, id)).and_then(|(_, answer)| answer.clone()))
        };
        self.0.call("read answer", false, answered).await
    }

    async fn forget(&self, _: &TenantId, campaign: CampaignId, id: RequestId) -> Result<(), StoreError> {
        let forget = |world: &mut World| {
            world.requests.remove(&(campaign.0, id));
            Ok(())
        };
        self.0.call("forget request", true, forget).await
    }
}

#[async_trait]
impl ArtifactStore for View {
    async fn add(
        &self,
        _: &TenantId,
        _: &str,
        _: &str,
        _: &str,
        _: u64,
        _: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<ArtifactMeta, StoreError> {
        unreachable!("there is one from the beginning")
    }

    async fn meta(&self, _: &TenantId, _: &[u8; 32]) -> Result<Option<ArtifactMeta>, StoreError> {
        self.0.call("load artifact", false, |world| Ok(Some(world.artifact.0.clone()))).await
    }

    async fn list(&self, _: &TenantId) -> Result<Vec<ArtifactMeta>, StoreError> {
        self.0.call("list artifacts", false, |world| Ok(vec![world.artifact.0.clone()])).await
    }

    async fn read(&self, _: &TenantId, _: &[u8; 32], offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let read = |world: &mut World| {
            Ok(world.artifact.1.iter().skip(offset as usize).take(len).copied().collect())
        };
        self.0.call("read artifact", false, read).await
    }
}
