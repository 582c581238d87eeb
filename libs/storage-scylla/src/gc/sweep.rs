//! What is not in use goes.

use futures_util::TryStreamExt as _;
use storage::{Collected, StoreError};

use super::{COLLECT, Run, base_mark, page_mark, ring::Range};
use crate::statement::Cql;

const PAGES: Cql = Cql::read(
    "SELECT tenant, id, WRITETIME(stored) FROM pages WHERE token(tenant, id) > ? AND token(tenant, id) <= ?",
);
const BASES: Cql = Cql::read(
    "SELECT tenant, id, WRITETIME(octets) FROM page_bases \
     WHERE token(tenant, id) > ? AND token(tenant, id) <= ?",
);
const PAGE: Cql = Cql::read("SELECT stored, WRITETIME(stored) FROM pages WHERE tenant = ? AND id = ?");
const BASE: Cql = Cql::read("SELECT octets, WRITETIME(octets) FROM page_bases WHERE tenant = ? AND id = ?");
const DELETE_PAGE: Cql = Cql::write("DELETE FROM pages USING TIMESTAMP ? WHERE tenant = ? AND id = ?");
const DELETE_BASE: Cql = Cql::write("DELETE FROM page_bases USING TIMESTAMP ? WHERE tenant = ? AND id = ?");

/// The statements of a table that is swept.
struct Table {
    rows: Cql,
    row: Cql,
    delete: Cql,
    mark: fn(&str, &[u8]) -> Vec<u8>,
}

const PAGE_TABLE: Table = Table { rows: PAGES, row: PAGE, delete: DELETE_PAGE, mark: page_mark };
const BASE_TABLE: Table = Table { rows: BASES, row: BASE, delete: DELETE_BASE, mark: base_mark };

type Row = (String, Vec<u8>, Option<i64>);

impl Run<'_> {
    pub(super) async fn sweep_pages(&self) -> Result<(), StoreError> {
        self.over_ring("sweeping pages", |range| self.sweep(&PAGE_TABLE, range)).await
    }

    pub(super) async fn sweep_bases(&self) -> Result<(), StoreError> {
        self.over_ring("sweeping bases", |range| self.sweep(&BASE_TABLE, range)).await
    }

    async fn sweep(&self, table: &Table, range: Range) -> Result<Collected, StoreError> {
        let mut counts = Collected::default();
        let mut rows = self.scylla.stream::<Row>(COLLECT, &table.rows, (range.after, range.to)).await?;
        let mut last: Option<(String, Vec<u8>)> = None;
        while let Some((tenant, id, written_us)) = rows.try_next().await? {
            self.throttle.row().await;
            counts.pages += 1;
            let is_old = written_us.is_some_and(|written_us| written_us <= self.cutoff_us);
            if !is_old || self.marks.contains(&(table.mark)(&tenant, &id)) {
                continue;
            }
            let key = (tenant, id);
            // The rows of a page go together.
            if last.as_ref() != Some(&key) {
                let (rows, bytes) = self.delete(table, &key.0, &key.1).await?;
                counts.pages_deleted += rows;
                counts.bytes_deleted += bytes;
                last = Some(key);
            }
        }
        Ok(counts)
    }

    /// Takes away the rows of a page that are old enough; answers how many those are, and their octets.
    async fn delete(&self, table: &Table, tenant: &str, id: &[u8]) -> Result<(u64, u64), StoreError> {
        let rows: Vec<(Vec<u8>, i64)> = self.scylla.rows(COLLECT, &table.row, (tenant, id)).await?;
        let old = rows.iter().filter(|(_, written_us)| *written_us <= self.cutoff_us);
        let (count, bytes) =
            old.fold((0, 0), |(count, bytes), (octets, _)| (count + 1, bytes + octets.len() as u64));
        if !self.plan.dry_run && count > 0 {
            self.scylla.write(COLLECT, &table.delete, (self.cutoff_us, tenant, id)).await?;
        }
        Ok((count, bytes))
    }
}
