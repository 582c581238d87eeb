//! A whole device without I/O: it says what it wants to do, and is told what came of it.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use dm_notification::{Received, ServerKey};
use dm_objects::{
    fumo::{FumoAlert, FumoResult, Operation},
    outcome::ResultClass,
};
use dm_tree::{Tree, TreeError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Chance, DeviceIdentity, Download, FaultPlan, Fumo, Head, Mix, Outcome,
    model::{CATALOGUE, Model},
    note::{Fault, Note, Triggered},
    talk::{Heard, Talk},
};

/// How long things take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// From one visit to the next, give or take a tenth; the first one is spread over it.
    pub poll_ms: u64,
    /// The same of the devices that come rarely, from their second visit on.
    pub rare_poll_ms: u64,
    /// How many of a hundred devices come rarely.
    pub rare_percent: u8,
    /// To install a package and start again.
    pub install_ms: RangeInclusive<u64>,
    /// Until a message without an answer is sent again; doubled each time.
    pub resend_ms: u64,
    /// A slow device's thinking.
    pub slow_ms: RangeInclusive<u64>,
}

impl Default for Timing {
    /// A fleet in a hurry: everything within seconds, so that a campaign can be watched.
    fn default() -> Self {
        Self {
            poll_ms: 5_000,
            rare_poll_ms: 3_600_000,
            rare_percent: 0,
            install_ms: 500..=2_000,
            resend_ms: 500,
            slow_ms: 1_000..=3_000,
        }
    }
}

/// What all devices of a fleet share.
#[derive(Clone, Debug)]
pub struct Setup {
    /// All chance follows from it.
    pub seed: u64,
    /// Where sessions begin.
    pub server_url: String,
    /// Credentials and encodings.
    pub mix: Mix,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// How long things take.
    pub timing: Timing,
    /// A tree for each model of the catalogue.
    trees: Vec<Tree>,
}

impl Setup {
    /// Plants the trees.
    ///
    /// # Errors
    ///
    /// None for the catalogue as it is.
    pub fn new(
        seed: u64,
        server_url: &str,
        mix: Mix,
        faults: FaultPlan,
        timing: Timing,
        now: Timestamp,
    ) -> Result<Self, TreeError> {
        let trees = CATALOGUE.iter().map(|model| model.tree(crate::SERVER_ID, server_url, now));
        let trees = trees.collect::<Result<_, _>>()?;
        Ok(Self { seed, server_url: server_url.to_owned(), mix, faults, timing, trees })
    }
}

/// What a device wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Post a message; then [`SimDevice::handle_reply`] or [`SimDevice::handle_broken`].
    Post {
        /// Where.
        url: String,
        /// The encoding's media type.
        content_type: &'static str,
        /// The message.
        body: Vec<u8>,
        /// Break off in the middle, then [`SimDevice::handle_broken`].
        cut: bool,
    },
    /// Fetch a package; then [`SimDevice::handle_head`], [`SimDevice::handle_data`] as often as it takes, and always
    /// [`SimDevice::handle_end`].
    Download {
        /// Where.
        url: String,
        /// The first octet.
        offset: u64,
        /// Break off after so many octets.
        cut_after: Option<u64>,
    },
    /// Nothing before then.
    Wait {
        /// When to ask again.
        until: Timestamp,
    },
    /// Nothing ever again.
    Gone,
}

/// A simulated device.
#[derive(Clone, Debug)]
pub struct SimDevice {
    setup: Arc<Setup>,
    number: u32,
    model: u8,
    sessions_started: u16,
    /// Sessions in a row that broke.
    broken_in_a_row: u8,
    /// A trigger came: the next session is the server's, with this id.
    trigger: Option<u16>,
    polls_rarely: bool,
    last_report: Option<u16>,
    tree: Tree,
    fumo: Fumo,
    chance: Chance,
    client_nonce: Option<Box<[u8]>>,
    server_nonce: Option<Box<[u8]>>,
    /// The one before: whether the server ever heard of a new one is not known where the last session broke.
    server_nonce_previous: Option<Box<[u8]>>,
    phase: Phase,
    notes: Vec<Note>,
}

#[derive(Clone, Debug)]
enum Phase {
    Idle { at: Timestamp },
    Session(Box<Talk>),
    Download(Box<Transfer>),
    Install { until: Timestamp, version: Box<str> },
    Gone,
}

#[derive(Clone, Debug)]
struct Transfer {
    download: Download,
    at: Timestamp,
    cut_after: Option<u64>,
}

impl SimDevice {
    /// The device of this number, switched on at `now`.
    pub fn new(setup: Arc<Setup>, number: u32, now: Timestamp) -> Self {
        let identity = DeviceIdentity::derive(setup.seed, number, &setup.mix);
        let mut tree = setup.trees[identity.model_index].clone();
        // The leaf is part of every model's tree.
        let _ = tree.set(dm_objects::dev_info::DEV_ID, identity.id.as_bytes(), now);
        let mut chance = Chance::new(setup.seed, u64::from(number), "life");
        let at = later(now, chance.below(setup.timing.poll_ms.max(1)));
        let lot = Chance::new(setup.seed, u64::from(number), "poll").below(100);
        let polls_rarely = lot < u64::from(setup.timing.rare_percent);
        Self {
            number,
            model: identity.model_index as u8,
            sessions_started: chance.below(0x7fff) as u16,
            broken_in_a_row: 0,
            trigger: None,
            polls_rarely,
            last_report: None,
            tree,
            fumo: Fumo::default(),
            chance,
            client_nonce: None,
            server_nonce: None,
            server_nonce_previous: None,
            phase: Phase::Idle { at },
            notes: Vec::new(),
            setup,
        }
    }

    /// Its number in the fleet.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Who it is.
    pub fn identity(&self) -> DeviceIdentity {
        DeviceIdentity::derive(self.setup.seed, self.number, &self.setup.mix)
    }

    /// What it is.
    pub fn model(&self) -> &'static Model {
        &CATALOGUE[usize::from(self.model)]
    }

    /// Its tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The version of its firmware, as its tree says.
    pub fn version(&self) -> &str {
        self.tree.text(dm_objects::dev_detail::FW_V).unwrap_or_default()
    }

    /// Its firmware side, with the count of every Exec.
    pub fn fumo(&self) -> &Fumo {
        &self.fumo
    }

    /// The result code of the last report on an update (or a download that failed) that the server took.
    pub fn last_report(&self) -> Option<u16> {
        self.last_report
    }

    /// It will never do anything again.
    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// An update is accepted and its report not taken yet.
    pub fn is_updating(&self) -> bool {
        self.fumo.order().is_some() || !self.fumo.alerts().is_empty()
    }

    /// It is in a session.
    pub fn is_in_session(&self) -> bool {
        matches!(self.phase, Phase::Session(_))
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// A notification came (Package #0): a session begins at once if it is the server's, and none is going on.
    pub fn handle_trigger(&mut self, now: Timestamp, octets: &[u8]) -> Triggered {
        let triggered = self.trigger(now, octets);
        self.notes.push(match triggered {
            None => Note::Fault(Fault::TriggerLost),
            Some(triggered) => Note::Trigger(triggered),
        });
        triggered.unwrap_or(Triggered::Refused)
    }

    /// What comes of a notification; `None` when it is lost by plan.
    fn trigger(&mut self, now: Timestamp, octets: &[u8]) -> Option<Triggered> {
        if self.chance.hits(self.setup.faults.trigger_lost) {
            return None;
        }
        let Phase::Idle { at } = &mut self.phase else { return Some(Triggered::Busy) };
        let identity = DeviceIdentity::derive(self.setup.seed, self.number, &self.setup.mix);
        let key = ServerKey::derive(&identity.server_id, &identity.server_password);
        let nonces = [&self.server_nonce, &self.server_nonce_previous];
        let received = Received::parse(octets).ok().filter(|received| {
            let is_made_with =
                |nonce: &Option<Box<[u8]>>| received.verify(&key, nonce.as_deref().unwrap_or_default());
            received.notification.server_id == identity.server_id && nonces.into_iter().any(is_made_with)
        });
        let Some(received) = received else { return Some(Triggered::Refused) };
        *at = now;
        self.trigger = Some(received.notification.session_id);
        Some(Triggered::Session)
    }

    /// What it wants to do now.
    pub fn next_action(&mut self, now: Timestamp) -> Action {
        if let Phase::Install { until, .. } = &self.phase {
            if now < *until {
                return Action::Wait { until: *until };
            }
            self.finish_install(now);
        }
        if let Phase::Idle { at } = &self.phase {
            if now < *at {
                return Action::Wait { until: *at };
            }
            self.begin_session(now);
        }
        match &self.phase {
            Phase::Session(talk) => talk.action(now),
            Phase::Download(transfer) if now < transfer.at => Action::Wait { until: transfer.at },
            Phase::Download(transfer) => Action::Download {
                url: transfer.download.url().to_owned(),
                offset: transfer.download.offset(),
                cut_after: transfer.cut_after,
            },
            // Installing and idling have ended above.
            Phase::Install { until, .. } | Phase::Idle { at: until } => Action::Wait { until: *until },
            Phase::Gone => Action::Gone,
        }
    }

    fn begin_session(&mut self, now: Timestamp) {
        // Session ids are told apart by servers for a while, so they count.
        self.sessions_started = self.sessions_started % 0x7fff + 1;
        let trigger = self.trigger.take();
        let identity = self.identity();
        self.server_nonce_previous.clone_from(&self.server_nonce);
        let nonces = (self.client_nonce.take().map(Vec::from), self.server_nonce.take().map(Vec::from));
        let mut talk = Talk::begin(
            &self.setup,
            &identity,
            nonces,
            &self.fumo,
            &self.tree,
            trigger.unwrap_or(self.sessions_started),
            trigger.is_some(),
        );
        talk.prepare(&self.setup, &mut self.chance, &mut self.notes, now);
        self.phase = Phase::Session(Box::new(talk));
    }

    /// An answer came, with this HTTP status.
    pub fn handle_reply(&mut self, now: Timestamp, status: u16, retry_after_s: Option<u64>, body: &[u8]) {
        let Phase::Session(talk) = &mut self.phase else { return };
        let Self { setup, chance, notes, tree, fumo, number, model, .. } = self;
        let model = &CATALOGUE[usize::from(*model)];
        let mut host = crate::talk::SimHost { setup, number: *number, model, fumo, notes, now };
        match talk.handle_reply(chance, &mut host, tree, status, retry_after_s, body) {
            Heard::GoesOn => {}
            Heard::Done => self.end_session(now, None),
            Heard::Broken(why) => self.end_session(now, Some(why)),
        }
    }

    /// No answer came.
    pub fn handle_broken(&mut self, now: Timestamp) {
        let Phase::Session(talk) = &mut self.phase else { return };
        if let Heard::Broken(why) = talk.handle_broken(&self.setup, now) {
            self.end_session(now, Some(why));
        }
    }

    fn end_session(&mut self, now: Timestamp, why: Option<&'static str>) {
        let Phase::Session(talk) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        let end = talk.finish();
        self.client_nonce = end.client_nonce.map(Vec::into_boxed_slice);
        self.server_nonce = end.server_nonce.map(Vec::into_boxed_slice);
        self.note_reports(&end.accepted_alerts);
        self.notes.push(match why {
            None => Note::SessionDone { messages: end.messages },
            Some(why) => Note::SessionBroken { why },
        });
        self.broken_in_a_row = if why.is_some() { self.broken_in_a_row.saturating_add(1) } else { 0 };
        self.phase = self.next_phase(now);
    }

    fn note_reports(&mut self, accepted: &[usize]) {
        for &index in accepted {
            let Some(alert) = self.fumo.alerts().get(index) else { continue };
            let operation = match FumoAlert::parse(alert.type_) {
                Some(FumoAlert::Ended(operation)) => Some(operation),
                _ => None,
            };
            let is_success = FumoResult::from_code(alert.code).class() == ResultClass::Success;
            if operation != Some(Operation::Download) || !is_success {
                self.last_report = Some(alert.code);
            }
            self.notes.push(Note::Reported { operation, code: alert.code });
        }
        self.fumo.handle_acknowledged(accepted);
    }

    /// After a session: the order that was taken, or the next visit.
    fn next_phase(&mut self, now: Timestamp) -> Phase {
        let Some(order) = self.fumo.order().cloned() else {
            let timing = &self.setup.timing;
            let wait_ms = if self.broken_in_a_row > 0 || !self.fumo.alerts().is_empty() {
                // Something is left to say, so it comes back sooner than by its schedule.
                let backed_off = timing.resend_ms << self.broken_in_a_row.min(10);
                backed_off.min(timing.poll_ms) / 2 + self.chance.below(backed_off.min(timing.poll_ms) / 2 + 1)
            } else {
                let poll_ms = if self.polls_rarely { timing.rare_poll_ms } else { timing.poll_ms };
                poll_ms - poll_ms / 10 + self.chance.below(poll_ms / 5 + 1)
            };
            return Phase::Idle { at: later(now, wait_ms) };
        };
        if order.fate.silent {
            self.notes.push(Note::Fault(Fault::Silent));
            return Phase::Gone;
        }
        if order.operation == Operation::Update {
            return self.install(now, None);
        }
        self.transfer(now, Download::new(order.url))
    }

    fn transfer(&mut self, at: Timestamp, download: Download) -> Phase {
        let is_cut = self.chance.hits(self.setup.faults.cut);
        let octets = 1 + self.chance.below(64 * 1024);
        Phase::Download(Box::new(Transfer { download, at, cut_after: is_cut.then_some(octets) }))
    }

    /// The answer to a download begins.
    pub fn handle_head(&mut self, head: &Head) {
        if let Phase::Download(transfer) = &mut self.phase {
            if head.status == 206 && head.start > 0 {
                self.notes.push(Note::Resumed);
            }
            transfer.download.handle_head(head);
        }
    }

    /// Octets of a download.
    pub fn handle_data(&mut self, data: &[u8]) {
        if let Phase::Download(transfer) = &mut self.phase {
            transfer.download.handle_data(data);
        }
    }

    /// A transfer has ended: whole, as far as HTTP says, or broken off.
    pub fn handle_end(&mut self, now: Timestamp, is_whole: bool) {
        let Phase::Download(transfer) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        let Transfer { mut download, cut_after, .. } = *transfer;
        if !is_whole && cut_after.is_some() {
            self.notes.push(Note::Fault(Fault::CutDownload));
        }
        let model = self.model();
        self.phase = match download.handle_end(is_whole) {
            Outcome::Again => {
                let pause_ms = if is_whole { 0 } else { self.setup.timing.resend_ms };
                self.transfer(later(now, pause_ms), download)
            }
            Outcome::Failed(result) => {
                self.notes.push(Note::DownloadFailed);
                self.fumo.handle_download_failed(model, &mut self.tree, result, now);
                Phase::Idle { at: now }
            }
            Outcome::Done { checked } => {
                self.notes.push(Note::Downloaded { checked });
                self.downloaded(now, &download)
            }
        };
    }

    fn downloaded(&mut self, now: Timestamp, download: &Download) -> Phase {
        let model = self.model();
        if let Some(result) = self.fumo.order().and_then(|order| order.fate.fails_download()) {
            self.notes.push(Note::Fault(Fault::Failing));
            self.fumo.handle_download_failed(model, &mut self.tree, result, now);
            return Phase::Idle { at: now };
        }
        if self.fumo.handle_downloaded(model, &mut self.tree, now) {
            return self.install(now, download.version());
        }
        Phase::Idle { at: now }
    }

    /// Begins to install. The new version is what the server wrote beside the package, else what its descriptor says.
    fn install(&mut self, now: Timestamp, described: Option<&str>) -> Phase {
        let written = self.tree.text(&format!("{}/PkgVersion", self.model().fumo_root));
        let version = written.filter(|version| !version.is_empty()).or(described).unwrap_or("unknown").into();
        let until = later(now, self.chance.millis(&self.setup.timing.install_ms));
        Phase::Install { until, version }
    }

    fn finish_install(&mut self, now: Timestamp) {
        let Phase::Install { version, .. } = std::mem::replace(&mut self.phase, Phase::Idle { at: now })
        else {
            return;
        };
        let fate = self.fumo.order().map(|order| order.fate).unwrap_or_default();
        let result = match fate.fails {
            Some(result) => {
                self.notes.push(Note::Fault(Fault::Failing));
                Err(result)
            }
            None if fate.keeps_version => {
                self.notes.push(Note::Fault(Fault::WrongVersion));
                Ok(None)
            }
            None => Ok(Some(&*version)),
        };
        let model = self.model();
        self.fumo.handle_installed(model, &mut self.tree, result, now);
    }
}

pub(crate) fn later(now: Timestamp, ms: u64) -> Timestamp {
    now.checked_add(Duration::from_millis(ms)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
