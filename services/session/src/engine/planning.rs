//! What a session is for: the job that waits for the device, and what is known of the device already.

use std::{sync::Arc, time::Duration};

use campaign::{Job, View};
use dm_objects::agenda::{Agenda, Known};
use jiff::{SignedDuration, Timestamp};
use service_kit::settings::{DialectSettings, ModelSettings};
use storage::{Device, StoreError, Versioned};

use super::{Engine, record::HeldJob, record::Plan};
use crate::address::artifact_url;

/// What the settings know of devices.
#[derive(Clone, Debug)]
pub(super) struct Dialects {
    search_roots: Vec<String>,
    models: Vec<ModelSettings>,
    dev_detail_max_age: SignedDuration,
}

impl Dialects {
    pub(super) fn new(settings: &DialectSettings) -> Self {
        let max_age: Duration = settings.dev_detail_max_age.value();
        Self {
            search_roots: settings.fumo_search_roots.clone(),
            models: settings.models.clone(),
            dev_detail_max_age: SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX),
        }
    }

    /// What is known of a device before it says anything.
    pub(super) fn known(&self, device: &Device, now: Timestamp) -> Known {
        let is_fresh = |read: Timestamp| now.duration_since(read) < self.dev_detail_max_age;
        Known {
            dev_detail_fresh: device.dev_detail_read.is_some_and(is_fresh),
            fumo_root: device.fumo_root.clone().or_else(|| self.fumo_root(device)),
            fumo_search_roots: self.search_roots.clone(),
        }
    }

    /// Of the model, or else of its maker.
    fn fumo_root(&self, device: &Device) -> Option<String> {
        let of_maker = || self.models.iter().filter(|model| model.maker == device.inventory.maker);
        of_maker()
            .find(|model| model.model.as_ref() == Some(&device.inventory.model))
            .or_else(|| of_maker().find(|model| model.model.is_none()))
            .map(|model| model.fumo_root.clone())
    }
}

/// A job that a session may work on.
pub(super) struct Work {
    pub(super) held: HeldJob,
    pub(super) view: Arc<View>,
}

impl Engine {
    /// The job to work on: one that has begun on the device comes before those that wait, then the oldest.
    pub(super) async fn next_work(&self, device: &Device) -> Result<Option<Work>, StoreError> {
        let mut pending = self.stores.jobs.pending(&self.tenant, &device.id).await?;
        pending.sort_by_key(|job| !job.value.phase.exec_may_have_left());
        for Versioned { value: job, revision } in pending {
            if let Some(view) = self.view(&job).await? {
                return Ok(Some(Work { held: HeldJob { job, revision }, view }));
            }
        }
        Ok(None)
    }

    /// The job's campaign, if a session may work on the job now.
    pub(super) async fn view(&self, job: &Job) -> Result<Option<Arc<View>>, StoreError> {
        let view = self.campaigns.view(&self.tenant, job.campaign).await?;
        Ok(view.filter(|view| view.may_work_on(job)))
    }

    /// The plan of a session in which the device has just proved itself.
    pub(super) fn plan(&self, device: &Device, now: Timestamp, work: Option<&Work>) -> Plan {
        let task = work.map(|Work { held, view }| {
            let artifact = &view.plan.artifact;
            let url = artifact_url(&self.public_url, &artifact.digest.0, &artifact.name);
            view.plan.firmware_task(&held.job, &url)
        });
        let agenda = Agenda::new(self.dialects.known(device, now), task);
        Plan { agenda, job: work.map(|work| work.held.clone()) }
    }
}
