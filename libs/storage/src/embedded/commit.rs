//! Group commit: one thread writes for everyone.
//!
//! Callers hand in their batches and wait. The thread takes all that wait, writes them as one batch of the
//! engine with one sync, and answers them all, so that the price of a sync is shared by as many as came
//! while the last one ran. It alone gives out offsets of the ledgers, which are dense for that reason.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use fjall::PersistMode;
use tokio::sync::{mpsc, oneshot};

use super::{
    collect::OpenGate,
    engine::{Engine, Space},
    keys,
    ledgers::Ledgers,
    stripes::Guard,
    triggers::Asked,
};
use crate::StoreError;

/// Batches that may wait; more callers wait before they are let in.
const QUEUE_MAX: usize = 8192;
/// Batches that one sync answers at most.
const GROUP_MAX: usize = 1024;
/// Records that one sync writes at most, unless one batch alone has more.
const GROUP_RECORDS_MAX: usize = 16_384;

/// What one caller wants written, all of it or nothing.
#[derive(Default)]
pub(crate) struct Batch {
    writes: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
    appends: Vec<Append>,
    guards: Vec<Guard>,
    gate: Option<OpenGate>,
    /// Dropped when the batch is written.
    asked: Vec<Asked>,
}

/// An event for a ledger, whose offset is yet to be given.
struct Append {
    /// The ledger: [`keys::campaign`].
    ledger: Vec<u8>,
    /// The device's index: [`keys::device_end`]. An event about a whole campaign is in none.
    device: Option<Vec<u8>>,
    record: Vec<u8>,
}

impl Batch {
    pub(crate) fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push((space, key, Some(value)));
    }

    pub(crate) fn remove(&mut self, space: Space, key: Vec<u8>) {
        self.writes.push((space, key, None));
    }

    pub(crate) fn append(&mut self, ledger: Vec<u8>, device: Option<Vec<u8>>, record: Vec<u8>) {
        self.appends.push(Append { ledger, device, record });
    }

    /// Keeps a lock until the batch is durable.
    pub(crate) fn hold(&mut self, guards: impl IntoIterator<Item = Guard>) {
        self.guards.extend(guards);
    }

    /// Lets it be known, once the batch is written, that triggers were asked for.
    pub(super) fn then(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    /// Keeps the gate of collections open until the batch is durable.
    pub(super) fn hold_open(&mut self, gate: OpenGate) {
        self.gate = Some(gate);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.appends.is_empty()
    }

    fn len(&self) -> usize {
        self.writes.len() + 2 * self.appends.len()
    }
}

struct Request {
    batch: Batch,
    done: oneshot::Sender<Result<(), Arc<fjall::Error>>>,
}

/// The way to the writing thread. The last one dropped ends it, after all that waits is written.
pub(crate) struct Committer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn start(engine: Arc<Engine>, ledgers: Arc<Ledgers>) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { engine, ledgers, sequence: 0 };
        let thread =
            std::thread::Builder::new().name("storage-commit".into()).spawn(move || writer.run(requests))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Writes a batch and returns when it is on the disk.
    pub(crate) async fn commit(&self, operation: &'static str, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let stopped = || StoreError::unavailable(operation, "the store is closing");
        let (done, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Request { batch, done }).await.map_err(|_| stopped())?;
        let written = answer.await.map_err(|_| stopped())?;
        written.map_err(|error| StoreError::unavailable(operation, error))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("storage writer panicked");
        }
    }
}

struct Writer {
    engine: Arc<Engine>,
    ledgers: Arc<Ledgers>,
    /// Orders the events of a device over all campaigns. It follows the clock, and goes on by one when the clock does not.
    sequence: u64,
}

impl Writer {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        while let Some(first) = requests.blocking_recv() {
            let mut records = first.batch.len();
            group.push(first);
            while group.len() < GROUP_MAX
                && records < GROUP_RECORDS_MAX
                && let Ok(next) = requests.try_recv()
            {
                records += next.batch.len();
                group.push(next);
            }
            self.write(&mut group);
        }
    }

    fn write(&mut self, group: &mut Vec<Request>) {
        let mut next_offsets = HashMap::new();
        let written = self.write_batch(group, &mut next_offsets).map_err(Arc::new);
        match &written {
            Ok(()) => self.ledgers.advance(next_offsets),
            Err(error) => tracing::error!(%error, "durable write failed"),
        }
        for request in group.drain(..) {
            // The locks go first: who has been answered may come back at once.
            drop(request.batch);
            // A caller that stopped waiting does not hear it; the write stands.
            let _ = request.done.send(written.clone());
        }
    }

    fn write_batch(
        &mut self,
        group: &mut [Request],
        next_offsets: &mut HashMap<Vec<u8>, u64>,
    ) -> Result<(), fjall::Error> {
        let mut out = self.engine.database.batch().durability(Some(PersistMode::SyncData));
        for request in group {
            for (space, key, value) in request.batch.writes.drain(..) {
                match value {
                    Some(value) => out.insert(self.engine.space(space), key, value),
                    None => out.remove(self.engine.space(space), key),
                }
            }
            for append in request.batch.appends.drain(..) {
                self.append(append, &mut out, next_offsets)?;
            }
        }
        out.commit()
    }

    fn append(
        &mut self,
        append: Append,
        out: &mut fjall::OwnedWriteBatch,
        next_offsets: &mut HashMap<Vec<u8>, u64>,
    ) -> Result<(), fjall::Error> {
        let next = match next_offsets.get_mut(&append.ledger) {
            Some(next) => next,
            None => {
                let next = self.ledgers.next_offset(&self.engine, &append.ledger)?;
                next_offsets.entry(append.ledger.clone()).or_insert(next)
            }
        };
        let offset = *next;
        *next += 1;
        let key = keys::with(&append.ledger, &offset.to_be_bytes());
        if let Some(device) = append.device {
            self.sequence = (self.sequence + 1).max(clock_us());
            let newest_first = (u64::MAX - self.sequence).to_be_bytes();
            let index = keys::with(&device, &newest_first);
            out.insert(self.engine.space(Space::DeviceEvents), index, key.clone());
        }
        out.insert(self.engine.space(Space::Ledger), key, append.record);
        Ok(())
    }
}

/// Microseconds since 1970 by the machine's clock.
pub(crate) fn clock_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
