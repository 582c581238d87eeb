//! Where each campaign's ledger ends, and who waits for it to grow.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{
    engine::{Engine, Space},
    keys,
};

/// The ends of the ledgers that were asked for since the start. Only the writing thread moves them.
#[derive(Default)]
pub(crate) struct Ledgers(Mutex<HashMap<Vec<u8>, watch::Sender<u64>>>);

impl Ledgers {
    /// The offset of the next event of a ledger.
    pub(crate) fn next_offset(&self, engine: &Engine, ledger: &[u8]) -> Result<u64, fjall::Error> {
        self.with(engine, ledger, |end| *end.borrow())
    }

    /// Tells when a ledger grows.
    pub(crate) fn watch(&self, engine: &Engine, ledger: &[u8]) -> Result<watch::Receiver<u64>, fjall::Error> {
        self.with(engine, ledger, watch::Sender::subscribe)
    }

    /// Ledgers have grown, durably.
    pub(crate) fn advance(&self, next_offsets: HashMap<Vec<u8>, u64>) {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (ledger, next) in next_offsets {
            if let Some(end) = ends.get(&ledger) {
                end.send_replace(next);
            }
        }
    }

    fn with<T>(
        &self,
        engine: &Engine,
        ledger: &[u8],
        then: impl FnOnce(&watch::Sender<u64>) -> T,
    ) -> Result<T, fjall::Error> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = ends.get(ledger) {
            return Ok(then(end));
        }
        let above = keys::after_prefix(ledger);
        let last = match above {
            Some(above) => engine.space(Space::Ledger).range(ledger.to_vec()..above).next_back(),
            None => engine.space(Space::Ledger).range(ledger.to_vec()..).next_back(),
        };
        let next = match last {
            Some(row) => keys::last_u64(&row.key()?).map_or(0, |offset| offset + 1),
            None => 0,
        };
        let end = watch::Sender::new(next);
        let answer = then(&end);
        ends.insert(ledger.to_vec(), end);
        Ok(answer)
    }
}
