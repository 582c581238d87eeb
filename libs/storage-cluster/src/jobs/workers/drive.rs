//! What every worker does with its consumer: take in a batch, put aside what cannot be taken, and only then commit.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use storage::{ErrorKind, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    ports::Draw,
    topics::{Consumer, Incoming, Polled},
};

/// How long one poll waits.
const WAIT: Duration = Duration::from_secs(1);

/// A message that can never be taken in, by its place in the batch, and why.
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// What a worker does with messages.
#[async_trait]
pub(super) trait Effect: Send {
    /// The most messages of one batch.
    const BATCH: usize;
    /// Its name in logs.
    const NAME: &'static str;

    /// Takes a batch in, durably; a batch that was taken in before changes nothing. Answers what has to be put aside.
    async fn take(&mut self, batch: &[Incoming]) -> Result<Vec<Bad>, StoreError>;

    /// These partitions are this process's now.
    fn assigned(&mut self, _: &[u32]) {}

    /// These are not any more.
    fn revoked(&mut self, _: &[u32]) {}

    /// Nothing came for a while.
    fn idle(&mut self) {}
}

/// Runs until `shutdown`; what is taken in then is committed before it returns.
pub(super) async fn drive<E: Effect>(
    mut consumer: Box<dyn Consumer>,
    effect: &mut E,
    draw: &Draw,
    shutdown: &CancellationToken,
) {
    let mut backoff = Backoff::new(draw);
    loop {
        let polled = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            polled = consumer.poll(E::BATCH, WAIT) => polled,
        };
        let done = match polled {
            Ok(Polled::Messages(batch)) => take(consumer.as_mut(), effect, batch).await,
            Ok(Polled::Assigned(partitions)) => {
                effect.assigned(&partitions);
                Ok(())
            }
            Ok(Polled::Revoked(partitions)) => {
                effect.revoked(&partitions);
                Ok(())
            }
            Ok(Polled::Idle) => {
                effect.idle();
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            say(E::NAME, &error);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = backoff.wait() => {}
            }
        } else {
            backoff = Backoff::new(draw);
        }
    }
    consumer.leave().await;
}

async fn take<E: Effect>(
    consumer: &mut dyn Consumer,
    effect: &mut E,
    batch: Vec<Incoming>,
) -> Result<(), StoreError> {
    let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for message in &batch {
        let (_, next) = spans.entry(message.partition).or_insert((message.offset, 0));
        *next = message.offset + 1;
    }
    if let Err(error) = take_and_put_aside(consumer, effect, &batch).await {
        // Read again: what of it was taken in is found to be there. A partition that is another's now cannot be read back,
        // and need not be.
        for (&partition, &(first, _)) in &spans {
            if let Err(error) = consumer.seek(partition, first).await {
                let source = &error as &dyn std::error::Error;
                tracing::debug!(
                    worker = E::NAME,
                    partition,
                    error = source,
                    "could not read a partition again"
                );
            }
        }
        return Err(error);
    }
    for (partition, (_, next)) in spans {
        match consumer.commit(partition, next).await {
            Ok(()) => {}
            // Another reads it again, and finds it done.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => {
                let source = &error as &dyn std::error::Error;
                tracing::warn!(
                    worker = E::NAME,
                    partition,
                    error = source,
                    "could not commit, the next one will"
                );
            }
        }
    }
    Ok(())
}

async fn take_and_put_aside<E: Effect>(
    consumer: &mut dyn Consumer,
    effect: &mut E,
    batch: &[Incoming],
) -> Result<(), StoreError> {
    for Bad { at, reason } in effect.take(batch).await? {
        let message = &batch[at];
        tracing::error!(
            worker = E::NAME,
            partition = message.partition,
            offset = message.offset,
            reason,
            "message is put aside"
        );
        consumer.put_aside(message, &reason).await?;
    }
    Ok(())
}

fn say(worker: &'static str, error: &StoreError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(worker, error, "could not take messages in, trying again");
}
