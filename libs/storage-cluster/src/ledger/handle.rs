//! One ledger, for all who use it in this process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use campaign::JobEvent;
use storage::{Epoch, StoreError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Shared,
    deliver::Deliverer,
    seen::{Place, Seen},
    writer::{Append, Guard, Request, Writer},
};
use crate::{
    ledger_blocks::{LedgerKey, Part},
    stored::{self, Entry},
};

/// Calls that wait for the writer; the next one waits for its place.
const WAITING_MAX: usize = 1024;
/// Heads of blocks read at once.
const HEADS: usize = 256;
/// Blocks read at once.
const BODIES: u64 = 8;
/// How long one wait for events lasts at most.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a ledger that another process writes is looked at by who waits for it.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) struct Handle {
    shared: Shared,
    key: LedgerKey,
    seen: Arc<Seen>,
    open: Mutex<Option<Open>>,
    /// When this process last looked for blocks of others.
    looked: Mutex<Option<Instant>>,
}

/// The writer at work.
#[derive(Clone)]
struct Open {
    requests: mpsc::Sender<Request>,
    delivered: watch::Receiver<u64>,
    used: Instant,
    /// Somebody holds a claim of it; else it only takes in what comes.
    owned: bool,
}

impl Handle {
    pub(super) fn new(shared: Shared, key: LedgerKey) -> Self {
        Self { shared, key, seen: Arc::default(), open: Mutex::default(), looked: Mutex::default() }
    }

    pub(crate) async fn claim(&self) -> Result<Epoch, StoreError> {
        const OPERATION: &str = "claim campaign";
        let (reply, answer) = oneshot::channel();
        let open = self.open(true);
        let sent = open.requests.send(Request::Claim { reply }).await;
        sent.map_err(|_| StoreError::conflict(OPERATION))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::conflict(OPERATION)))
    }

    /// Appends groups of entries, and answers how many of the groups said something new.
    pub(crate) async fn append(
        &self,
        operation: &'static str,
        guard: Guard,
        groups: Vec<Vec<Entry>>,
    ) -> Result<usize, StoreError> {
        let open = match guard {
            Guard::Any => Some(self.open(false)),
            Guard::Epoch(_) => self.opened(),
        };
        // A writer that was left or never was holds no claim.
        let open = open.ok_or_else(|| StoreError::conflict(operation))?;
        let (reply, answer) = oneshot::channel();
        let trace = storage::trace::current();
        let append = Request::Append(Append { operation, guard, groups, trace, reply });
        open.requests.send(append).await.map_err(|_| StoreError::conflict(operation))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::conflict(operation)))
    }

    /// Waits until everything written so far has been carried where it has to go, but not for long.
    pub(crate) async fn wait_delivered(&self) {
        let Some(mut open) = self.opened() else { return };
        let number = self.seen.owed();
        // What is late is carried all the same: the ledger has it.
        let _ = tokio::time::timeout(WAIT_MAX, open.delivered.wait_for(|&next| next >= number)).await;
    }

    /// Writes no more. What was begun is ended.
    pub(super) fn leave(&self) {
        self.seen.set_claimed(false);
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Nobody has claimed it, and nothing has come for it for so long.
    pub(crate) fn is_idle(&self, since: Duration) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| !open.owned && open.used.elapsed() > since)
    }

    fn opened(&self) -> Option<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut()?;
        open.used = Instant::now();
        Some(open.clone())
    }

    fn open(&self, owned: bool) -> Open {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_with(|| self.begin());
        open.used = Instant::now();
        open.owned |= owned;
        open.clone()
    }

    fn begin(&self) -> Open {
        self.seen.owe(0);
        let (requests, inbox) = mpsc::channel(WAITING_MAX);
        let (deliver, to_deliver) = mpsc::unbounded_channel();
        let (shared, key, seen) = (self.shared.clone(), self.key.clone(), Arc::clone(&self.seen));
        let (deliverer, delivered) = Deliverer::new(shared.ports.clone(), key.clone());
        self.shared.tasks.spawn(deliverer.run(to_deliver));
        self.shared.tasks.spawn(Writer::new(shared, key, seen, deliver).run(inbox));
        Open { requests, delivered, used: Instant::now(), owned: false }
    }

    pub(crate) async fn events(&self, from: u64, limit: usize) -> Result<Vec<(u64, JobEvent)>, StoreError> {
        let mut events: Vec<(u64, JobEvent)> = Vec::new();
        while events.len() < limit {
            let next = from + events.len() as u64;
            match self.seen.place(next) {
                Place::Beyond => {
                    let is_all_seen = !events.is_empty() || (self.seen.is_claimed() && self.has_looked());
                    if is_all_seen || !self.look().await? {
                        break;
                    }
                }
                Place::Recent { first, events: recent } => {
                    take(&mut events, first, recent.iter().cloned(), next, limit);
                }
                Place::Block { number, blocks } => {
                    self.read_bodies(number, blocks.min(BODIES), &mut events, next, limit).await?;
                }
            }
        }
        Ok(events)
    }

    async fn read_bodies(
        &self,
        number: u64,
        blocks: u64,
        events: &mut Vec<(u64, JobEvent)>,
        mut next: u64,
        limit: usize,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "read events";
        let count = usize::try_from(blocks).unwrap_or(1);
        let read = self.shared.ports.blocks.read(&self.key, number, count, Part::Body).await?;
        if read.is_empty() {
            // It was there: whoever reads on as if it were the end would decide on less than the whole ledger.
            return Err(StoreError::unavailable(OPERATION, format!("block {number} is not to be read now")));
        }
        for block in read {
            if events.len() == limit {
                break;
            }
            let entries = stored::decode_body(OPERATION, &block.body)?;
            if entries.len() != block.head.count as usize {
                let reason =
                    format!("expected {} events in a block, got {}", block.head.count, entries.len());
                return Err(StoreError::corrupt(OPERATION, reason));
            }
            let before = events.len();
            take(events, block.head.first, entries.into_iter().map(|entry| entry.event), next, limit);
            next += (events.len() - before) as u64;
        }
        Ok(())
    }

    /// Whether this process looked lately. Who writes a ledger knows all that is in it, but may be the last to know that
    /// another writes it by now.
    fn has_looked(&self) -> bool {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_some_and(|looked| looked.elapsed() < LOOK)
    }

    /// Looks for blocks that were not seen, and answers whether there were any.
    async fn look(&self) -> Result<bool, StoreError> {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let from = self.seen.next_number();
        let heads = self.shared.ports.blocks.read(&self.key, from, HEADS, Part::Head).await?;
        for block in &heads {
            self.seen.grow(&block.head, None);
        }
        Ok(!heads.is_empty())
    }

    /// Waits until there are events from an offset on, or a while has passed.
    pub(crate) async fn wait_events(&self, from: u64) -> Result<(), StoreError> {
        let mut end = self.seen.watch_end();
        let until = Instant::now() + WAIT_MAX;
        loop {
            let pause = if self.seen.is_claimed() { WAIT_MAX } else { LOOK };
            let next = (Instant::now() + pause).min(until);
            // Both the end of the wait and the end of the store mean: look again.
            let has_grown = tokio::time::timeout_at(next, end.wait_for(|&end| end > from)).await.is_ok();
            if has_grown {
                return Ok(());
            }
            // Also where this process believes that nobody else writes: it may be the last to know.
            while self.look().await? {}
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }
}

/// Takes the events of a block from an offset on.
fn take(
    events: &mut Vec<(u64, JobEvent)>,
    first: u64,
    block: impl Iterator<Item = JobEvent>,
    from: u64,
    limit: usize,
) {
    let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
    let left = limit - events.len();
    let numbered = (first + 1..).zip(block);
    events.extend(numbered.skip(skip).take(left));
}
