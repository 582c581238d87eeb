//! A campaign's two clocks: tenths of a second from its start, and the same without the time it was paused.

use jiff::Timestamp;

use crate::Period;

/// Tenths of a second a tick: fine enough for the shortest timers, and 13 years in 32 bits.
const TICK_MS: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    start: Timestamp,
    /// Ticks spent paused, in pauses that are over.
    paused: u32,
    /// When the present pause began.
    paused_at: Option<u32>,
}

impl Clock {
    pub(super) fn new(start: Timestamp) -> Self {
        Self { start, paused: 0, paused_at: None }
    }

    pub(super) fn from_parts(start: Timestamp, (paused, paused_at): (u32, Option<u32>)) -> Self {
        Self { start, paused, paused_at }
    }

    pub(super) fn to_parts(&self) -> (u32, Option<u32>) {
        (self.paused, self.paused_at)
    }

    /// The tick that has begun at `at`; 0 for what is before the start.
    pub(super) fn tick(&self, at: Timestamp) -> u32 {
        clamp(self.ms(at) / TICK_MS)
    }

    /// The first tick that has not begun before `at`.
    pub(super) fn tick_after(&self, at: Timestamp) -> u32 {
        clamp(self.ms(at).div_ceil(TICK_MS))
    }

    /// The campaign's own tick at `at`: it stands still in a pause.
    pub(super) fn own_tick(&self, at: Timestamp) -> u32 {
        let tick = self.tick(at);
        self.paused_at.map_or(tick, |paused_at| tick.min(paused_at)).saturating_sub(self.paused)
    }

    /// The campaign's own tick when `period` has passed on its own clock after `at`.
    pub(super) fn own_tick_after(&self, at: Timestamp, period: Period) -> u32 {
        self.own_tick(at).saturating_add(clamp(period.as_ms().div_ceil(TICK_MS)))
    }

    /// When a tick begins.
    pub(super) fn time(&self, tick: u32) -> Timestamp {
        Period::from_ms(u64::from(tick) * TICK_MS).after(self.start)
    }

    /// When an own tick begins, if there is no further pause; `None` in a pause.
    pub(super) fn own_time(&self, tick: u32) -> Option<Timestamp> {
        self.paused_at.is_none().then(|| self.time(tick.saturating_add(self.paused)))
    }

    pub(super) fn pause(&mut self, at: Timestamp) {
        self.paused_at.get_or_insert(clamp(self.ms(at) / TICK_MS));
    }

    pub(super) fn resume(&mut self, at: Timestamp) {
        if let Some(paused_at) = self.paused_at.take() {
            self.paused = self.paused.saturating_add(self.tick(at).saturating_sub(paused_at));
        }
    }

    fn ms(&self, at: Timestamp) -> u64 {
        let ms = at.as_millisecond().saturating_sub(self.start.as_millisecond());
        u64::try_from(ms).unwrap_or(0)
    }
}

fn clamp(ticks: u64) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX)
}
