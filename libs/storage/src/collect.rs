//! Taking away what nothing needs any more: trees of the past that are too old, and pages that no tree names.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::StoreError;

/// What one collection may take away, and how gently it goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// How long a tree is kept after another took its place; `None` keeps it for ever. The tree a device has now is always kept.
    pub history_age_max: Option<Duration>,
    /// Past trees kept of one device, the newest of them.
    pub history_trees_max: u32,
    /// Pages written later than this long ago are left alone, whatever names them: a writer may be about to name them.
    pub grace: Duration,
    /// Rows read a second at most.
    pub rows_per_s_max: u32,
    /// Octets of memory for the marks of what is in use. With too few some garbage is taken for used, and stays until another time.
    pub marks_bytes_max: usize,
    /// Only counts what would go.
    pub dry_run: bool,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            history_age_max: Some(Duration::from_secs(90 * 24 * 3600)),
            history_trees_max: 1000,
            grace: Duration::from_secs(6 * 3600),
            rows_per_s_max: 20_000,
            marks_bytes_max: 64 << 20,
            dry_run: false,
        }
    }
}

/// What a collection has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Trees that devices have now.
    pub trees: u64,
    /// Trees that devices had before.
    pub past_trees: u64,
    /// Of them, those that went.
    pub past_trees_ended: u64,
    /// Pages looked at in the end. Bases of pages that are stored by one count too.
    pub pages: u64,
    /// Of them, those that went.
    pub pages_deleted: u64,
    /// Octets of the pages that went, as stored.
    pub bytes_deleted: u64,
}

/// Who hears how far a collection is.
pub type Progress<'p> = dyn Fn(&Collected) + Sync + 'p;

/// Stores of trees that can take away what nothing needs.
#[async_trait]
pub trait Collector: Send + Sync {
    /// Collects once, while devices come and go. Whatever a device's tree or a past one that is kept names, stays whole.
    ///
    /// `progress` hears from time to time how far it is. Answers `None` where another process is at it.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached for long. What was done until then is whole; the next collection does the rest.
    async fn collect(
        &self,
        now: Timestamp,
        plan: &Collection,
        progress: &Progress<'_>,
    ) -> Result<Option<Collected>, StoreError>;

    /// When a collection last came to its end, by whichever process, as far as the store knows.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    async fn last_collected(&self) -> Result<Option<Timestamp>, StoreError>;
}
