//! Counting while a fleet runs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dm_objects::{fumo::FumoResult, outcome::ResultClass};
use dm_sim::{Fault, Note, SimDevice, Triggered};
use hdrhistogram::Histogram;

use crate::{
    progress::Progress,
    report::{SAMPLES_MAX, Sample, halve},
    visit::{Exchange, Visit},
};

/// The length of the first rows over time.
const SAMPLE: Duration = Duration::from_millis(500);
/// A time longer than this counts as this: an hour, in microseconds.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Where a device stands, for the counts that must not count one twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    updating: bool,
    updated: bool,
    failed: bool,
    silent: bool,
    /// It needs no more of this run.
    settled: bool,
}

pub(crate) struct Tally {
    begun: Instant,
    pub(crate) progress: Progress,
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) broken: BTreeMap<String, u64>,
    pub(crate) reports: BTreeMap<u16, u64>,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) downloads: crate::report::Downloads,
    pub(crate) triggers: crate::report::Triggers,
    pub(crate) latency: Histogram<u64>,
    pub(crate) latency_with_wait: Histogram<u64>,
    row_latency: Histogram<u64>,
    row: Sample,
    row_length: Duration,
    row_end: Instant,
    octets_before: u64,
    pub(crate) samples: Vec<Sample>,
    standings: Vec<Standing>,
    pub(crate) settled: u32,
    recent: (Instant, u64, u64),
}

impl Tally {
    pub(crate) fn new(devices: u32, begun: Instant) -> Self {
        // Three digits over an hour: the bounds are constants that the constructor takes.
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("bounds from 1 to an hour at 3 digits are legal")
        };
        Self {
            begun,
            progress: Progress { devices, ..Progress::default() },
            answers: BTreeMap::new(),
            broken: BTreeMap::new(),
            reports: BTreeMap::new(),
            faults: BTreeMap::new(),
            downloads: crate::report::Downloads::default(),
            triggers: crate::report::Triggers::default(),
            latency: histogram(),
            latency_with_wait: histogram(),
            row_latency: histogram(),
            row: Sample::default(),
            row_length: SAMPLE,
            row_end: begun + SAMPLE,
            octets_before: 0,
            samples: Vec::new(),
            standings: vec![Standing::default(); devices as usize],
            settled: 0,
            recent: (begun, 0, 0),
        }
    }

    /// Takes in a turn.
    pub(crate) fn take(&mut self, visit: &mut Visit, target: Option<&str>) {
        visit.exchanges.iter().for_each(|exchange| self.exchange(*exchange));
        for note in visit.device.take_notes() {
            self.note(&note);
        }
        self.stand(&visit.device, target);
    }

    /// Takes in a trigger that came to a device while it was in a turn.
    pub(crate) fn note_busy(&mut self) {
        self.triggers.busy += 1;
    }

    fn exchange(&mut self, exchange: Exchange) {
        let name = exchange.status.map_or_else(|| "broken".to_owned(), |status| status.to_string());
        *self.answers.entry(name).or_default() += 1;
        if exchange.status != Some(200) {
            self.row.errors += 1;
        }
        if exchange.status.is_none() {
            return;
        }
        self.progress.messages += 1;
        self.row.messages += 1;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LATENCY_MAX_US);
        self.latency.saturating_record(us(exchange.took));
        self.row_latency.saturating_record(us(exchange.took));
        self.latency_with_wait.saturating_record(us(exchange.took + exchange.waited));
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Fault(fault) => {
                self.progress.faults += 1;
                *self.faults.entry(Fault::name(*fault).to_owned()).or_default() += 1;
            }
            Note::SessionDone { .. } => {
                self.progress.sessions += 1;
                self.row.sessions += 1;
            }
            Note::SessionBroken { why } => {
                self.progress.sessions_broken += 1;
                *self.broken.entry((*why).to_owned()).or_default() += 1;
            }
            Note::Trigger(Triggered::Session) => self.triggers.sessions += 1,
            Note::Trigger(Triggered::Refused) => self.triggers.refused += 1,
            Note::Trigger(Triggered::Busy) => self.triggers.busy += 1,
            Note::TurnedAway => self.progress.turned_away += 1,
            Note::Downloaded { checked } => {
                self.downloads.done += 1;
                *(if *checked {
                    &mut self.downloads.digests_checked
                } else {
                    &mut self.downloads.digests_unknown
                }) += 1;
            }
            Note::DownloadFailed => self.downloads.failed += 1,
            Note::Resumed => self.downloads.resumed += 1,
            Note::Reported { code, .. } => *self.reports.entry(*code).or_default() += 1,
            _ => {}
        }
    }

    fn stand(&mut self, device: &SimDevice, target: Option<&str>) {
        let class = device.last_report().map(|code| FumoResult::from_code(code).class());
        let is_over = device.is_gone() || (class.is_some() && !device.is_updating());
        let now = Standing {
            updating: device.is_updating() && !device.is_gone(),
            updated: class == Some(ResultClass::Success),
            failed: class.is_some_and(|class| class != ResultClass::Success),
            silent: device.is_gone(),
            settled: is_over
                || target.is_some_and(|target| target == device.version() && !device.is_updating()),
        };
        let Some(before) = self.standings.get_mut(device.number() as usize) else { return };
        let before = std::mem::replace(before, now);
        let progress = &mut self.progress;
        shift(&mut progress.updating, before.updating, now.updating);
        shift(&mut progress.updated, before.updated, now.updated);
        shift(&mut progress.failed, before.failed, now.failed);
        shift(&mut progress.silent, before.silent, now.silent);
        shift(&mut self.settled, before.settled, now.settled);
    }

    /// Closes the rows that are over. `octets` are those of packages so far.
    pub(crate) fn tick(&mut self, now: Instant, octets: u64) {
        while now >= self.row_end {
            self.close_row(octets);
        }
        self.progress.elapsed = now.duration_since(self.begun);
        self.progress.downloaded_octets = octets;
        let (since, sessions, messages) = self.recent;
        let passed = now.duration_since(since).as_secs_f64();
        if passed >= 1.0 {
            self.progress.sessions_per_s = (self.progress.sessions - sessions) as f64 / passed;
            self.progress.messages_per_s = (self.progress.messages - messages) as f64 / passed;
            self.recent = (now, self.progress.sessions, self.progress.messages);
        }
    }

    fn close_row(&mut self, octets: u64) {
        let mut row = std::mem::take(&mut self.row);
        row.octets = octets - self.octets_before;
        self.octets_before = octets;
        row.updated = self.progress.updated;
        row.failed = self.progress.failed;
        if !self.row_latency.is_empty() {
            row.p50_us = self.row_latency.value_at_quantile(0.5);
            row.p99_us = self.row_latency.value_at_quantile(0.99);
            self.row_latency.clear();
        }
        self.samples.push(row);
        self.row_end += self.row_length;
        if self.samples.len() >= SAMPLES_MAX {
            halve(&mut self.samples);
            self.row_length *= 2;
            self.row_end += self.row_length / 2;
        }
    }

    /// The last row, short as it may be, and the length of all of them.
    pub(crate) fn finish(&mut self, now: Instant, octets: u64) -> Duration {
        self.tick(now, octets);
        self.close_row(octets);
        self.row_length
    }
}

fn shift(count: &mut u32, before: bool, now: bool) {
    *count = *count + u32::from(now) - u32::from(before);
}
