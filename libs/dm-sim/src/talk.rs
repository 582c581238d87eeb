//! One session of a simulated device: the protocol's machine, with messages that get lost, repeated and cut.

use dm_protocol::{
    Scheme,
    device::{
        Challenge, ClientSecret, DeviceConfig, DeviceCredentials, DeviceEnding, DeviceError, DeviceSession,
        Exec, GenericAlert, Host, Quirks, ServerSecret, Step,
    },
};
use dm_tree::Tree;
use jiff::Timestamp;
use syncml::StatusCode;

use crate::{
    Auth, Chance, DeviceIdentity, Fate, Fumo, Setup,
    device::{Action, later},
    model::{CATALOGUE, Model, Version},
    note::{Fault, Note},
};

/// How often the same message is sent before the device gives the session up.
const SENDS_MAX: u8 = 6;
/// How often it comes back after a 503, before it does.
const TURNED_AWAY_MAX: u8 = 20;
/// The wait after a 503 that does not say how long.
const TURNED_AWAY_MS: u64 = 1_000;

/// What an answer did to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    GoesOn,
    Done,
    Broken(&'static str),
}

/// What is left of a session.
pub(crate) struct End {
    pub(crate) client_nonce: Option<Vec<u8>>,
    pub(crate) server_nonce: Option<Vec<u8>>,
    /// Which of the pending alerts the server took, ascending.
    pub(crate) accepted_alerts: Vec<usize>,
    pub(crate) messages: u32,
}

/// A session on its way.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    session: DeviceSession,
    content_type: &'static str,
    url: String,
    body: Vec<u8>,
    /// Not before.
    at: Timestamp,
    cut: bool,
    /// The answer to this message has been thrown away on purpose.
    is_repeat: bool,
    sends: u8,
    turned_away: u8,
    messages: u32,
}

impl Talk {
    pub(crate) fn begin(
        setup: &Setup,
        identity: &DeviceIdentity,
        (client_nonce, server_nonce): (Option<Vec<u8>>, Option<Vec<u8>>),
        fumo: &Fumo,
        tree: &Tree,
        session_number: u16,
        is_triggered: bool,
    ) -> Self {
        let model = &CATALOGUE[identity.model_index];
        let scheme = if identity.auth == Auth::Basic { Scheme::Basic } else { Scheme::Md5 };
        let has_secrets = identity.auth != Auth::None;
        let credentials = DeviceCredentials {
            server_id: identity.server_id.clone(),
            client: has_secrets.then(|| ClientSecret {
                user: identity.user.clone(),
                password: identity.password.clone(),
                scheme,
            }),
            server: has_secrets.then(|| ServerSecret { password: identity.server_password.clone(), scheme }),
            client_nonce,
            server_nonce,
        };
        let config = DeviceConfig {
            version: match model.version {
                Version::V11 => dm_protocol::device::Version::V1_1,
                Version::V12 => dm_protocol::device::Version::V1_2,
            },
            encoding: identity.encoding,
            server_initiated: is_triggered,
            max_msg_size: Some(model.max_msg_size),
            max_obj_size: Some(16 << 20),
            quirks: quirks(model, has_secrets),
            ..DeviceConfig::new(&identity.id, &setup.server_url)
        };
        let alerts = fumo.alerts().iter().map(|alert| GenericAlert {
            code: 1226,
            correlator: alert.correlator.as_deref().map(str::to_owned),
            source: Some(alert.source.clone()),
            type_: Some(alert.type_.to_owned()),
            format: Some(if model.reports_from_operation { "chr" } else { "int" }.to_owned()),
            mark: (alert.code >= 300).then(|| "critical".to_owned()),
            data: Some(alert.code.to_string()),
        });
        let session_id = format!("{session_number:X}");
        let (session, body) = DeviceSession::start(config, credentials, alerts.collect(), tree, &session_id);
        Self {
            session,
            content_type: identity.encoding.media_type(),
            url: setup.server_url.clone(),
            body,
            at: Timestamp::MIN,
            cut: false,
            is_repeat: false,
            sends: 0,
            turned_away: 0,
            messages: 0,
        }
    }

    /// A new message is ready: what will happen to it?
    pub(crate) fn prepare(
        &mut self,
        setup: &Setup,
        chance: &mut Chance,
        notes: &mut Vec<Note>,
        now: Timestamp,
    ) {
        self.sends = 0;
        self.is_repeat = false;
        self.at = now;
        if chance.hits(setup.faults.slow) {
            notes.push(Note::Fault(Fault::Slow));
            self.at = later(now, chance.millis(&setup.timing.slow_ms));
        }
        self.cut = chance.hits(setup.faults.cut);
        if self.cut {
            notes.push(Note::Fault(Fault::CutMessage));
        }
    }

    pub(crate) fn action(&self, now: Timestamp) -> Action {
        if now < self.at {
            return Action::Wait { until: self.at };
        }
        let (url, body) = (self.url.clone(), self.body.clone());
        Action::Post { url, content_type: self.content_type, body, cut: self.cut }
    }

    pub(crate) fn handle_broken(&mut self, setup: &Setup, now: Timestamp) -> Heard {
        self.cut = false;
        self.sends += 1;
        if self.sends >= SENDS_MAX {
            return Heard::Broken("no answer");
        }
        self.at = later(now, setup.timing.resend_ms << self.sends.min(6));
        Heard::GoesOn
    }

    pub(crate) fn handle_reply(
        &mut self,
        chance: &mut Chance,
        host: &mut SimHost<'_>,
        tree: &mut Tree,
        status: u16,
        retry_after_s: Option<u64>,
        body: &[u8],
    ) -> Heard {
        let (setup, now) = (host.setup, host.now);
        if chance.hits(setup.faults.reply_lost) {
            host.notes.push(Note::Fault(Fault::ReplyLost));
            return self.handle_broken(setup, now);
        }
        if chance.hits(setup.faults.repeated) && !self.is_repeat {
            host.notes.push(Note::Fault(Fault::Repeated));
            self.is_repeat = true;
            return Heard::GoesOn;
        }
        match status {
            200..=299 => {}
            429 | 503 => {
                host.notes.push(Note::TurnedAway);
                self.turned_away += 1;
                if self.turned_away >= TURNED_AWAY_MAX {
                    return Heard::Broken("turned away");
                }
                let wait_ms = retry_after_s.map_or(TURNED_AWAY_MS, |seconds| seconds.saturating_mul(1_000));
                // Not all at the same instant.
                self.at = later(now, wait_ms + chance.below(wait_ms.max(1)));
                return Heard::GoesOn;
            }
            500..=599 => return self.handle_broken(setup, now),
            _ => return Heard::Broken("refused by HTTP"),
        }
        self.messages += 1;
        let mut entropy = [0; 12];
        entropy[..8].copy_from_slice(&chance.draw().to_le_bytes());
        entropy[8..].copy_from_slice(&chance.draw().to_le_bytes()[..4]);
        match self.session.handle_reply(now, entropy, body, tree, host) {
            Ok(Step::Send { uri, body }) => {
                self.url = uri;
                self.body = body;
                self.prepare(setup, chance, host.notes, now);
                Heard::GoesOn
            }
            Ok(Step::Done(ending)) => heard(ending),
            // The answer to an earlier message: the one to this may still come.
            Err(DeviceError::OldMessage { .. }) => self.handle_broken(setup, now),
            Err(_) => Heard::Broken("an answer that is no message of the session"),
        }
    }

    pub(crate) fn finish(self) -> End {
        let mut accepted: Vec<usize> = self
            .session
            .alert_answers()
            .filter(|answer| (200..300).contains(&answer.code.0))
            .map(|answer| answer.index)
            .collect();
        accepted.sort_unstable();
        let credentials = self.session.credentials();
        End {
            client_nonce: credentials.client_nonce.clone(),
            server_nonce: credentials.server_nonce.clone(),
            accepted_alerts: accepted,
            messages: self.messages,
        }
    }
}

fn heard(ending: DeviceEnding) -> Heard {
    match ending {
        DeviceEnding::Done => Heard::Done,
        DeviceEnding::AbortedByServer => Heard::Broken("aborted by the server"),
        DeviceEnding::Aborted => Heard::Broken("aborted by the device"),
        DeviceEnding::Unauthenticated => Heard::Broken("the server does not take the credentials"),
        DeviceEnding::ServerUnauthenticated => Heard::Broken("the server could not prove itself"),
        DeviceEnding::Refused(_) => Heard::Broken("refused by the header's status"),
        DeviceEnding::Stalled => Heard::Broken("stalled"),
        _ => Heard::Broken("another end"),
    }
}

/// What the client of each model does differently, after clients that were watched.
fn quirks(model: &Model, has_secrets: bool) -> Quirks {
    let quirks = Quirks {
        challenge: if has_secrets { Challenge::WhenNeeded } else { Challenge::Never },
        ..Quirks::default()
    };
    match model.name {
        "A2 Tab" => Quirks { correlator_before_data: true, omits_loc_name: true, ..quirks },
        "Gateway 9" if has_secrets => Quirks {
            challenge: Challenge::Always,
            authenticates_each_message: true,
            results_apart: true,
            ..quirks
        },
        "Meter 4" => Quirks { results_apart: true, atomic: false, ..quirks },
        "Car 2" => Quirks { omits_status_cmd_id: true, ..quirks },
        _ => quirks,
    }
}

/// The device behind the session.
pub(crate) struct SimHost<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) number: u32,
    pub(crate) model: &'static Model,
    pub(crate) fumo: &'a mut Fumo,
    pub(crate) notes: &'a mut Vec<Note>,
    pub(crate) now: Timestamp,
}

impl Host for SimHost<'_> {
    fn exec(&mut self, tree: &mut Tree, exec: Exec<'_>) -> StatusCode {
        let (setup, number) = (self.setup, self.number);
        let draw = |correlator: &str| Fate::draw(setup.seed, number, correlator, &setup.faults);
        let uri = exec.uri.as_str();
        let code = self.fumo.handle_exec(self.model, tree, uri, exec.correlator, draw, self.now);
        if let Some(count) = self.fumo.latest_exec() {
            self.notes.push(Note::Exec { operation: count.operation, times: count.times });
        }
        code
    }
}
