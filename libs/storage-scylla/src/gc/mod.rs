//! Collection of what no tree names, while devices come and go.
//!
//! # How
//!
//! 1. *Mark.* All partitions of `trees` are read by ranges of tokens. The root of now and the roots of the past that are kept are
//!    marked; a past tree that is too old is taken away. Then all rows of `pages` are read, and what a marked page
//!    refers to (its subtrees, its large values, the base it is stored by) is marked too, until a whole pass marks
//!    nothing new: as many passes as pages are deep, and one. The marks are a Bloom filter: it may take garbage for
//!    used, never the other way.
//! 2. *Sweep.* All rows of `pages` and `page_bases` are read. What is not marked is deleted `USING TIMESTAMP` *start of the collection less
//!    the grace*: what was written later stays by last-write-wins, also if it is written while it is deleted.
//!
//! # Why nothing in use goes
//!
//! Let a collection start at `M`, with the grace `G`. Take any device, and any page `P` of the tree it has at any instant
//! after the sweep began. Let `s ≥ M` be the instant at which the device's partition was read, and follow the roots
//! that were current from then on: `R0` (the one read), `R1`, `R2`, …
//!
//! - *`P` is below every one of them up to now.* Then it was below `R0`, which was marked, and so was every page from `R0` down
//!   to `P`: they were written before `R0` became current, hence before `s`, so the passes over `pages`, which
//!   began later, read them; the passes end only when nothing more is to be marked.
//! - *Else there is a last `Ri` (i > 0) which has `P`, and whose predecessor has not.* Who applied `Ri` wrote `P`: `apply`
//!   writes every page that the tree before lacks, whether or not it seems to be there. The root moved after `s`, and
//!   `P` was written at most a *window* `W` before the root moved (below). So its timestamp is later than `M - W` less what the clocks differ,
//!   and with a grace of more than both it is later than the delete's.
//!
//! The same holds for the base that `P` was written by: it was either written with `P`, or written by the same process
//! so lately that it is within the same window, and a row of `pages` names its base in its key, so that writing `P` by another
//! base takes no row away. It is marked through each row of a marked page. Two rows of one page can only add to what is kept.
//!
//! Past trees: a root of the past was current once. If it was so at `s` or later, it is one of the `Ri`; if before, the row that keeps it was there at
//! `s`, since it is written in the one conditional batch that moved the root, and it was marked unless it is taken away.
//! Who reads a tree of the past at the instant at which it ends may find pages missing, and hears so.
//!
//! ## What the window holds
//!
//! - A process does not write again a page or base that it wrote within the last quarter of the window; by the time a page is passed over so, its base can be two
//!   quarters old. An attempt that takes longer than half a window from its first write gives up before it moves the root.
//! - A process may be stopped between that look at its clock and the conditional write. It looks again when the write is done, and
//!   when it was stopped for longer than half a window it writes all pages of the attempt once more. Only a process that is stopped there for
//!   longer than the grace *and* killed before it goes on leaves a tree with holes.
//! - A conditional write whose coordinator died may still be brought to its end by the next one in that partition, as
//!   long as the promises of its replicas last: three hours, or the time to tombstones' end of `trees`, which for this reason is
//!   three hours too. This is why the grace must be longer than window + 3 h, and is 6 h by default: that leaves two
//!   hours for clocks that differ. [`GRACE_MIN`] is what a setting may be at least.
//! - A page that reached too few replicas is not acknowledged, and then no root moves to it. An acknowledged one is at a quorum, and
//!   so are the reads of a collection.
//!
//! Nothing here rests on the lease by which one process collects at a time: two at once delete the same garbage twice.
//!
//! # How gently
//!
//! Rows are read at no more than a set pace, a few ranges at once. A range that fails is read again, so a server that is
//! away for minutes costs no more than the range. How far it is stands in `upkeep`. A collection that is cut off during
//! the mark has done nothing but end old history; one cut off during the sweep has deleted some garbage; the next
//! starts over.

mod lease;
mod mark;
mod ring;
mod sweep;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use lease::Lease;
use ring::Throttle;
use storage::{Collected, Collection, Collector, Marks, Progress, StoreError};

use crate::{Scylla, Snapshots};

const COLLECT: &str = "collect trees";

/// The shortest grace that is safe with the default window of [`crate::SnapshotOptions`]: it, three hours for a conditional
/// write that was cut off, and half an hour for clocks that differ.
pub const GRACE_MIN: Duration = Duration::from_secs(4 * 3600 + 1800);

/// A collection that is under way.
struct Run<'a> {
    scylla: &'a Scylla,
    plan: &'a Collection,
    now: Timestamp,
    /// What was written at or before this is old enough to go, in microseconds since 1970.
    cutoff_us: i64,
    marks: Marks,
    throttle: Throttle,
    /// Parts a table is read in.
    ranges: u16,
    lease: Lease<'a>,
    collected: Mutex<Collected>,
    progress: &'a Progress<'a>,
}

#[async_trait]
impl Collector for Snapshots {
    async fn collect(
        &self,
        now: Timestamp,
        plan: &Collection,
        progress: &Progress<'_>,
    ) -> Result<Option<Collected>, StoreError> {
        // A start in the future would shorten the grace.
        let now = now.min(Timestamp::now());
        let Some(lease) = Lease::take(self.scylla(), "collect-trees").await? else { return Ok(None) };
        let seed = getrandom::u64().map_err(|error| StoreError::unavailable(COLLECT, error))?;
        let grace_us = i64::try_from(plan.grace.as_micros()).unwrap_or(i64::MAX);
        let run = Run {
            scylla: self.scylla(),
            plan,
            now,
            cutoff_us: now.as_microsecond().saturating_sub(grace_us),
            marks: Marks::new(plan.marks_bytes_max, seed),
            throttle: Throttle::new(plan.rows_per_s_max),
            ranges: self.options().scan_ranges,
            lease,
            collected: Mutex::default(),
            progress,
        };
        let done = run.go().await;
        run.lease.give_back().await;
        let done = done?;
        if !plan.dry_run {
            lease::note_done(self.scylla(), now).await?;
        }
        Ok(Some(done))
    }

    async fn last_collected(&self) -> Result<Option<Timestamp>, StoreError> {
        lease::last_done(self.scylla()).await
    }
}

impl Run<'_> {
    async fn go(&self) -> Result<Collected, StoreError> {
        self.mark_roots().await?;
        self.mark_below().await?;
        if self.marks.fill() > 0.5 {
            let (fill, bytes) = (self.marks.fill(), self.plan.marks_bytes_max);
            tracing::warn!(fill, bytes, "marks of trees in use are full, so garbage is overlooked");
        }
        self.sweep_pages().await?;
        self.sweep_bases().await?;
        Ok(self.collected())
    }

    fn collected(&self) -> Collected {
        *self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what came of a range.
    fn add(&self, part: &Collected) {
        let mut all = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        all.trees += part.trees;
        all.past_trees += part.past_trees;
        all.past_trees_ended += part.past_trees_ended;
        all.pages += part.pages;
        all.pages_deleted += part.pages_deleted;
        all.bytes_deleted += part.bytes_deleted;
        let all = *all;
        (self.progress)(&all);
    }
}

/// The mark of a page.
fn page_mark(tenant: &str, id: &[u8]) -> Vec<u8> {
    [&[0], id, tenant.as_bytes()].concat()
}

/// The mark of a base.
fn base_mark(tenant: &str, id: &[u8]) -> Vec<u8> {
    [&[1], id, tenant.as_bytes()].concat()
}
