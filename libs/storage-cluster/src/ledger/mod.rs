//! Ledgers as blocks: who writes them, who reads them, who carries what is in them elsewhere.

mod deliver;
mod handle;
mod known;
mod seen;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::task::TaskTracker;

pub(crate) use self::{handle::Handle, writer::Guard};
use crate::{ledger_blocks::LedgerKey, ports::Ports};

/// What the writers of one process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) tasks: TaskTracker,
}

/// The ledgers that this process has read or written.
pub(crate) struct Ledgers {
    shared: Shared,
    handles: Mutex<BTreeMap<LedgerKey, Arc<Handle>>>,
}

impl Ledgers {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, handles: Mutex::default() }
    }

    pub(crate) fn handle(&self, key: &LedgerKey) -> Arc<Handle> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(key) {
            return Arc::clone(handle);
        }
        let handle = Arc::new(Handle::new(self.shared.clone(), key.clone()));
        handles.insert(key.clone(), Arc::clone(&handle));
        handle
    }

    /// Writes no more to the ledgers that `leave` names. Their claims are worth nothing from now on, in this process.
    pub(crate) fn leave(&self, leave: impl Fn(&LedgerKey, &Handle) -> bool) {
        let handles: Vec<Arc<Handle>> = {
            let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
            handles.iter().filter(|(key, handle)| leave(key, handle)).map(|(_, it)| Arc::clone(it)).collect()
        };
        for handle in handles {
            handle.leave();
        }
    }
}
