//! The one writer of a ledger in a process. Whoever has something to write hands it over, and what comes together goes
//! into one block.

use std::{collections::VecDeque, sync::Arc};

use storage::{Epoch, ErrorKind, StoreError, trace::Traceparent};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    deliver::Task,
    known::{Draft, Known},
    seen::Seen,
};
use crate::{
    backoff::Backoff,
    ledger_blocks::{Block, BlockHead, LedgerKey, Part},
    stored::Entry,
};

/// Entries of a block, about: one call's that belong together are not parted.
const BLOCK_ENTRIES: usize = 4096;
/// Calls taken into one round.
const ROUND: usize = 256;
/// Blocks read at once when a ledger is claimed.
const CLAIM_READ: usize = 256;
/// How often a block of unknown outcome is looked for before its callers are told so.
const LOOKS: u32 = 5;

/// On which claim a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// On this very one.
    Epoch(Epoch),
    /// On whichever this process has; if it has none, it claims.
    Any,
}

pub(super) enum Request {
    Claim { reply: oneshot::Sender<Result<Epoch, StoreError>> },
    Append(Append),
}

/// Entries to append: those of one group are in the ledger together, or not at all.
pub(super) struct Append {
    pub(super) operation: &'static str,
    pub(super) guard: Guard,
    pub(super) groups: Vec<Vec<Entry>>,
    /// The trace that the call is part of.
    pub(super) trace: Option<Traceparent>,
    pub(super) reply: oneshot::Sender<Result<usize, StoreError>>,
}

pub(super) struct Writer {
    shared: Shared,
    key: LedgerKey,
    seen: Arc<Seen>,
    deliver: mpsc::UnboundedSender<Task>,
    known: Known,
    /// The claim that this writer holds, as far as it knows.
    epoch: Option<u64>,
    /// The blocks before were delivered when this writer began.
    delivered: Option<u64>,
}

/// Why a block was not inserted.
enum Refused {
    /// Another has claimed.
    Lost,
    /// Something that this writer had begun earlier was in its place, and is known now.
    Again,
    Error(StoreError),
}

impl Writer {
    pub(super) fn new(
        shared: Shared,
        key: LedgerKey,
        seen: Arc<Seen>,
        deliver: mpsc::UnboundedSender<Task>,
    ) -> Self {
        Self { shared, key, seen, deliver, known: Known::default(), epoch: None, delivered: None }
    }

    /// Runs until nobody can ask any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut round = Vec::new();
        while requests.recv_many(&mut round, ROUND).await > 0 {
            let mut appends = Vec::new();
            for request in round.drain(..) {
                match request {
                    Request::Append(append) => appends.push(append),
                    Request::Claim { reply } => {
                        self.append(std::mem::take(&mut appends)).await;
                        let _ = reply.send(self.claim("claim campaign").await);
                    }
                }
            }
            self.append(appends).await;
        }
    }

    /// Reads the ledger to its end and puts a claim there. Whoever was there before finds it in the place of their next block.
    async fn claim(&mut self, operation: &'static str) -> Result<Epoch, StoreError> {
        self.epoch = None;
        self.seen.set_claimed(false);
        let writer = (self.shared.ports.draw)();
        let mut backoff = Backoff::new(&self.shared.ports.draw);
        loop {
            self.catch_up(operation).await?;
            let number = self.known.next_number;
            let head = BlockHead {
                number,
                epoch: number + 1,
                writer,
                first: self.known.next_offset,
                count: 0,
                deliver: false,
            };
            let block = Block { head, ..Draft::default().block(&self.known, number + 1, writer) };
            match self.insert(operation, &block).await {
                Ok(()) => {
                    self.fold_claim(&head);
                    return Ok(Epoch(number + 1));
                }
                // Its owner was faster.
                Err(Refused::Lost | Refused::Again) => backoff.wait().await,
                Err(Refused::Error(error)) => return Err(error),
            }
        }
    }

    fn fold_claim(&mut self, head: &BlockHead) {
        // A draft without entries says nothing but that it is there.
        Draft::default().fold_into(&mut self.known, head);
        self.epoch = Some(head.epoch);
        self.seen.grow(head, None);
        self.seen.set_claimed(true);
    }

    /// Takes in the blocks that are not known yet.
    async fn catch_up(&mut self, operation: &'static str) -> Result<(), StoreError> {
        if self.delivered.is_none() {
            self.delivered = Some(self.shared.ports.blocks.delivered(&self.key).await?);
        }
        loop {
            let from = self.known.next_number;
            let blocks = self.shared.ports.blocks.read(&self.key, from, CLAIM_READ, Part::Notes).await?;
            if blocks.is_empty() {
                return Ok(());
            }
            for block in &blocks {
                self.fold_found(operation, block)?;
            }
        }
    }

    /// Takes in a block that was found in the ledger.
    fn fold_found(&mut self, operation: &'static str, block: &Block) -> Result<(), StoreError> {
        self.known.fold_block(operation, block)?;
        self.seen.grow(&block.head, None);
        if block.head.deliver && block.head.number >= self.delivered.unwrap_or(0) {
            // Whoever wrote it took its trace along.
            self.owe(block.head.number, None);
        }
        Ok(())
    }

    fn owe(&self, number: u64, trace: Option<Traceparent>) {
        self.seen.owe(number + 1);
        // Who delivers ends after this writer.
        let _ = self.deliver.send(Task { number, trace });
    }

    /// Whether this writer holds that claim, or, if any will do, one at all.
    async fn admit(&mut self, operation: &'static str, guard: Guard) -> Result<(), StoreError> {
        match (guard, self.epoch) {
            (Guard::Epoch(Epoch(asked)), Some(held)) if asked == held => Ok(()),
            (Guard::Epoch(_), _) => Err(StoreError::conflict(operation)),
            (Guard::Any, Some(_)) => Ok(()),
            (Guard::Any, None) => self.claim(operation).await.map(|_| ()),
        }
    }

    async fn append(&mut self, appends: Vec<Append>) {
        let mut round = Round::default();
        for append in appends {
            match self.admit(append.operation, append.guard).await {
                Ok(()) => round.add(append),
                Err(error) => drop(append.reply.send(Err(error))),
            }
        }
        let result = self.write(&mut round).await;
        round.reply(result);
    }

    /// Writes block after block until all of the round is in the ledger.
    async fn write(&mut self, round: &mut Round) -> Result<(), StoreError> {
        while let Some((draft, news)) = round.draft(&self.known) {
            let Some(epoch) = self.epoch else { return Err(StoreError::conflict(round.operation())) };
            if draft.len() == 0 {
                let _ = round.done(&news);
                continue;
            }
            let block = draft.block(&self.known, epoch, (self.shared.ports.draw)());
            match self.insert(round.operation(), &block).await {
                Ok(()) => {
                    let trace = round.done(&news);
                    let entries = draft.fold_into(&mut self.known, &block.head);
                    if block.head.deliver {
                        self.owe(block.head.number, trace);
                    }
                    self.seen.grow(&block.head, Some(entries));
                }
                // What of the round was in it is found to be known already.
                Err(Refused::Again) => {}
                Err(Refused::Lost) => return Err(StoreError::conflict(round.operation())),
                Err(Refused::Error(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Inserts a block behind all that is known. An answer that was lost is found out.
    async fn insert(&mut self, operation: &'static str, block: &Block) -> Result<(), Refused> {
        let blocks = Arc::clone(&self.shared.ports.blocks);
        let mut backoff = Backoff::new(&self.shared.ports.draw);
        let mut unknown = None;
        for _ in 0..LOOKS {
            if backoff.is_over() {
                break;
            }
            match blocks.insert(&self.key, block).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
            match blocks.confirm(&self.key, block.head.number).await {
                Ok(Some(found)) => return self.take_found(operation, block, &found),
                // Not there, so it may be tried again: were the first still on its way, the two are one and the same.
                Ok(None) => {}
                Err(error) => unknown = Some(error),
            }
            backoff.wait().await;
        }
        let source: Box<dyn std::error::Error + Send + Sync> = match unknown {
            Some(error) => Box::new(error),
            None => "the block was neither there nor could it be put there".into(),
        };
        Err(Refused::Error(StoreError { kind: ErrorKind::TimedOut, operation, source: Some(source) }))
    }

    /// What stands in the place of a block.
    fn take_found(&mut self, operation: &'static str, block: &Block, found: &Block) -> Result<(), Refused> {
        if found.head.writer == block.head.writer {
            return Ok(());
        }
        self.fold_found(operation, found).map_err(Refused::Error)?;
        // Only this writer writes under its claim, so this is a block of its own that came late.
        if Some(found.head.epoch) == self.epoch {
            return Err(Refused::Again);
        }
        self.epoch = None;
        self.seen.set_claimed(false);
        Err(Refused::Lost)
    }
}

/// Calls that are written together.
#[derive(Default)]
struct Round {
    calls: Vec<Call>,
    /// What is not in the ledger yet, with the call it belongs to.
    groups: VecDeque<(usize, Vec<Entry>)>,
}

struct Call {
    operation: &'static str,
    reply: oneshot::Sender<Result<usize, StoreError>>,
    trace: Option<Traceparent>,
    left: usize,
    new: usize,
}

impl Round {
    fn add(&mut self, append: Append) {
        let Append { operation, groups, trace, reply, .. } = append;
        let call = self.calls.len();
        self.calls.push(Call { operation, reply, trace, left: groups.len(), new: 0 });
        self.groups.extend(groups.into_iter().map(|group| (call, group)));
    }

    fn operation(&self) -> &'static str {
        self.groups.front().map_or("append events", |&(call, _)| self.calls[call].operation)
    }

    /// The next block, and which of its groups say something new; `None`: all is written.
    fn draft(&mut self, known: &Known) -> Option<(Draft, Vec<bool>)> {
        let (mut draft, mut news) = (Draft::default(), Vec::new());
        for (_, group) in &self.groups {
            if draft.len() >= BLOCK_ENTRIES {
                break;
            }
            news.push(draft.offer(known, group.clone()));
        }
        (!news.is_empty()).then_some((draft, news))
    }

    /// The groups of the last draft are in the ledger. Answers the trace of the block: that of the first call with one
    /// that has something new in it.
    fn done(&mut self, news: &[bool]) -> Option<Traceparent> {
        let mut trace = None;
        for (&is_new, (call, _)) in news.iter().zip(self.groups.drain(..news.len())) {
            let call = &mut self.calls[call];
            call.left -= 1;
            call.new += usize::from(is_new);
            if is_new {
                trace = trace.or(call.trace);
            }
        }
        trace
    }

    fn reply(self, result: Result<(), StoreError>) {
        let kind = result.as_ref().err().map(|error| error.kind);
        let mut cause = result.err().map(Arc::new);
        for call in self.calls {
            let answer = match (call.left, kind) {
                (0, _) | (_, None) => Ok(call.new),
                (_, Some(kind)) => {
                    let source = cause.as_mut().map(|it| Box::new(Cause(Arc::clone(it))) as _);
                    Err(StoreError { kind, operation: call.operation, source })
                }
            };
            let _ = call.reply.send(answer);
        }
    }
}

/// One cause, told to many.
#[derive(Debug, thiserror::Error)]
#[error("the block of events was not written")]
struct Cause(#[source] Arc<StoreError>);
