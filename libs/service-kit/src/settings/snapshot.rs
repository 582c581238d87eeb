//! The section of trees: how they are kept, and how what nobody needs is collected.

use super::{
    section::sections,
    values::{Count, Octets, Span},
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;

sections! {
    /// Trees of devices: their history, and the collection of what no tree names any more.
    SnapshotSettings in "snapshot" {
        /// How long a tree is kept after another took its place. The tree a device has now is always kept.
        history_age_max: Span<HOUR, { 3650 * DAY }> = Span::of_ms(90 * DAY),
        /// Past trees kept of one device, the newest of them.
        history_trees_max: Count<1, 100_000> = Count::of(1000),
        /// How often what nobody needs is collected, by one process at a time.
        collect_every: Span<{ 10 * MINUTE }, { 30 * DAY }> = Span::of_ms(DAY),
        /// A process that finds a collection due at its start waits for half of this to all of it, so that processes that
        /// start together do not collect together, and that what a restart is for comes first.
        collect_after_start: Span<0, DAY> = Span::of_ms(2 * MINUTE),
        /// In a cluster, pages of trees that were written later than this long ago are left alone: a front-end may be
        /// about to name them. Half an hour of it is for clocks that differ; more where they may differ more.
        collect_grace: Span<{ 4 * HOUR + 30 * MINUTE }, { 30 * DAY }> = Span::of_ms(6 * HOUR),
        /// Rows that a collection reads a second at most.
        collect_rows_per_second: Count<100, 10_000_000> = Count::of(20_000),
        /// Memory of a collection, for the marks of what is in use: two octets for each page are good. With less some
        /// garbage is overlooked until another time.
        collect_memory: Octets<MIB, { 16 * 1024 * MIB }> = Octets::of(64 * MIB),
        /// In a cluster, a tree that is as it was is not written again until that long after it was last seen.
        seen_every: Span<0, DAY> = Span::of_ms(MINUTE),
        /// Memory for pages of trees that are used again and again.
        page_cache: Octets<MIB, { 64 * 1024 * MIB }> = Octets::of(64 * MIB),
    }
}
