//! What a step found out, folded into as few writes as it needs.

use campaign::{JobEvent, Transition, View};
use dm_objects::{
    agenda::{Fact, FirmwareFact, FirmwareStage},
    dev_info,
};
use dm_protocol::{Nonces, Scheme};
use dm_tree::{Change, TreeDelta};
use jiff::{SignedDuration, Timestamp};
use storage::{Device, Inventory};

use super::record::HeldJob;

/// A device that was seen this short a while ago is not written only for being seen again.
const SEEN_GRAIN: SignedDuration = SignedDuration::from_secs(60);
/// Octets of a value in the inventory, which is read for every question about many devices; the tree has it whole.
const INVENTORY_VALUE_MAX: usize = 256;

/// Changes of one step, before they are written.
pub(super) struct Effects {
    pub(super) now: Timestamp,
    /// The device as it will be written.
    pub(super) device: Device,
    /// It had been seen before this step.
    was_seen: bool,
    /// More of the device than when it was seen last.
    pub(super) device_changed: bool,
    /// When the device was seen last.
    seen_changed: bool,
    pub(super) delta: TreeDelta,
    /// For the ledger, with the job's change.
    pub(super) events: Vec<JobEvent>,
    /// The job has ended.
    pub(super) job_ended: bool,
    /// An Exec is in the answer.
    pub(super) exec_leaves: bool,
}

impl Effects {
    pub(super) fn new(device: Device, now: Timestamp) -> Self {
        let was_seen = device.last_seen.is_some();
        Self {
            now,
            device,
            was_seen,
            device_changed: false,
            seen_changed: false,
            delta: TreeDelta::new(),
            events: Vec::new(),
            job_ended: false,
            exec_leaves: false,
        }
    }

    /// The device has proved itself. That alone is written once a minute.
    pub(super) fn seen(&mut self) {
        let last = self.device.last_seen;
        if last.is_none_or(|seen| self.now.duration_since(seen).abs() >= SEEN_GRAIN) {
            self.device.last_seen = Some(self.now);
            self.seen_changed = true;
        }
    }

    /// The device has to be written.
    pub(super) fn has_device(&self) -> bool {
        self.device_changed || self.seen_changed
    }

    /// All there is to write beside the session is when the device was seen.
    pub(super) fn is_visit_only(&self) -> bool {
        self.seen_changed && !self.device_changed && self.delta.is_empty() && self.events.is_empty()
    }

    pub(super) fn nonces(&mut self, nonces: Nonces, server_scheme: Option<Scheme>) {
        self.device.account.nonces = nonces;
        if let (Some(scheme), Some(server)) = (server_scheme, &mut self.device.account.server) {
            server.scheme = scheme;
        }
        self.device_changed = true;
    }

    pub(super) fn fact(&mut self, fact: Fact, job: Option<(&mut HeldJob, &View)>) {
        match fact {
            Fact::Tree(change) => self.tree(change),
            Fact::DevDetailRead => {
                self.device.dev_detail_read = Some(self.now);
                self.device_changed = true;
            }
            Fact::FumoRoot(root) => {
                self.device_changed |= self.device.fumo_root.as_deref() != Some(&root);
                self.device.fumo_root = Some(root);
            }
            Fact::Firmware(fact) => {
                if let Some((job, view)) = job {
                    self.firmware(&fact, job, view);
                }
            }
            Fact::Alert(alert) => {
                let (device_id, code, kind) = (&self.device.id, alert.code, alert.type_.as_deref());
                tracing::info!(%device_id, code, kind, source = alert.source.as_deref(), "device sent an alert");
            }
            _ => {}
        }
    }

    fn firmware(&mut self, fact: &FirmwareFact, held: &mut HeldJob, view: &View) {
        match fact {
            FirmwareFact::Stage(FirmwareStage::DownloadExecSent | FirmwareStage::ExecSent) => {
                self.exec_leaves = true;
            }
            // New firmware, so a new software version and perhaps more: the next session reads DevDetail again.
            FirmwareFact::Done { .. } => {
                self.device.dev_detail_read = None;
                self.device_changed = true;
            }
            _ => {}
        }
        if !self.job_ended {
            let transition = held.job.apply(&self.device.id, fact, &view.plan, self.now);
            self.moved(transition, held);
        }
    }

    /// Takes in what became of the job.
    pub(super) fn moved(&mut self, transition: Transition, held: &mut HeldJob) {
        self.events.extend(transition.events);
        match transition.job {
            Some(job) => held.job = job,
            None => self.job_ended = true,
        }
    }

    fn tree(&mut self, change: Change) {
        if let Change::Leaf { uri, leaf } = &change {
            let device = &mut self.device;
            if uri == "DevInfo/DevId" && self.was_seen && *leaf.value == *device.id.as_str().as_bytes() {
                return;
            }
            if let Some(known) = inventory_field(&mut device.inventory, uri) {
                let value = String::from_utf8_lossy(&leaf.value);
                let value = &value[..value.floor_char_boundary(INVENTORY_VALUE_MAX)];
                // Every session begins with these: where they are as before, nothing is written.
                if known == value {
                    return;
                }
                value.clone_into(known);
                self.device_changed = true;
            }
        }
        self.delta.push(change);
    }
}

/// What is stored of a device's DevInfo, so that the session passes over it. The name of a device that was never seen
/// is in no tree yet.
pub(super) fn known_dev_info(device: &Device) -> [(&str, &str); 5] {
    let inventory = &device.inventory;
    // An empty address is none of a device's.
    let id = if device.last_seen.is_some() { dev_info::DEV_ID } else { "" };
    [
        (id, device.id.as_str()),
        (dev_info::MAN, &inventory.maker),
        (dev_info::MOD, &inventory.model),
        (dev_info::DM_V, &inventory.dm_version),
        (dev_info::LANG, &inventory.language),
    ]
}

fn inventory_field<'a>(inventory: &'a mut Inventory, uri: &str) -> Option<&'a mut String> {
    Some(match uri {
        "DevInfo/Man" => &mut inventory.maker,
        "DevInfo/Mod" => &mut inventory.model,
        "DevInfo/DmV" => &mut inventory.dm_version,
        "DevInfo/Lang" => &mut inventory.language,
        "DevDetail/FwV" => &mut inventory.firmware,
        "DevDetail/SwV" => &mut inventory.software,
        "DevDetail/HwV" => &mut inventory.hardware,
        uri => return inventory.more.get_mut(uri),
    })
}
