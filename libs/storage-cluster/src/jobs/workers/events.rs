//! From `dm.events` to the ledgers of campaigns.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use storage::{
    ErrorKind, StoreError,
    trace::{self, Kind, Span, Traceparent},
};
use tokio_util::sync::CancellationToken;

use super::drive::{Bad, Effect, drive};
use crate::{
    jobs::ClusterJobs,
    ledger::Guard,
    ledger_blocks::LedgerKey,
    payload::EventsMessage,
    stored::{Entry, Source},
    topics::{Consumer, Incoming, tell_messaging},
};

/// Ledgers written at once.
const AT_ONCE: usize = 16;
/// How long a ledger that nobody owns is kept open for what may come late.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Takes what sessions did into the ledgers of the campaigns whose partitions this process has, and says by
/// [`ClusterJobs::ownership`] which those are.
pub struct EventsWorker {
    consumer: Box<dyn Consumer>,
    effect: Events,
}

struct Events(ClusterJobs);

impl EventsWorker {
    /// A worker over a consumer of [`crate::topics::Topic::Events`].
    pub fn new(store: ClusterJobs, consumer: Box<dyn Consumer>) -> Self {
        Self { consumer, effect: Events(store) }
    }

    /// Runs until `shutdown`. What fails is tried again for as long as it takes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let draw = self.effect.0.0.ports.draw.clone();
        drive(self.consumer, &mut self.effect, &draw, &shutdown).await;
        self.effect.0.0.owned.clear();
    }
}

/// The messages of one ledger: their places in the batch, and what they say.
#[derive(Default)]
struct Heard {
    places: Vec<usize>,
    groups: Vec<Vec<Entry>>,
    /// Of the first that has one: they are written together.
    trace: Option<Traceparent>,
}

#[async_trait]
impl Effect for Events {
    const BATCH: usize = 4096;
    const NAME: &'static str = "events";

    async fn take(&mut self, batch: &[Incoming]) -> Result<Vec<Bad>, StoreError> {
        let causes = batch.iter().map(Incoming::trace);
        let mut span = Span::of_batch("process dm.events", Kind::Consumer, causes);
        tell_messaging(&mut span, "process", "dm.events", batch.len());
        span.attempt(self.take_in(batch)).await
    }

    fn assigned(&mut self, partitions: &[u32]) {
        tracing::info!(?partitions, "campaigns of these partitions are this process's");
        self.0.0.owned.add(partitions);
    }

    fn revoked(&mut self, partitions: &[u32]) {
        tracing::info!(?partitions, "campaigns of these partitions are this process's no more");
        let owned = &self.0.0.owned;
        owned.remove(partitions);
        self.0.0.ledgers.leave(|key, _| partitions.contains(&owned.partition(key.campaign)));
    }

    fn idle(&mut self) {
        self.0.0.ledgers.leave(|_, handle| handle.is_idle(IDLE_MAX));
    }
}

impl Events {
    async fn take_in(&self, batch: &[Incoming]) -> Result<Vec<Bad>, StoreError> {
        let mut bad = Vec::new();
        let mut ledgers: BTreeMap<LedgerKey, Heard> = BTreeMap::new();
        for (at, incoming) in batch.iter().enumerate() {
            match EventsMessage::decode(&incoming.payload) {
                Ok(message) => {
                    let (key, group) = entries(message);
                    let heard = ledgers.entry(key).or_default();
                    heard.trace = heard.trace.or_else(|| incoming.trace());
                    heard.places.push(at);
                    heard.groups.push(group);
                }
                Err(error) => bad.push(Bad { at, reason: error.to_string() }),
            }
        }
        let store = &self.0;
        let results: Vec<(Vec<usize>, Result<usize, StoreError>)> = stream::iter(ledgers)
            .map(|(key, Heard { places, groups, trace })| async move {
                let ledger = store.ledger(&key.tenant, key.campaign);
                let append = ledger.append("append events of sessions", Guard::Any, groups);
                (places, trace::within(trace, append).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (places, result) in results {
            match result {
                Ok(_) => {}
                // No trying again mends a ledger; the others of the partition go on.
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    let reason = format!("ledger cannot be read: {error}");
                    bad.extend(places.into_iter().map(|at| Bad { at, reason: reason.clone() }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }
}

fn entries(message: EventsMessage) -> (LedgerKey, Vec<Entry>) {
    let EventsMessage { tenant, campaign, revision, events, .. } = message;
    // The upper half is the attempt, which stands in each event.
    let revision = u32::try_from(revision & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let entry = |event| Entry { event, source: Source::Session { revision } };
    (LedgerKey { tenant, campaign }, events.into_iter().map(entry).collect())
}
