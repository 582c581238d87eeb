//! Carrying what is in the ledger to where it has to go: jobs to their topic, events that no write of a job brought to
//! the histories of their devices. The ledger is the outbox, so what is late or interrupted is carried by the next writer.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{
    StoreError,
    trace::{self, Kind, Span, Traceparent},
};
use tokio::sync::{mpsc, watch};

use crate::{
    backoff::Backoff,
    history,
    job_rows::DeviceKey,
    ledger_blocks::{Block, LedgerKey, Part},
    payload::JobMessage,
    ports::Ports,
    stored::{self, Entry, Source},
    topics::{Outgoing, Topic, tell_messaging},
};

const OPERATION: &str = "deliver jobs";

/// Devices whose histories are written at once.
const AT_ONCE: usize = 64;

/// A block to deliver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) number: u64,
    /// The trace of what wrote it. `None`: it had none, or another process wrote it.
    pub(super) trace: Option<Traceparent>,
}

pub(super) struct Deliverer {
    ports: Ports,
    key: LedgerKey,
    /// Blocks before this were delivered.
    delivered: watch::Sender<u64>,
}

impl Deliverer {
    pub(super) fn new(ports: Ports, key: LedgerKey) -> (Self, watch::Receiver<u64>) {
        let (delivered, watched) = watch::channel(0);
        (Self { ports, key, delivered }, watched)
    }

    /// Delivers block after block until the writer is gone and all is delivered, or cannot be now.
    pub(super) async fn run(self, mut tasks: mpsc::UnboundedReceiver<Task>) {
        while let Some(task) = tasks.recv().await {
            let mut backoff = Backoff::new(&self.ports.draw);
            while let Err(error) = self.deliver(task).await {
                self.say(task.number, &error);
                if tasks.is_closed() {
                    return;
                }
                backoff.wait().await;
            }
            self.delivered.send_replace(task.number + 1);
        }
    }

    fn say(&self, number: u64, error: &StoreError) {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, campaign = %self.key.campaign, number, "could not deliver jobs yet");
    }

    async fn deliver(&self, Task { number, trace }: Task) -> Result<(), StoreError> {
        trace::within(trace, self.deliver_block(number)).await
    }

    async fn deliver_block(&self, number: u64) -> Result<(), StoreError> {
        let blocks = self.ports.blocks.read(&self.key, number, 1, Part::Body).await?;
        let Some(Block { body, head, .. }) = blocks.first() else {
            return Err(StoreError::unavailable(OPERATION, format!("block {number} is not to be read now")));
        };
        let entries = stored::decode_body(OPERATION, body)?;
        self.write_history(&entries, head.first).await?;
        let jobs = entries.iter().filter(|entry| matches!(entry.source, Source::Released { .. })).count();
        if jobs > 0 {
            let mut span = Span::child("send dm.jobs", Kind::Producer);
            tell_messaging(&mut span, "send", "dm.jobs", jobs);
            span.attempt(self.publish(&entries)).await?;
        }
        self.ports.blocks.note_delivered(&self.key, number + 1).await
    }

    async fn publish(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let trace = trace::current().map(|trace| trace.to_string());
        let jobs = entries.iter().filter_map(|entry| self.message(entry, trace.as_deref())).collect();
        self.ports.topics.publish(Topic::Jobs, jobs).await
    }

    fn message(&self, entry: &Entry, trace: Option<&str>) -> Option<Outgoing> {
        let release = entry.as_release(self.key.campaign)?;
        let key = release.device.as_str().as_bytes().to_vec();
        let payload = JobMessage { tenant: self.key.tenant.clone(), release }.encode();
        Some(Outgoing { key, partition: None, payload, traceparent: trace.map(ToOwned::to_owned) })
    }

    /// Writes what an owner said of devices into their histories: with it no write of a job came that would have.
    async fn write_history(&self, entries: &[Entry], first: u64) -> Result<(), StoreError> {
        let rows = (first..).zip(entries);
        let rows = rows.filter_map(|(offset, entry)| {
            let (Source::Owner, Some(device)) = (&entry.source, &entry.event.device) else { return None };
            let device = DeviceKey { tenant: self.key.tenant.clone(), device: device.clone() };
            Some((device, history::of_ledger(self.key.campaign, offset, &entry.event)))
        });
        stream::iter(rows.collect::<Vec<_>>())
            .map(|(device, row)| async move { self.ports.rows.add_history(&device, &[row]).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}
