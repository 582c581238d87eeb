//! One process at a time: an economy, on which nothing rests.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use storage::StoreError;
use tokio::time::Instant;

use super::COLLECT;
use crate::{Scylla, lwt::Lwt, statement::Cql};

const TAKE: Cql =
    Cql::conditional("UPDATE upkeep USING TTL 180 SET owner = ? WHERE name = ? IF owner = NULL");
const KEEP: Cql = Cql::conditional("UPDATE upkeep USING TTL 180 SET owner = ? WHERE name = ? IF owner = ?");
const GIVE: Cql = Cql::conditional("UPDATE upkeep SET owner = NULL WHERE name = ? IF owner = ?");
const OWNER: Cql = Cql::serial_read("SELECT owner FROM upkeep WHERE name = ?");
const PROGRESS: Cql = Cql::write("UPDATE upkeep SET progress = ?, updated_ms = ? WHERE name = ?");
const DONE: Cql = Cql::write("UPDATE upkeep SET updated_ms = ? WHERE name = 'collect-trees-done'");
const LAST_DONE: Cql = Cql::read("SELECT updated_ms FROM upkeep WHERE name = 'collect-trees-done'");

/// Keeps when the last collection that came to its end began.
pub(super) async fn note_done(scylla: &Scylla, at: Timestamp) -> Result<(), StoreError> {
    scylla.write(COLLECT, &DONE, (at.as_millisecond(),)).await
}

/// When the last collection that came to its end began.
pub(super) async fn last_done(scylla: &Scylla) -> Result<Option<Timestamp>, StoreError> {
    let row: Option<(Option<i64>,)> = scylla.row(COLLECT, &LAST_DONE, ()).await?;
    let at_ms = row.and_then(|(at_ms,)| at_ms);
    let at = at_ms.map(Timestamp::from_millisecond).transpose();
    at.map_err(|error| StoreError::corrupt(COLLECT, error))
}

/// How often it is renewed; it ends by itself after six times that.
const RENEW: Duration = Duration::from_secs(30);

/// The right to do something alone, for a while.
pub(super) struct Lease<'a> {
    scylla: &'a Scylla,
    name: &'static str,
    owner: String,
    renewed: Mutex<Instant>,
}

impl<'a> Lease<'a> {
    /// `None` where another has it.
    pub(super) async fn take(scylla: &'a Scylla, name: &'static str) -> Result<Option<Self>, StoreError> {
        let random = getrandom::u64().map_err(|error| StoreError::unavailable(COLLECT, error))?;
        let owner = format!("process {} ({random:016x})", std::process::id());
        let is_ours = match scylla.lwt(COLLECT, &TAKE, (&owner, name)).await? {
            Lwt::Applied => true,
            Lwt::NotApplied(_) => false,
            Lwt::Unknown(_) => {
                let row: Option<(Option<String>,)> = scylla.row(COLLECT, &OWNER, (name,)).await?;
                row.and_then(|(found,)| found).as_ref() == Some(&owner)
            }
        };
        Ok(is_ours.then(|| Self { scylla, name, owner, renewed: Mutex::new(Instant::now()) }))
    }

    /// Renews it where it is time, and says how far the work is.
    pub(super) async fn keep(&self, phase: &str, done: u16, of: u16) -> Result<(), StoreError> {
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.elapsed() < RENEW {
                return Ok(());
            }
            *renewed = Instant::now();
        }
        self.tell(&format!("{phase}, {done} of {of}")).await;
        match self.scylla.lwt(COLLECT, &KEEP, (&self.owner, self.name, &self.owner)).await? {
            // It ran out while this process was stopped, and another may have begun.
            Lwt::NotApplied(_) => Err(StoreError::conflict(COLLECT)),
            Lwt::Applied | Lwt::Unknown(_) => Ok(()),
        }
    }

    /// Lets another have it. What is not given back ends by itself.
    pub(super) async fn give_back(&self) {
        self.tell("ended").await;
        if let Err(error) = self.scylla.lwt(COLLECT, &GIVE, (self.name, &self.owner)).await {
            tracing::debug!(%error, "lease stays until it ends by itself");
        }
    }

    async fn tell(&self, progress: &str) {
        let row = (progress, Timestamp::now().as_millisecond(), self.name);
        if let Err(error) = self.scylla.write(COLLECT, &PROGRESS, row).await {
            tracing::debug!(%error, "progress of a collection was not written");
        }
    }
}
