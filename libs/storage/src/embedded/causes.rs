//! The traces that jobs were released in. They are in memory: a process that starts again knows those of new releases.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use campaign::{CampaignId, Job};

use crate::{Release, trace::Traceparent};

/// Releases that are remembered, the newest.
const CAUSES_MAX: usize = 65_536;

/// Which job: campaign, ordinal of its device, attempt.
type Key = (CampaignId, u32, u16);

#[derive(Debug, Default)]
pub(super) struct Causes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    of: HashMap<Key, Traceparent>,
    order: VecDeque<Key>,
}

fn key(job: &Job) -> Key {
    (job.campaign, job.ordinal, job.attempt)
}

impl Causes {
    /// These were released in a trace that is kept.
    pub(super) fn note(&self, releases: &[Release], trace: Traceparent) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for release in releases {
            let key = key(&release.job);
            if known.of.insert(key, trace).is_none() {
                known.order.push_back(key);
            }
        }
        while known.order.len() > CAUSES_MAX {
            if let Some(oldest) = known.order.pop_front() {
                known.of.remove(&oldest);
            }
        }
    }

    pub(super) fn of(&self, job: &Job) -> Option<Traceparent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of.get(&key(job)).copied()
    }
}
