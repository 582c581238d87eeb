//! Applying migrations, by one process at a time.

use std::time::Duration;

use scylla::{errors::ExecutionError, statement::unprepared::Statement};
use storage::StoreError;

use super::{Migration, Status, status};
use crate::{
    Replication, Scylla, ScyllaError, ScyllaSettings,
    lwt::Lwt,
    statement::{Cql, Kind},
};

const OPERATION: &str = "apply schema";

/// How long to wait for another process that applies.
const WAIT: Duration = Duration::from_secs(180);
/// How long one change of the schema may take, the agreement of the nodes included.
const CHANGE: Duration = Duration::from_secs(60);

const BOOTSTRAP: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schema_version (part text, version int, name text, checksum text, \
     applied_ms bigint, PRIMARY KEY (part, version))",
    "CREATE TABLE IF NOT EXISTS schema_lock (part text PRIMARY KEY, owner text)",
];

// The lock of a process that died stays 90 s. A statement takes less, and the lock is taken anew before each.
const LOCK_TAKE: Cql = Cql::conditional(
    "INSERT INTO schema_lock (part, owner) VALUES ('flotilla', ?) IF NOT EXISTS USING TTL 90",
);
const LOCK_KEEP: Cql =
    Cql::conditional("UPDATE schema_lock USING TTL 90 SET owner = ? WHERE part = 'flotilla' IF owner = ?");
const LOCK_GIVE: Cql = Cql::conditional("DELETE FROM schema_lock WHERE part = 'flotilla' IF owner = ?");
const LOCK_READ: Cql = Cql::serial_read("SELECT owner FROM schema_lock WHERE part = 'flotilla'");
const RECORD: Cql = Cql::write(
    "INSERT INTO schema_version (part, version, name, checksum, applied_ms) VALUES ('flotilla', ?, ?, ?, ?)",
);

/// Makes the keyspace where it is not there, and applies what it lacks. Several processes may do so at once: one
/// applies, the others wait and find it done. Answers what the keyspace has then, and what was applied by this call.
///
/// # Errors
///
/// [`ScyllaError`]; what was applied before stays, and a second call goes on from there.
pub async fn apply(settings: &ScyllaSettings) -> Result<(Status, Vec<Migration>), ScyllaError> {
    let scylla = Scylla::connect_without_keyspace(settings).await?;
    use_or_make_keyspace(&scylla, settings).await?;
    if !status(&scylla).await?.pending.is_empty() {
        for table in BOOTSTRAP {
            change(&scylla, table).await?;
        }
    }
    let before = status(&scylla).await?;
    before.check_applied()?;
    if before.pending.is_empty() {
        return Ok((before, Vec::new()));
    }
    let owner = owner_name()?;
    lock(&scylla, &owner).await?;
    let applied = apply_pending(&scylla, &owner).await;
    // A lock that cannot be given back ends by itself.
    if let Err(error) = scylla.lwt(OPERATION, &LOCK_GIVE, (&owner,)).await {
        tracing::warn!(%error, "schema lock stays until it ends by itself");
    }
    let applied = applied?;
    Ok((status(&scylla).await?, applied))
}

/// Drops the keyspace with all that is in it.
///
/// # Errors
///
/// [`ScyllaError`].
pub async fn drop_keyspace(settings: &ScyllaSettings) -> Result<(), ScyllaError> {
    let scylla = Scylla::connect_without_keyspace(settings).await?;
    change(&scylla, &format!("DROP KEYSPACE IF EXISTS {}", settings.keyspace)).await
}

/// A node may list a keyspace that another process is making a moment before it can be used: making it again then
/// waits for that one's end.
async fn use_or_make_keyspace(scylla: &Scylla, settings: &ScyllaSettings) -> Result<(), ScyllaError> {
    let started = tokio::time::Instant::now();
    loop {
        match scylla.use_keyspace().await {
            Err(ScyllaError::NoKeyspace(_)) if started.elapsed() < WAIT => {
                change(scylla, &keyspace_cql(settings)).await?;
            }
            other => return other,
        }
    }
}

async fn apply_pending(scylla: &Scylla, owner: &str) -> Result<Vec<Migration>, ScyllaError> {
    // Read again: whom we waited for has applied some.
    let status = status(scylla).await?;
    status.check_applied()?;
    for migration in &status.pending {
        for statement in migration.statements() {
            keep(scylla, owner).await?;
            change(scylla, &statement).await?;
        }
        let row = (
            migration.version.cast_signed(),
            migration.name,
            migration.checksum(),
            jiff::Timestamp::now().as_millisecond(),
        );
        scylla.write(OPERATION, &RECORD, row).await?;
        tracing::info!(version = migration.version, name = migration.name, "migration applied");
    }
    Ok(status.pending)
}

/// Takes the lock, waiting for who has it.
async fn lock(scylla: &Scylla, owner: &str) -> Result<(), ScyllaError> {
    let started = tokio::time::Instant::now();
    loop {
        let holder = match scylla.lwt(OPERATION, &LOCK_TAKE, (owner,)).await? {
            Lwt::Applied => return Ok(()),
            Lwt::NotApplied(row) => row.text("owner").map(str::to_owned),
            Lwt::Unknown(_) => {
                let row: Option<(Option<String>,)> = scylla.row(OPERATION, &LOCK_READ, ()).await?;
                row.and_then(|(holder,)| holder)
            }
        };
        if holder.as_deref() == Some(owner) {
            return Ok(());
        }
        if started.elapsed() > WAIT {
            return Err(ScyllaError::SchemaLocked(holder.unwrap_or_else(|| "another process".to_owned())));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Makes sure that the lock is ours for another [`LOCK`].
async fn keep(scylla: &Scylla, owner: &str) -> Result<(), ScyllaError> {
    match scylla.lwt(OPERATION, &LOCK_KEEP, (owner, owner)).await? {
        Lwt::Applied => Ok(()),
        Lwt::NotApplied(row) => {
            let holder = row.text("owner").unwrap_or("nobody any more").to_owned();
            Err(ScyllaError::SchemaLocked(holder))
        }
        Lwt::Unknown(unknown) => Err(unknown.error.into()),
    }
}

/// Runs a change of the schema and waits until all nodes have it.
async fn change(scylla: &Scylla, cql: &str) -> Result<(), ScyllaError> {
    let mut statement = Statement::new(cql);
    statement.set_execution_profile_handle(Some(scylla.profile(Kind::Conditional)));
    statement.set_request_timeout(Some(CHANGE));
    let refused = |error: ExecutionError| ScyllaError::Migration {
        statement: cql.lines().next().unwrap_or_default().to_owned(),
        source: Box::new(error),
    };
    scylla.session().query_unpaged(statement, ()).await.map_err(refused)?;
    let agreed = scylla.session().await_schema_agreement().await;
    agreed.map(|_| ()).map_err(|error| ScyllaError::SchemaAgreement(Box::new(error)))
}

fn keyspace_cql(settings: &ScyllaSettings) -> String {
    let copies = match &settings.replication {
        Replication::Everywhere(copies) => format!("'replication_factor': {copies}"),
        Replication::Datacenters(datacenters) => {
            let each = datacenters.iter().map(|(name, copies)| format!("'{name}': {copies}"));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', {copies}}}",
        settings.keyspace
    )
}

/// A name that no other process has.
fn owner_name() -> Result<String, StoreError> {
    let random = getrandom::u64().map_err(|error| StoreError::unavailable(OPERATION, error))?;
    Ok(format!("process {} ({random:016x})", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the lock of a process that died stays, as the statements have it.
    const LOCK: Duration = Duration::from_secs(90);

    #[test]
    fn a_keyspace_is_made_with_the_copies_of_the_settings() {
        let mut settings = ScyllaSettings::default();
        assert!(keyspace_cql(&settings).ends_with("'replication_factor': 3}"));
        settings.replication =
            Replication::Datacenters([("east".to_owned(), 3), ("west".to_owned(), 2)].into());
        assert!(keyspace_cql(&settings).ends_with("'NetworkTopologyStrategy', 'east': 3, 'west': 2}"));
    }

    #[test]
    fn the_lock_is_as_long_as_the_statements_say() {
        let ttl = format!("USING TTL {}", LOCK.as_secs());
        assert!(LOCK_TAKE.text.contains(&ttl) && LOCK_KEEP.text.contains(&ttl));
        assert!(CHANGE < LOCK);
    }
}
