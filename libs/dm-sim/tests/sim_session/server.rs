//! The server of a run: sessions and an account in a store, and a process that may die between its writes.

use std::collections::{BTreeMap, BTreeSet};

use dm_protocol::{
    Account, ClientAuth, Nonces,
    server::{Draft, DraftItem, DraftValue, Event, Handled, Input, ServerSession, Settings, Tag},
};
use dm_sim::{Chance, Encoding};
use jiff::Timestamp;
use syncml::{Command, Limits, Message, decode};

use crate::script::{Script, artifact};

/// What is stored of a session.
#[derive(Clone)]
struct Stored {
    record: Vec<u8>,
    script: Script,
}

pub(crate) struct Server {
    seed: u64,
    chance: Chance,
    settings: Settings,
    pub(crate) account: Account,
    pub(crate) max_msg_size: Option<u32>,
    sessions: BTreeMap<String, Stored>,
    next_tag: Tag,
    /// Of a message: the process dies after the account was written and before the record was.
    dies: f64,
    nonces: BTreeSet<Vec<u8>>,
    answers: BTreeSet<Vec<u8>>,
    written: Vec<(DraftItem, Vec<u8>)>,
    results: Vec<(String, dm_tree::Leaf)>,
    pub(crate) ended: u64,
    pub(crate) outcomes: u64,
}

impl Server {
    pub(crate) fn new(seed: u64, chance: &mut Chance) -> Self {
        let settings = Settings {
            max_msg_size: 2000 + u32::try_from(chance.below(6000)).unwrap(),
            max_obj_size: 5000 + u32::try_from(chance.below(10_000)).unwrap(),
            reply_size_max: 2000 + u32::try_from(chance.below(6000)).unwrap(),
            resp_uri: chance.hits(0.5).then(|| "https://dm.example.org/dm?s=".into()),
            server_uri: crate::device::SERVER_ID.into(),
            auth_attempts_max: 4,
            ..Settings::default()
        };
        Self {
            seed,
            chance: Chance::new(seed, 0, "server"),
            settings,
            account: Account { client: ClientAuth::None, server: None, nonces: Nonces::default() },
            max_msg_size: None,
            sessions: BTreeMap::new(),
            next_tag: 0,
            dies: 0.05,
            nonces: BTreeSet::new(),
            answers: BTreeSet::new(),
            written: Vec::new(),
            results: Vec::new(),
            ended: 0,
            outcomes: 0,
        }
    }

    pub(crate) fn heal(&mut self) {
        self.dies = 0.0;
    }

    /// The device begins a session; the store may have forgotten the one that had its number.
    pub(crate) fn begin(&mut self, session_id: &str) {
        if self.chance.hits(0.5) {
            self.sessions.remove(session_id);
        }
    }

    /// Whether the session is over, and every command it sent has its outcome.
    pub(crate) fn check_ended(&self, session_id: &str) -> bool {
        let Some(stored) = self.sessions.get(session_id) else { return false };
        ServerSession::decode(&stored.record).unwrap().is_over()
    }

    pub(crate) fn take_written(&mut self) -> Vec<(DraftItem, Vec<u8>)> {
        std::mem::take(&mut self.written)
    }

    pub(crate) fn take_results(&mut self) -> Vec<(String, dm_tree::Leaf)> {
        std::mem::take(&mut self.results)
    }

    /// One step: load, decide, write effects, write the record, answer. `None`: the process died on the way.
    pub(crate) fn answer(&mut self, now: Timestamp, body: &[u8]) -> Option<Vec<u8>> {
        let encoding = Encoding::of(None, body).unwrap();
        let message = decode(encoding, body, &Limits::default())
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let session_id = message.hdr.session_id.to_string();
        let stored = self.sessions.get(&session_id).cloned();
        let mut script = stored.as_ref().map(|stored| stored.script.clone());
        let mut session = match &stored {
            Some(stored) => ServerSession::decode(&stored.record).unwrap(),
            None => ServerSession::open(&message, encoding).unwrap(),
        };
        let entropy: [u8; 32] = std::array::from_fn(|_| self.chance.draw().to_le_bytes()[0]);
        let account = self.account.clone();
        let input =
            Input { now, encoding, message: &message, body, account: Some(&account), dev_info: &[], entropy };
        let handled = session.handle_message(&self.settings, input);
        if stored.is_none() || handled == Handled::Restarted {
            script = Some(Script::by(&mut self.chance, &mut self.next_tag, 8));
        }
        let mut script = script.unwrap();
        let was_over = session.is_over();
        let events = self.work_off(&mut session, &mut script);
        let mut reply = Vec::new();
        session.write_reply(&self.settings, &mut reply);
        let last: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
        last.iter().for_each(|event| script.hear(event));
        self.check_reply(&message, handled, &reply, encoding);
        if handled == Handled::Repeated {
            assert!(events.is_empty() && last.is_empty(), "seed {}: a repetition had events", self.seed);
            return Some(reply);
        }
        for event in events.iter().chain(&last) {
            self.note(event, &script);
        }
        if self.chance.hits(self.dies) {
            return None;
        }
        if session.is_over() && (!was_over || handled == Handled::New) {
            script.check_outcomes(self.seed);
            self.ended += 1;
            self.outcomes += u64::try_from(script.outcomes.len()).unwrap();
        }
        self.sessions.insert(session_id, Stored { record: session.encode(), script });
        Some(reply)
    }

    fn work_off(&mut self, session: &mut ServerSession, script: &mut Script) -> Vec<Event> {
        let artifact = artifact();
        let mut events = Vec::new();
        while let Some(event) = session.poll_event() {
            script.hear(&event);
            match &event {
                Event::WantsCommands => {
                    for (tag, draft) in script.next_package() {
                        session
                            .enqueue(tag, draft)
                            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
                    }
                }
                Event::WantsChunk { offset, len, .. } => {
                    let offset = usize::try_from(*offset).unwrap();
                    session.supply_chunk(&artifact[offset..offset + len]);
                }
                // Durable before the answer leaves, and before the record.
                Event::NoncesChanged { nonces, server_scheme } => {
                    self.account.nonces = nonces.clone();
                    if let (Some(scheme), Some(server)) = (server_scheme, &mut self.account.server) {
                        server.scheme = *scheme;
                    }
                }
                _ => {}
            }
            events.push(event);
        }
        events
    }

    fn note(&mut self, event: &Event, script: &Script) {
        match event {
            Event::Status { tag, target: None, code, .. } if code.0 == 200 => {
                let Some(Draft::Add(item)) = script.enqueued.get(tag) else { return };
                let value = match &item.value {
                    DraftValue::Inline(value) => value.clone(),
                    DraftValue::Artifact { .. } => artifact(),
                };
                self.written.push((item.clone(), value));
            }
            Event::Result { uri, leaf, .. } => self.results.push((uri.clone(), leaf.clone())),
            _ => {}
        }
    }

    /// What holds for every answer.
    fn check_reply(&mut self, message: &Message<'_>, handled: Handled, reply: &[u8], encoding: Encoding) {
        let seed = self.seed;
        let limit = self.max_msg_size.unwrap_or(u32::MAX).min(self.settings.reply_size_max);
        let size = u32::try_from(reply.len()).unwrap();
        assert!(size <= limit, "seed {seed}: {size} octets of at most {limit}");
        let answer = decode(encoding, reply, &Limits::default()).unwrap();
        let mut refs = Vec::new();
        for command in &answer.body.commands {
            if let Command::Status(status) = command
                && status.msg_ref == Some(message.hdr.msg_id)
            {
                refs.push(status.cmd_ref.to_string());
            }
        }
        if handled != Handled::Repeated {
            assert_eq!(
                refs.first().map(String::as_str),
                Some("0"),
                "seed {seed}: no Status for SyncHdr first"
            );
            let order: Vec<&str> = message.body.commands.iter().map(cmd_id).collect();
            let places: Vec<Option<usize>> =
                refs[1..].iter().map(|one| order.iter().position(|id| id == one)).collect();
            assert!(places.is_sorted() && !places.contains(&None), "seed {seed}: {refs:?} for {order:?}");
        }
        // A nonce is handed out once; the answer that has it may be sent twice.
        let Some(Command::Status(header)) = answer.body.commands.first() else { return };
        let nonce = header.chal.as_ref().and_then(|chal| chal.next_nonce.as_deref());
        if let Some(nonce) = nonce
            && self.answers.insert(reply.to_vec())
        {
            let is_new = self.nonces.insert(nonce.as_bytes().to_vec());
            assert!(is_new, "seed {seed}: the nonce {nonce} was handed out before");
        }
    }
}

fn cmd_id<'a>(command: &'a Command<'_>) -> &'a str {
    match command {
        Command::Alert(alert) => &alert.cmd_id,
        Command::Replace(replace) => &replace.cmd_id,
        Command::Results(results) => &results.cmd_id,
        Command::Status(status) => &status.cmd_id,
        _ => "",
    }
}
