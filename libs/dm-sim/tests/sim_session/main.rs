//! Whole sessions of both sides against each other, message by message, over a link that loses, repeats and reorders, on a
//! server that dies between its writes. What must hold is checked at every step; then the faults stop, and all work must
//! finish. A failure names its seed, and `SIM_SEED=<seed>` runs that one alone. `SIM_SEEDS=<count>` runs as many.
#![allow(clippy::unwrap_used, reason = "a run that cannot go on stops there")]

mod device;
mod script;
mod server;

use dm_protocol::{
    device::{DeviceEnding, DeviceSession, GenericAlert, Step},
    server::DraftValue,
};
use dm_sim::{Chance, Link, LinkFaults};
use jiff::{Timestamp, ToSpan};

use crate::{device::Counter, server::Server};

const SEEDS: u64 = 200;
const SESSIONS: u64 = 6;
/// The device sends a message so often before it gives the session up.
const ATTEMPTS: u32 = 4;
/// Messages of one session after which it does not end any more.
const MESSAGES_MAX: u32 = 400;

#[test]
fn sessions_survive_a_bad_link_and_a_dying_server() {
    let wanted = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match wanted("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..wanted("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut total = Totals::default();
    for seed in seeds.clone() {
        let totals = Run::new(seed).play();
        total.sessions += totals.sessions;
        total.ended += totals.ended;
        total.outcomes += totals.outcomes;
        total.executed += totals.executed;
        total.written += totals.written;
        total.read += totals.read;
    }
    eprintln!("{total:?}");
    if seeds.end - seeds.start >= SEEDS {
        // The runs did what they are for.
        assert!(total.ended > SEEDS * 3 && total.executed > SEEDS / 2, "{total:?}");
        assert!(total.written > SEEDS / 2 && total.read > SEEDS, "{total:?}");
    }
}

#[test]
fn a_seed_runs_the_same_twice() {
    for seed in [1, 2, 3] {
        assert_eq!(Run::new(seed).play(), Run::new(seed).play(), "seed {seed}");
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    sessions: u64,
    ended: u64,
    outcomes: u64,
    executed: u64,
    /// Values written by Add that the device has octet by octet.
    written: u64,
    /// Values that came back as the device has them.
    read: u64,
}

struct Run {
    seed: u64,
    chance: Chance,
    now: Timestamp,
    link: Link,
    server: Server,
    host: Counter,
    totals: Totals,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0, "run");
        let rough = LinkFaults { request_lost: 0.08, reply_lost: 0.08, repeated: 0.08, late: 0.08 };
        Self {
            seed,
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            link: Link::new(seed, 0, rough),
            server: Server::new(seed, &mut chance),
            host: Counter::default(),
            totals: Totals::default(),
            chance,
        }
    }

    fn play(mut self) -> Totals {
        let config = device::config(&mut self.chance);
        let (mut credentials, account) = device::secrets(&mut self.chance);
        self.server.account = account;
        self.server.max_msg_size = config.max_msg_size;
        let mut tree = device::tree(self.now);
        for number in 1..=SESSIONS {
            if number == SESSIONS - 1 {
                self.link.heal();
                self.server.heal();
            }
            // Like clients that count from 1 and start again after a restart.
            let session_id = (number % 3 + 1).to_string();
            let alerts = if self.chance.hits(0.3) { vec![alert(number)] } else { Vec::new() };
            self.now += 60.seconds();
            self.server.begin(&session_id);
            let (mut session, body) =
                DeviceSession::start(config.clone(), credentials.clone(), alerts, &tree, &session_id);
            let ending = self.converse(&mut session, body, &mut tree);
            credentials = session.credentials().clone();
            self.totals.sessions += 1;
            self.check_device(&tree);
            if number >= SESSIONS - 1 {
                let server_ended = self.server.check_ended(&session_id);
                assert!(
                    ending == Some(DeviceEnding::Done) && server_ended,
                    "seed {}: session {number} ended with {ending:?}, on the server: {server_ended}",
                    self.seed
                );
            }
        }
        self.totals.ended = self.server.ended;
        self.totals.outcomes = self.server.outcomes;
        self.totals
    }

    /// One session, as far as it gets.
    fn converse(
        &mut self,
        session: &mut DeviceSession,
        first: Vec<u8>,
        tree: &mut dm_tree::Tree,
    ) -> Option<DeviceEnding> {
        let mut body = first;
        for _ in 0..MESSAGES_MAX {
            let reply = self.exchange(&body)?;
            let entropy: [u8; 12] = std::array::from_fn(|_| self.chance.draw().to_le_bytes()[0]);
            // A device may be switched off between any two messages, too.
            let stored = session.encode().unwrap();
            *session = DeviceSession::decode(&stored).unwrap();
            match session.handle_reply(self.now, entropy, &reply, tree, &mut self.host) {
                Ok(Step::Send { body: next, .. }) => body = next,
                Ok(Step::Done(ending)) => return Some(ending),
                Err(error) => panic!("seed {}: the device cannot take an answer: {error:?}", self.seed),
            }
        }
        panic!("seed {}: {MESSAGES_MAX} messages and no end", self.seed)
    }

    /// Sends a message until an answer is heard; `None` when the device gives up.
    fn exchange(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        for _ in 0..ATTEMPTS {
            self.now += 1.second();
            let mut heard = None;
            for delivery in self.link.send(body) {
                let reply = self.server.answer(self.now, &delivery.body);
                if delivery.is_heard {
                    heard = reply;
                }
            }
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    /// What ran on the device, and what it has, is what the server asked for.
    fn check_device(&mut self, tree: &dm_tree::Tree) {
        self.totals.executed = u64::try_from(self.host.runs.len()).unwrap();
        for (name, runs) in &self.host.runs {
            assert_eq!(*runs, 1, "seed {}: {name} ran {runs} times", self.seed);
        }
        for (item, value) in self.server.take_written() {
            let leaf = tree.leaf(dm_tree::normalise(&item.target));
            // A later command may have deleted it.
            if let Some(leaf) = leaf {
                assert!(
                    *leaf.value == *value,
                    "seed {}: {} {:?} has {} octets, and {} others were sent",
                    self.seed,
                    item.target,
                    item.format,
                    leaf.value.len(),
                    value.len()
                );
                assert!(matches!(item.value, DraftValue::Inline(_) | DraftValue::Artifact { .. }));
                self.totals.written += 1;
            }
        }
        for (uri, leaf) in self.server.take_results() {
            let Some(own) = tree.leaf(&uri) else { continue };
            let is_log = uri.starts_with("Log/") && uri != "Log/1";
            if is_log {
                let text = dm_protocol::auth::format_base64(&own.value);
                let is_same = leaf.value == own.value || *leaf.value == *text.as_bytes();
                assert!(is_same, "seed {}: {uri} came back with other octets", self.seed);
                self.totals.read += 1;
            }
        }
    }
}

fn alert(number: u64) -> GenericAlert {
    GenericAlert {
        code: 1226,
        correlator: Some(format!("report-{number}")),
        source: Some("./Run".into()),
        type_: Some("Reversed-Domain-Name: org.example.report".into()),
        format: Some("int".into()),
        mark: None,
        data: Some("200".into()),
    }
}
