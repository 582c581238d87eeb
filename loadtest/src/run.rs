//! Running a fleet: a heap of who is due, and a bounded number of turns at a time. An idle device is no task, only a
//! place in a list.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dm_sim::{Setup, SimDevice, Triggered};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, ClientError},
    options::Fleet,
    progress::Progress,
    report::{Ending, Execs, Final, FleetReport, Latency, Sessions},
    tally::Tally,
    triggers::{DEVICES_MAX, Listener},
    visit::{Context, Visit, visit},
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);
/// Repeated orders that are listed by name.
const REPEATED_MAX: usize = 100;

/// Why a fleet could not run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The client could not be made.
    #[error("could not set up the client")]
    Client(#[from] ClientError),
    /// The address of the server is none.
    #[error("expected an address such as http://host:port/dm, got {0}")]
    Address(String),
    /// There are not as many addresses.
    #[error("expected at most {DEVICES_MAX} devices that can be asked to come, got {0}")]
    Addresses(u32),
    /// The socket for triggers could not be opened.
    #[error("could not listen for triggers")]
    Triggers(#[source] std::io::Error),
    /// The models' trees could not be planted.
    #[error("could not plant the trees of the models")]
    Trees(#[from] Box<dm_tree::TreeError>),
}

/// Runs a fleet until it is told to end, its time is over or all its devices are settled.
///
/// `progress` is called five times a second from within; it should be quick. Cancelling lets exchanges that are under
/// way come to their end.
///
/// # Errors
///
/// [`FleetError`] before anything runs. What goes wrong afterwards is in the report.
pub async fn run(
    fleet: Fleet,
    mut progress: impl FnMut(&Progress),
    cancel: CancellationToken,
) -> Result<FleetReport, FleetError> {
    let mut listener = match fleet.trigger_port {
        None => None,
        Some(_) if fleet.devices > DEVICES_MAX => return Err(FleetError::Addresses(fleet.devices)),
        Some(port) => Some(Listener::bind(port).await.map_err(FleetError::Triggers)?),
    };
    let mut heard = Vec::new();
    let mut running = Running::begin(fleet)?;
    let mut ticks = tokio::time::interval(PROGRESS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let ended_by = loop {
        let next_due = running.admit();
        if let Some(ending) = running.is_over() {
            break ending;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => break Ending::Cancelled,
            _ = ticks.tick() => {
                running.tick();
                progress(&running.tally.progress);
            }
            Some(done) = running.visits.join_next(), if !running.visits.is_empty() => running.settle(done),
            hearing = hear(&mut listener, &mut heard) => {
                if let Err(error) = hearing {
                    tracing::warn!(%error, "socket for triggers failed");
                }
                running.call(&mut heard);
            }
            () = tokio::time::sleep(next_due.unwrap_or(PROGRESS)) => {}
        }
    };
    while let Some(done) = running.visits.join_next().await {
        running.settle(done);
    }
    let report = running.report(ended_by);
    progress(&running.tally.progress);
    Ok(report)
}

/// Waits for triggers; for ever where nobody listens.
async fn hear(listener: &mut Option<Listener>, heard: &mut Vec<(u32, Vec<u8>)>) -> std::io::Result<()> {
    match listener {
        Some(listener) => listener.hear(heard).await,
        None => std::future::pending().await,
    }
}

struct Running {
    fleet: Fleet,
    context: Arc<Context>,
    tally: Tally,
    /// Devices that are not having their turn, by number.
    devices: Vec<Option<SimDevice>>,
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// When each device is due: what `due` says of it besides is out of date.
    due_at: Vec<Timestamp>,
    visits: JoinSet<Visit>,
    begun: Instant,
    started: Timestamp,
}

impl Running {
    fn begin(fleet: Fleet) -> Result<Self, FleetError> {
        let address = fleet.url.parse::<http::Uri>().ok();
        if !address.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            return Err(FleetError::Address(fleet.url));
        }
        let started = Timestamp::now();
        let setup = Setup::new(
            fleet.seed,
            &fleet.url,
            fleet.mix.clone(),
            fleet.faults.clone(),
            fleet.timing.clone(),
            started,
        )
        .map_err(Box::new)?;
        let setup = Arc::new(setup);
        let context = Arc::new(Context {
            client: Client::new(fleet.client.clone())?,
            downloaded: AtomicU64::new(0),
            first_broken: OnceLock::new(),
        });
        let devices: Vec<_> =
            (0..fleet.devices).map(|number| Some(SimDevice::new(setup.clone(), number, started))).collect();
        // Each asks for its first turn at once, and then says when it really wants it.
        let due = (0..fleet.devices).map(|number| Reverse((started, number))).collect();
        let due_at = vec![started; fleet.devices as usize];
        let begun = Instant::now();
        let tally = Tally::new(fleet.devices, begun);
        Ok(Self { fleet, context, tally, devices, due, due_at, visits: JoinSet::new(), begun, started })
    }

    /// Gives turns to those that are due, as long as there is room; the time until the next one is due.
    fn admit(&mut self) -> Option<Duration> {
        let now = Timestamp::now();
        while self.visits.len() < self.fleet.active_max.max(1) {
            let Reverse((at, number)) = *self.due.peek()?;
            if at > now {
                return Duration::try_from(at.duration_since(now)).ok();
            }
            self.due.pop();
            if self.due_at[number as usize] != at {
                continue;
            }
            let Some(mut device) = self.devices.get_mut(number as usize).and_then(Option::take) else {
                continue;
            };
            // Most of those that only want to wait longer need no task to say so.
            match device.next_action(now) {
                dm_sim::Action::Wait { until } => {
                    self.schedule(number, until);
                    self.devices[number as usize] = Some(device);
                    continue;
                }
                dm_sim::Action::Gone => {
                    self.devices[number as usize] = Some(device);
                    continue;
                }
                _ => {}
            }
            let waited = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            let context = self.context.clone();
            self.visits.spawn(async move { visit(&context, device, waited).await });
        }
        // No room: a visit has to end first.
        None
    }

    fn settle(&mut self, done: Result<Visit, tokio::task::JoinError>) {
        let mut visit = match done {
            Ok(visit) => visit,
            Err(error) => {
                // Only a fault of the generator itself comes here; the device is lost, and its report shows it.
                tracing::error!(%error, "a visit panicked");
                return;
            }
        };
        self.tally.take(&mut visit, self.fleet.until.version.as_deref());
        let number = visit.device.number();
        if let Some(until) = visit.until {
            self.schedule(number, until);
        }
        self.devices[number as usize] = Some(visit.device);
    }

    fn schedule(&mut self, number: u32, at: Timestamp) {
        self.due_at[number as usize] = at;
        self.due.push(Reverse((at, number)));
    }

    /// Lets devices hear what came for them. One that is having its turn is with the server already.
    fn call(&mut self, heard: &mut Vec<(u32, Vec<u8>)>) {
        let now = Timestamp::now();
        for (number, octets) in heard.drain(..) {
            let Some(place) = self.devices.get_mut(number as usize) else { continue };
            let Some(device) = place else {
                self.tally.note_busy();
                continue;
            };
            if device.handle_trigger(now, &octets) == Triggered::Session {
                self.schedule(number, now);
            }
        }
    }

    fn tick(&mut self) {
        self.tally.progress.active = u32::try_from(self.visits.len()).unwrap_or(u32::MAX);
        self.tally.tick(Instant::now(), self.context.downloaded.load(Ordering::Relaxed));
    }

    fn is_over(&self) -> Option<Ending> {
        let until = &self.fleet.until;
        if until.duration.is_some_and(|duration| self.begun.elapsed() >= duration) {
            return Some(Ending::Duration);
        }
        let all_settled = until.version.is_some() && self.tally.settled == self.fleet.devices;
        let all_gone = self.due.is_empty() && self.visits.is_empty();
        (all_settled || all_gone).then_some(Ending::Settled)
    }

    fn report(&mut self, ended_by: Ending) -> FleetReport {
        let now = Instant::now();
        let octets = self.context.downloaded.load(Ordering::Relaxed);
        self.tally.progress.active = 0;
        let sample = self.tally.finish(now, octets);
        let duration = now.duration_since(self.begun);
        let tally = &mut self.tally;
        let per_s = |count: u64| count as f64 / duration.as_secs_f64().max(1e-9);
        let peak =
            tally.samples.iter().map(|row| row.sessions).max().unwrap_or(0) as f64 / sample.as_secs_f64();
        tally.downloads.octets = octets;
        FleetReport {
            url: self.fleet.url.clone(),
            seed: self.fleet.seed,
            devices: self.fleet.devices,
            mix: self.fleet.mix.clone(),
            faults: self.fleet.faults.clone(),
            started: self.started,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            ended_by,
            sessions: Sessions {
                done: tally.progress.sessions,
                broken: tally.broken.clone(),
                messages: tally.progress.messages,
                per_s: per_s(tally.progress.sessions),
                per_s_peak: peak,
                messages_per_s: per_s(tally.progress.messages),
            },
            latency_us: Latency::of(&tally.latency),
            latency_with_wait_us: Latency::of(&tally.latency_with_wait),
            answers: tally.answers.clone(),
            first_broken: self.context.first_broken.get().cloned(),
            outcomes: outcomes(&self.devices),
            versions: versions(&self.devices),
            models: models(&self.devices),
            reports: tally.reports.clone(),
            faults_injected: tally.faults.clone(),
            triggers: tally.triggers.clone(),
            downloads: tally.downloads.clone(),
            execs: execs(&self.devices),
            connections: self.context.client.connects(),
            samples: tally.samples.clone(),
            sample_ms: u64::try_from(sample.as_millis()).unwrap_or(u64::MAX),
            notes: Vec::new(),
            finals: finals(&self.devices),
        }
    }
}

fn outcomes(devices: &[Option<SimDevice>]) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for device in devices {
        let name = match device {
            None => "lost by the generator".to_owned(),
            Some(device) if device.is_gone() => "silent for ever".to_owned(),
            Some(device) if device.is_updating() => "updating, or about to report".to_owned(),
            Some(device) => match device.last_report() {
                None => "no update asked for".to_owned(),
                Some(code) => format!("reported {code}"),
            },
        };
        *outcomes.entry(name).or_default() += 1;
    }
    outcomes
}

fn finals(devices: &[Option<SimDevice>]) -> Vec<Final> {
    let last = |device: &SimDevice| Final {
        id: device.identity().id,
        version: device.version().to_owned(),
        last_report: device.last_report(),
        is_gone: device.is_gone(),
    };
    devices.iter().flatten().map(last).collect()
}

fn versions(devices: &[Option<SimDevice>]) -> BTreeMap<String, u64> {
    let mut versions = BTreeMap::new();
    for device in devices.iter().flatten() {
        *versions.entry(device.version().to_owned()).or_default() += 1;
    }
    versions
}

fn models(devices: &[Option<SimDevice>]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut models: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for device in devices.iter().flatten() {
        let model = format!("{} {}", device.model().maker, device.model().name);
        *models.entry(model).or_default().entry(device.version().to_owned()).or_default() += 1;
    }
    models
}

fn execs(devices: &[Option<SimDevice>]) -> Execs {
    let mut execs = Execs::default();
    for device in devices.iter().flatten() {
        for count in device.fumo().execs() {
            execs.orders += 1;
            execs.received += u64::from(count.times);
            execs.max_per_correlator = execs.max_per_correlator.max(count.times);
            if count.times > 1 && execs.repeated.len() < REPEATED_MAX {
                let (id, operation) = (device.identity().id, count.operation.node());
                execs
                    .repeated
                    .push(format!("{id}: {operation} of {} came {} times", count.correlator, count.times));
            }
        }
    }
    execs
}
