//! What is in use.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt as _;
use storage::{Collected, StoreError};

use super::{COLLECT, Run, base_mark, page_mark, ring::Range};
use crate::statement::Cql;

const ROOTS: Cql = Cql::read(
    "SELECT tenant, device, root, since, past_since, past_root FROM trees \
     WHERE token(tenant, device) > ? AND token(tenant, device) <= ?",
);
const END: Cql = Cql::write("DELETE FROM trees WHERE tenant = ? AND device = ? AND past_since = ?");
const REFS: Cql = Cql::read(
    "SELECT tenant, id, base, refs FROM pages WHERE token(tenant, id) > ? AND token(tenant, id) <= ?",
);

/// Pages are never that deep: a tree has bounds.
const PASSES_MAX: u32 = 64;
const ID_BYTES: usize = 20;

type RootRow = (String, String, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<Vec<u8>>);
type RefsRow = (String, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// A device while its rows come: its past trees, newest first.
struct Device {
    tenant: String,
    name: String,
    past_trees: u32,
    /// When the next of its past trees ended, in nanoseconds since 1970.
    ended: Option<i64>,
}

impl Run<'_> {
    pub(super) async fn mark_roots(&self) -> Result<(), StoreError> {
        self.over_ring("marking roots", |range| self.mark_roots_of(range)).await
    }

    async fn mark_roots_of(&self, range: Range) -> Result<Collected, StoreError> {
        let mut counts = Collected::default();
        let mut device: Option<Device> = None;
        let mut rows = self.scylla.stream::<RootRow>(COLLECT, &ROOTS, (range.after, range.to)).await?;
        while let Some((tenant, name, root, since, past_since, past_root)) = rows.try_next().await? {
            self.throttle.row().await;
            let known = device.take().filter(|it| it.tenant == tenant && it.name == name);
            let mut it = known.unwrap_or_else(|| {
                if let Some(root) = &root {
                    counts.trees += 1;
                    self.marks.insert(&page_mark(&tenant, root));
                }
                Device { tenant, name, past_trees: 0, ended: since }
            });
            if let (Some(past_since), Some(past_root)) = (past_since, past_root) {
                it.past_trees += 1;
                counts.past_trees += 1;
                if self.is_kept(&it) {
                    self.marks.insert(&page_mark(&it.tenant, &past_root));
                } else {
                    counts.past_trees_ended += 1;
                    self.end(&it, past_since).await?;
                }
                it.ended = Some(past_since);
            }
            device = Some(it);
        }
        Ok(counts)
    }

    /// Whether the past tree that comes now is kept.
    fn is_kept(&self, device: &Device) -> bool {
        let is_young = self.plan.history_age_max.is_none_or(|age_max| {
            let ended = device.ended.map_or(i128::MAX, i128::from);
            ended.saturating_add_unsigned(age_max.as_nanos()) > self.now.as_nanosecond()
        });
        is_young && device.past_trees <= self.plan.history_trees_max
    }

    async fn end(&self, device: &Device, past_since: i64) -> Result<(), StoreError> {
        if self.plan.dry_run {
            return Ok(());
        }
        self.scylla.write(COLLECT, &END, (&device.tenant, &device.name, past_since)).await
    }

    /// Marks what marked pages refer to, until there is nothing more to mark.
    pub(super) async fn mark_below(&self) -> Result<(), StoreError> {
        for _ in 0..PASSES_MAX {
            let marked = AtomicBool::new(false);
            let marked_ref = &marked;
            self.over_ring("marking pages", |range| self.mark_below_of(range, marked_ref)).await?;
            if !marked.load(Ordering::Acquire) {
                return Ok(());
            }
        }
        Err(StoreError::corrupt(COLLECT, format!("pages refer to pages more than {PASSES_MAX} deep")))
    }

    async fn mark_below_of(&self, range: Range, marked: &AtomicBool) -> Result<Collected, StoreError> {
        let mut rows = self.scylla.stream::<RefsRow>(COLLECT, &REFS, (range.after, range.to)).await?;
        while let Some((tenant, id, base, refs)) = rows.try_next().await? {
            self.throttle.row().await;
            if !self.marks.contains(&page_mark(&tenant, &id)) {
                continue;
            }
            let mut is_new = !base.is_empty() && self.marks.insert(&base_mark(&tenant, &base));
            for id in refs.iter().flat_map(|refs| refs.chunks(ID_BYTES)) {
                is_new |= self.marks.insert(&page_mark(&tenant, id));
            }
            if is_new {
                marked.store(true, Ordering::Release);
            }
        }
        Ok(Collected::default())
    }
}
