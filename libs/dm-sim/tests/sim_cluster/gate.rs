//! The way from a process to the stores: calls take time, are refused, lose their answers, and kill who makes them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dm_sim::Chance;
use storage::{ErrorKind, StoreError};
use tokio::{sync::Notify, time::Instant};

use crate::world::World;

/// Faults of a seed, of a thousand calls.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub refused: u64,
    pub lost: u64,
    pub crash: u64,
    pub freeze: u64,
    /// Conditional writes that are done later than their callers wait.
    pub late: u64,
    pub latency_ms: u64,
}

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of one process: a process that comes back has another.
pub struct Gate {
    name: String,
    world: Shared,
    chance: Mutex<Chance>,
    rates: Rates,
    is_fair: Arc<AtomicBool>,
    is_dead: AtomicBool,
    died: Notify,
    frozen_until: Mutex<Option<Instant>>,
}

enum Fate {
    Good,
    Refused,
    Lost,
    DiesBefore,
    DiesAfter,
    Freezes(Duration),
}

impl Gate {
    pub fn new(
        name: String,
        world: &Shared,
        chance: Chance,
        rates: Rates,
        is_fair: &Arc<AtomicBool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            world: Arc::clone(world),
            chance: Mutex::new(chance),
            rates,
            is_fair: Arc::clone(is_fair),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
            frozen_until: Mutex::new(None),
        })
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn world(&self) -> &Shared {
        &self.world
    }

    /// A number below `bound`, 0 below 1.
    pub fn below(&self, bound: u64) -> u64 {
        self.draw(|chance| chance.below(bound.max(1)))
    }

    /// A conditional write takes longer than its caller waits.
    pub fn is_late(&self) -> bool {
        let is_late = self.below(1000) < self.rates.late;
        is_late && !self.is_fair.load(Ordering::SeqCst)
    }

    /// A number that nobody else draws.
    pub fn number(&self) -> u64 {
        self.draw(Chance::draw)
    }

    pub fn fill(&self, octets: &mut [u8]) {
        self.draw(|chance| octets.fill_with(|| chance.draw() as u8));
    }

    /// Returns when the process has died.
    pub async fn death(&self) {
        loop {
            let died = self.died.notified();
            if self.is_dead.load(Ordering::SeqCst) {
                return;
            }
            died.await;
        }
    }

    pub fn die(&self) {
        if !self.is_dead.swap(true, Ordering::SeqCst) {
            lock(&self.world).note(&format!("{} dies", self.name));
        }
        self.died.notify_waiters();
    }

    /// Stops for a while and goes on as if nothing had been.
    pub fn freeze(&self, period: Duration) {
        lock(&self.world).note(&format!("{} stands still for {} ms", self.name, period.as_millis()));
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + period);
    }

    async fn travel(&self, latency: Duration) {
        tokio::time::sleep(latency).await;
        loop {
            let until = *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => break,
            }
        }
        if self.is_dead.load(Ordering::SeqCst) {
            // Nothing of a dead process happens any more.
            std::future::pending::<()>().await;
        }
    }

    fn fate(&self) -> Fate {
        let Rates { refused, lost, crash, freeze, .. } = self.rates;
        let (lot, span) = self.draw(|chance| (chance.below(1000), chance.below(20_000)));
        if self.is_fair.load(Ordering::SeqCst) {
            return Fate::Good;
        }
        match lot {
            lot if lot < refused => Fate::Refused,
            lot if lot < refused + lost => Fate::Lost,
            lot if lot < refused + lost + crash => {
                if lot % 2 == 0 {
                    Fate::DiesBefore
                } else {
                    Fate::DiesAfter
                }
            }
            lot if lot < refused + lost + crash + freeze => Fate::Freezes(Duration::from_millis(span)),
            _ => Fate::Good,
        }
    }

    /// One call of a store that is the world's own.
    pub async fn call<T>(
        &self,
        operation: &'static str,
        writes: bool,
        call: impl FnOnce(&mut World) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.pass(operation, writes, async { call(&mut lock(&self.world)) }).await
    }

    /// One call of a server, which answers at once.
    pub async fn pass<T>(
        &self,
        operation: &'static str,
        writes: bool,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let latency = |gate: &Self| {
            Duration::from_micros(gate.draw(|chance| 100 + chance.below(gate.rates.latency_ms * 1000)))
        };
        let (there, back) = (latency(self), latency(self));
        self.travel(there).await;
        let fate = self.fate();
        match fate {
            Fate::Refused => return Err(StoreError::unavailable(operation, "refused")),
            Fate::DiesBefore => self.die(),
            Fate::Freezes(period) => self.freeze(period),
            _ => {}
        }
        self.travel(Duration::ZERO).await;
        let done = call.await;
        if writes {
            let outcome = done.as_ref().err().map_or("done".to_owned(), |error| format!("{:?}", error.kind));
            lock(&self.world).note(&format!("{}: {operation}: {outcome}", self.name));
        }
        match fate {
            Fate::DiesAfter => self.die(),
            Fate::Lost if writes => {
                return Err(StoreError { kind: ErrorKind::TimedOut, operation, source: None });
            }
            Fate::Lost => return Err(StoreError::unavailable(operation, "no answer")),
            _ => {}
        }
        self.travel(back).await;
        done
    }
}
