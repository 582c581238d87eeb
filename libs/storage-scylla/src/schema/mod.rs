//! The schema: numbered migrations that are part of the binary.
//!
//! A migration that has been applied anywhere never changes: its checksum is kept in `schema_version`, and a binary
//! with another one refuses the keyspace. A change is a new file `migrations/NNNN_name.cql` and its line in
//! [`MIGRATIONS`]. Each statement ends with `;` at the end of a line and can be run twice (`IF NOT EXISTS`), since
//! who applies it may die in between.

mod apply;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use apply::{apply, drop_keyspace};

use crate::{Scylla, ScyllaError, statement::Cql};

/// A step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number, from 1.
    pub version: u32,
    /// What it is for.
    pub name: &'static str,
    /// Its statements.
    pub cql: &'static str,
}

/// All migrations, in the order of their numbers.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "devices", cql: include_str!("../../migrations/0001_devices.cql") },
    Migration { version: 2, name: "campaigns", cql: include_str!("../../migrations/0002_campaigns.cql") },
    Migration { version: 3, name: "artifacts", cql: include_str!("../../migrations/0003_artifacts.cql") },
    Migration { version: 4, name: "starts", cql: include_str!("../../migrations/0004_starts.cql") },
    Migration { version: 10, name: "jobs", cql: include_str!("../../migrations/0010_jobs.cql") },
    Migration { version: 11, name: "ledgers", cql: include_str!("../../migrations/0011_ledgers.cql") },
    Migration { version: 20, name: "snapshots", cql: include_str!("../../migrations/0020_snapshots.cql") },
];

impl Migration {
    /// The first 16 hexadecimal digits of the SHA-256 of its text.
    pub fn checksum(&self) -> String {
        let digest = Sha256::digest(self.cql.as_bytes());
        digest.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }

    /// Its statements, without comments.
    fn statements(&self) -> Vec<String> {
        let lines = self.cql.lines().filter(|line| !line.trim_start().starts_with("--"));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        text.split(";\n").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }
}

/// A migration as a keyspace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: u32,
    /// What it is for.
    pub name: String,
    /// Its checksum when it was applied.
    pub checksum: String,
    /// When it was applied.
    pub applied: jiff::Timestamp,
}

/// What a keyspace has and lacks.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// In the order of their numbers.
    pub applied: Vec<Applied>,
    /// What this binary has and the keyspace lacks.
    pub pending: Vec<Migration>,
}

impl Status {
    /// Whether this binary can use the keyspace.
    ///
    /// # Errors
    ///
    /// [`ScyllaError::SchemaOlder`], [`ScyllaError::SchemaNewer`] or [`ScyllaError::SchemaDiffers`].
    pub fn check(&self) -> Result<(), ScyllaError> {
        self.check_applied()?;
        if !self.pending.is_empty() {
            let lacking = self.pending.iter().map(|migration| migration.version).collect();
            return Err(ScyllaError::SchemaOlder(lacking));
        }
        Ok(())
    }

    /// Whether what is applied is ours.
    fn check_applied(&self) -> Result<(), ScyllaError> {
        let mut newer = Vec::new();
        for applied in &self.applied {
            let Some(ours) = MIGRATIONS.iter().find(|ours| ours.version == applied.version) else {
                newer.push(applied.version);
                continue;
            };
            if ours.checksum() != applied.checksum {
                return Err(ScyllaError::SchemaDiffers {
                    version: applied.version,
                    applied: applied.checksum.clone(),
                    ours: ours.checksum(),
                });
            }
        }
        if newer.is_empty() { Ok(()) } else { Err(ScyllaError::SchemaNewer(newer)) }
    }
}

/// What the keyspace has and lacks.
///
/// # Errors
///
/// [`ScyllaError::Store`] when it cannot be read.
pub async fn status(scylla: &Scylla) -> Result<Status, ScyllaError> {
    const OPERATION: &str = "read schema version";
    const TABLE: Cql =
        Cql::read("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?");
    const APPLIED: Cql =
        Cql::read("SELECT version, name, checksum, applied_ms FROM schema_version WHERE part = 'flotilla'");
    let there: Option<(String,)> =
        scylla.row(OPERATION, &TABLE, (scylla.keyspace(), "schema_version")).await?;
    let mut rows: Vec<(i32, String, String, i64)> = Vec::new();
    // A table that another process is making stands in the list a moment before it can be asked.
    for left in (0..if there.is_some() { 20 } else { 0 }).rev() {
        match scylla.rows(OPERATION, &APPLIED, ()).await {
            Ok(read) => {
                rows = read;
                break;
            }
            Err(error) if left == 0 => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
    let mut applied = Vec::with_capacity(rows.len());
    for (version, name, checksum, applied_ms) in rows {
        let corrupt = |error| storage::StoreError::corrupt(OPERATION, error);
        let at = jiff::Timestamp::from_millisecond(applied_ms).map_err(corrupt)?;
        applied.push(Applied { version: version.cast_unsigned(), name, checksum, applied: at });
    }
    let is_pending = |ours: &&Migration| applied.iter().all(|it| it.version != ours.version);
    let pending = MIGRATIONS.iter().filter(is_pending).copied().collect();
    Ok(Status { applied, pending })
}

/// Whether this binary can use the keyspace.
///
/// # Errors
///
/// As [`Status::check`].
pub async fn check(scylla: &Scylla) -> Result<(), ScyllaError> {
    status(scylla).await?.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_in_order_and_can_be_run_twice() {
        for pair in MIGRATIONS.windows(2) {
            assert!(pair[0].version < pair[1].version, "{} before {}", pair[0].name, pair[1].name);
        }
        for migration in MIGRATIONS {
            let statements = migration.statements();
            assert!(!statements.is_empty(), "{} has statements", migration.name);
            for statement in statements {
                assert!(statement.contains("IF NOT EXISTS"), "{statement}");
                assert_eq!(statement.matches("CREATE").count(), 1, "{statement}");
            }
        }
    }

    #[test]
    fn an_older_a_newer_and_another_schema_are_refused() {
        let applied = |version: u32, checksum: String| Applied {
            version,
            name: String::new(),
            checksum,
            applied: jiff::Timestamp::UNIX_EPOCH,
        };
        let ours: Vec<Applied> = MIGRATIONS.iter().map(|it| applied(it.version, it.checksum())).collect();
        let status = |applied, pending| Status { applied, pending };
        status(ours.clone(), Vec::new()).check().unwrap();
        let older = status(Vec::new(), MIGRATIONS.to_vec()).check();
        assert!(matches!(older, Err(ScyllaError::SchemaOlder(lacking)) if lacking[0] == 1));
        let mut newer = ours.clone();
        newer.push(applied(9999, String::new()));
        let newer = status(newer, Vec::new()).check();
        assert!(matches!(newer, Err(ScyllaError::SchemaNewer(unknown)) if unknown == [9999]));
        let mut other = ours;
        other[0].checksum = "0".into();
        let other = status(other, Vec::new()).check();
        assert!(matches!(other, Err(ScyllaError::SchemaDiffers { version: 1, .. })));
    }
}
