//! Reading and moving the rows of jobs.

use std::collections::BTreeMap;

use campaign::{CampaignId, Job, JobEvent};
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{
    ErrorKind, Release, Revision, StoreError, TenantId, Versioned, records,
    trace::{self, Kind, Span, Traceparent},
};

use super::{
    ClusterJobs, device_key,
    row::{Found, last_events, parse_revision, revision, unpublished},
};
use crate::{
    backoff::Backoff,
    history,
    job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRow, Written},
    payload::EventsMessage,
    stored::{Released, State},
    topics::{Outgoing, Topic, tell_messaging},
};

/// How often a write of unknown outcome is looked for before its caller is told so.
const LOOKS: u32 = 5;
/// How often events that could not be published are tried again before it is left to who next reads the row.
const PUBLISH_TRIES: u32 = 8;

/// A job that has not ended, and when it was released.
type Open = (Timestamp, Versioned<Job>);

impl ClusterJobs {
    pub(super) async fn pending_jobs(
        &self,
        tenant: &TenantId,
        device: &DevId,
    ) -> Result<Vec<Versioned<Job>>, StoreError> {
        const OPERATION: &str = "load pending jobs";
        let key = device_key(tenant, device);
        // Before the rows are read: a job that comes after it keeps the mark from being set.
        let look = self.0.ports.marks.begin_look(tenant, device).await.ok();
        let rows = self.0.ports.rows.read(&key).await?;
        let mut last: BTreeMap<CampaignId, (u16, Option<Open>)> = BTreeMap::new();
        for row in &rows {
            // Nobody learns a revision before its events are in their topic, so they are there in their order.
            self.help(OPERATION, &key, row).await?;
            let job = match Found::of(OPERATION, row)? {
                Found::Open(job, at) => Some((at, job)),
                Found::Over(_) => None,
                Found::Unreleased => continue,
            };
            let (attempt, seen) = last.entry(row.key.campaign).or_default();
            if row.key.attempt > *attempt {
                (*attempt, *seen) = (row.key.attempt, job);
            }
        }
        let mut open: Vec<_> = last.into_values().filter_map(|(_, job)| job).collect();
        // Stable: jobs of one instant stay in the order of their campaigns.
        open.sort_by_key(|(at, _)| *at);
        if open.is_empty()
            && let Some(look) = look
            && let Err(error) = self.0.ports.marks.set_idle(tenant, device, look).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "mark of a device cannot be set");
        }
        Ok(open.into_iter().map(|(_, job)| job).collect())
    }

    /// The trace that an attempt was released in.
    pub(super) async fn cause_of(
        &self,
        tenant: &TenantId,
        device: &DevId,
        key: AttemptKey,
    ) -> Result<Option<Traceparent>, StoreError> {
        const OPERATION: &str = "load cause of job";
        let rows = self.0.ports.rows.read(&device_key(tenant, device)).await?;
        let stored = rows.iter().find(|row| row.key == key).and_then(|row| row.released.as_deref());
        let Some(stored) = stored else { return Ok(None) };
        Ok(Released::decode(OPERATION, stored)?.1)
    }

    pub(super) async fn update_job(
        &self,
        device: &DeviceKey,
        campaign: CampaignId,
        expected: Revision,
        job: Option<&Job>,
        events: &[JobEvent],
    ) -> Result<Option<Revision>, StoreError> {
        const OPERATION: &str = "update job";
        let conflict = || StoreError::conflict(OPERATION);
        let (attempt, before) = parse_revision(expected).ok_or_else(conflict)?;
        if job.is_some_and(|job| (job.campaign, job.attempt) != (campaign, attempt)) {
            return Err(conflict());
        }
        let key = AttemptKey { campaign, attempt };
        let expect = if before == 0 { Expect::Released } else { Expect::Revision(before) };
        let state = job.map_or(State::Ended, |job| State::Open(job.clone()));
        let after = before.checked_add(1).ok_or_else(conflict)?;
        let written = self.written(after, &state, events);
        let history = history::of_write(key, after, events);
        if !self.write_row(OPERATION, (device, key), expect, &written, job.is_none(), &history).await? {
            return Err(conflict());
        }
        if !events.is_empty() {
            self.publish_update(OPERATION, device, key, after, events).await?;
        }
        Ok(job.map(|_| revision(key, after)))
    }

    fn written(&self, revision: u32, state: &State, events: &[JobEvent]) -> Written {
        Written {
            revision,
            writer: (self.0.ports.draw)(),
            state: records::encode(state),
            events: if events.is_empty() { Vec::new() } else { records::encode(events) },
        }
    }

    /// Publishes what a write of the row said. Where that fails, it goes on trying for a while; who asked must read the row again.
    async fn publish_update(
        &self,
        operation: &'static str,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        let Err(error) = self.publish_events(device, key, revision, false, events).await else {
            self.note_published(device, key, revision).await;
            return Ok(());
        };
        if let Ok(permit) = self.0.background.clone().try_acquire_owned() {
            let (store, device, events) = (self.clone(), device.clone(), events.to_vec());
            self.0.tasks.spawn(async move {
                let _permit = permit;
                let mut backoff = Backoff::new(&store.0.ports.draw);
                for _ in 0..PUBLISH_TRIES {
                    backoff.wait().await;
                    if store.publish_events(&device, key, revision, true, &events).await.is_ok() {
                        store.note_published(&device, key, revision).await;
                        return;
                    }
                }
            });
        }
        Err(StoreError { kind: ErrorKind::TimedOut, operation, source: Some(Box::new(error)) })
    }

    /// Publishes what the row says and nobody is known to have published.
    async fn help(
        &self,
        operation: &'static str,
        device: &DeviceKey,
        row: &JobRow,
    ) -> Result<(), StoreError> {
        let Some((revision, events)) = unpublished(operation, row)? else { return Ok(()) };
        self.publish_events(device, row.key, revision, true, &events).await?;
        self.note_published(device, row.key, revision).await;
        Ok(())
    }

    async fn publish_events(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        after: u32,
        copy: bool,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        let message = EventsMessage {
            tenant: device.tenant.clone(),
            campaign: key.campaign,
            device: device.device.clone(),
            attempt: key.attempt,
            revision: revision(key, after).0,
            copy,
            events: events.to_vec(),
        };
        let mut span = Span::child("send dm.events", Kind::Producer);
        tell_messaging(&mut span, "send", "dm.events", 1);
        let publish = async {
            let message = Outgoing {
                key: device.device.as_str().as_bytes().to_vec(),
                partition: Some(self.0.owned.partition(key.campaign)),
                payload: message.encode(),
                traceparent: trace::current().map(|trace| trace.to_string()),
            };
            self.0.ports.topics.publish(Topic::Events, vec![message]).await
        };
        span.attempt(publish).await
    }

    /// Without the note the events are published again some day, and left out by the ledger: nobody waits for it.
    async fn note_published(&self, device: &DeviceKey, key: AttemptKey, revision: u32) {
        let store = self.clone();
        let device = device.clone();
        let note = async move {
            if let Err(error) = store.0.ports.rows.note_published(&device, key, revision).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "could not note published events");
            }
        };
        match self.0.background.clone().try_acquire_owned() {
            Ok(permit) => drop(self.0.tasks.spawn(async move {
                note.await;
                drop(permit);
            })),
            Err(_) => note.await,
        }
    }

    /// Writes a row if it is as expected, and answers whether it was. An answer that was lost is found out.
    async fn write_row(
        &self,
        operation: &'static str,
        (device, key): (&DeviceKey, AttemptKey),
        expect: Expect,
        written: &Written,
        ended: bool,
        history: &[HistoryRow],
    ) -> Result<bool, StoreError> {
        let rows = &self.0.ports.rows;
        let mut backoff = Backoff::new(&self.0.ports.draw);
        let mut unknown = None;
        for _ in 0..LOOKS {
            if backoff.is_over() {
                break;
            }
            match rows.write(device, key, expect, written, ended, history).await {
                Ok(true) => return Ok(true),
                Ok(false) if unknown.is_none() => return Ok(false),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
            match rows.confirm(device, key).await {
                Ok(row) => match outcome(row.and_then(|row| row.written), expect, written) {
                    Outcome::Done => return Ok(true),
                    Outcome::Refused => return Ok(false),
                    // Were the first try still on its way, the two are one and the same.
                    Outcome::NotYet => {}
                    Outcome::Overwritten => break,
                },
                Err(error) => unknown = Some(error),
            }
            backoff.wait().await;
        }
        let source = unknown.map(|error| Box::new(error) as Box<dyn std::error::Error + Send + Sync>);
        Err(StoreError { kind: ErrorKind::TimedOut, operation, source })
    }

    /// Closes an attempt that was never seen, so that it never is.
    pub(super) async fn close_missing(
        &self,
        device: &DeviceKey,
        campaign: CampaignId,
        attempt: u16,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "end a missing job";
        let key = AttemptKey { campaign, attempt };
        let written = self.written(1, &State::Missing, &[]);
        let history = history::of_write(key, 1, events);
        if self.write_row(OPERATION, (device, key), Expect::Absent, &written, true, &history).await? {
            return Ok(());
        }
        let Some(row) = self.0.ports.rows.confirm(device, key).await? else {
            return Err(StoreError::conflict(OPERATION));
        };
        if let Found::Over(State::Missing) = Found::of(OPERATION, &row)? {
            // By an earlier call, whose answer was lost.
            return Ok(());
        }
        // It is there, and the ledger has waited for its end: the topic may have lost what it was told, as after a restore.
        // Where it has not, the ledger leaves it out.
        if let Some((revision, events)) = last_events(OPERATION, &row)? {
            self.publish_events(device, key, revision, true, &events).await?;
        }
        Err(StoreError::conflict(OPERATION))
    }

    /// Makes a released job seen. The same release again changes nothing.
    pub(super) async fn materialise(&self, tenant: &TenantId, release: &Release) -> Result<(), StoreError> {
        let device = device_key(tenant, &release.device);
        let key = AttemptKey { campaign: release.job.campaign, attempt: release.job.attempt };
        if key.attempt > 1 {
            self.supersede(&device, key).await?;
        }
        let released = Released { job: release.job.clone(), at: release.event.at };
        let released = released.encode(trace::current());
        let history = history::of_release(key, &release.event);
        self.0.ports.rows.release(&device, key, &released, &history).await
    }

    /// Closes the attempts before this one that have not ended.
    async fn supersede(&self, device: &DeviceKey, by: AttemptKey) -> Result<(), StoreError> {
        const OPERATION: &str = "supersede attempts";
        for row in self.0.ports.rows.read(device).await? {
            if row.key.campaign == by.campaign && row.key.attempt < by.attempt {
                self.close_superseded(OPERATION, device, row).await?;
            }
        }
        Ok(())
    }

    async fn close_superseded(
        &self,
        operation: &'static str,
        device: &DeviceKey,
        mut row: JobRow,
    ) -> Result<(), StoreError> {
        loop {
            // The close writes over the events of the last write.
            self.help(operation, device, &row).await?;
            if !matches!(Found::of(operation, &row)?, Found::Open(..)) {
                return Ok(());
            }
            let before = row.written.as_ref().map_or(0, |written| written.revision);
            let expect = if before == 0 { Expect::Released } else { Expect::Revision(before) };
            let written = self.written(before.saturating_add(1), &State::Superseded, &[]);
            if self.write_row(operation, (device, row.key), expect, &written, true, &[]).await? {
                return Ok(());
            }
            match self.0.ports.rows.confirm(device, row.key).await? {
                Some(found) => row = found,
                None => return Ok(()),
            }
        }
    }
}

enum Outcome {
    Done,
    Refused,
    NotYet,
    /// Somebody has written since, so it cannot be known.
    Overwritten,
}

fn outcome(found: Option<Written>, expect: Expect, written: &Written) -> Outcome {
    let before = match expect {
        Expect::Released | Expect::Absent => 0,
        Expect::Revision(revision) => revision,
    };
    let Some(found) = found else {
        return if before == 0 { Outcome::NotYet } else { Outcome::Refused };
    };
    match found.revision {
        _ if found.writer == written.writer => Outcome::Done,
        revision if revision == before => Outcome::NotYet,
        revision if revision > written.revision => Outcome::Overwritten,
        _ => Outcome::Refused,
    }
}
