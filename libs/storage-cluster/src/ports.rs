//! The servers of a cluster, as this crate sees them.

use std::{fmt, sync::Arc};

use crate::{job_rows::JobRows, ledger_blocks::LedgerBlocks, marks::WorkMarks, topics::Publisher};

/// Draws a number that nobody else draws.
pub type Draw = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the job store is made of.
#[derive(Clone)]
pub struct Ports {
    /// The rows of jobs.
    pub rows: Arc<dyn JobRows>,
    /// The blocks of ledgers.
    pub blocks: Arc<dyn LedgerBlocks>,
    /// The topics.
    pub topics: Arc<dyn Publisher>,
    /// The marks of devices that have no work.
    pub marks: Arc<dyn WorkMarks>,
    /// Where writers' names come from.
    pub draw: Draw,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// Draws from the machine's entropy.
pub fn draw_from_system() -> Draw {
    Arc::new(|| {
        let mut drawn = [0; 8];
        // Without entropy nobody could tell their own writes from another's.
        getrandom::fill(&mut drawn).unwrap_or_else(|error| panic!("the system has no entropy: {error}"));
        u64::from_le_bytes(drawn)
    })
}
