//! A device that says what a test tells it to, and a server that answers.
//!
//! Every session runs twice at once: one stays in memory, the other is stored and restored between any two
//! steps. They must not differ in anything they say.

use std::collections::VecDeque;

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    server::{Draft, Event, Handled, Input, ServerSession, Settings, Tag},
};
use jiff::Timestamp;
use syncml::{Command, Encoding, Limits, Message, Status, decode, encode};

pub(crate) const DEVICE: &str = "IMEI:350000000000006";
pub(crate) const SERVER_URL: &str = "https://dm.example.org/dm";

pub(crate) fn digest() -> [u8; 16] {
    auth::user_digest("dev-0042", "k9-Lantern")
}

pub(crate) fn nobody_asks() -> Account {
    Account { client: ClientAuth::None, server: None, nonces: Nonces::default() }
}

pub(crate) fn with_client(scheme: Scheme) -> Account {
    let client = ClientAuth::Password { scheme, user: "dev-0042".into(), digest: digest() };
    Account { client, server: None, nonces: Nonces::default() }
}

pub(crate) fn with_server(scheme: Scheme) -> Account {
    let server = ServerAuth { server_id: "dm.example.org".into(), password: "Quarry-7s".into(), scheme };
    let nonces = Nonces { server: Some((0xA0..=0xAF).collect()), ..Nonces::default() };
    Account { server: Some(server), nonces, ..nobody_asks() }
}

pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) account: Option<Account>,
    /// What the caller has of DevInfo.
    pub(crate) dev_info: Vec<(&'static str, &'static str)>,
    pub(crate) encoding: Encoding,
    pub(crate) now: Timestamp,
    /// Taken by the next WantsCommands.
    pub(crate) drafts: VecDeque<(Tag, Draft)>,
    pub(crate) artifact: Vec<u8>,
    pub(crate) session_id: &'static str,
    pub(crate) meta: &'static str,
    pub(crate) kept: Option<ServerSession>,
    stored: Option<Vec<u8>>,
    step: u8,
}

pub(crate) struct Answer {
    pub(crate) handled: Handled,
    pub(crate) events: Vec<Event>,
    pub(crate) bytes: Vec<u8>,
    encoding: Encoding,
}

impl Bench {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            settings: Settings::default(),
            account: Some(account),
            dev_info: Vec::new(),
            encoding: Encoding::Xml,
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            drafts: VecDeque::new(),
            artifact: Vec::new(),
            session_id: "2A",
            meta: "",
            kept: None,
            stored: None,
            step: 0,
        }
    }

    pub(crate) fn wbxml(mut self) -> Self {
        self.encoding = Encoding::Wbxml;
        self
    }

    pub(crate) fn meta(mut self, meta: &'static str) -> Self {
        self.meta = meta;
        self
    }

    pub(crate) fn draft(mut self, tag: Tag, draft: Draft) -> Self {
        self.drafts.push_back((tag, draft));
        self
    }

    /// A message with this header before `Meta`, and this body.
    pub(crate) fn send_with(&mut self, msg_id: u32, cred: &str, body: &str) -> Answer {
        let text = format!(
            "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
             <SessionID>{}</SessionID><MsgID>{msg_id}</MsgID><Target><LocURI>{SERVER_URL}</LocURI></Target>\
             <Source><LocURI>{DEVICE}</LocURI></Source>{cred}<Meta>{}</Meta></SyncHdr>\
             <SyncBody>{body}</SyncBody></SyncML>",
            self.session_id, self.meta,
        );
        self.send_text(&text)
    }

    pub(crate) fn send(&mut self, msg_id: u32, body: &str) -> Answer {
        self.send_with(msg_id, "", body)
    }

    pub(crate) fn send_text(&mut self, text: &str) -> Answer {
        let message = decode(Encoding::Xml, text.as_bytes(), &Limits::default()).unwrap();
        let mut body = Vec::new();
        encode(self.encoding, &message, &mut body);
        self.send_bytes(&body)
    }

    pub(crate) fn send_bytes(&mut self, body: &[u8]) -> Answer {
        self.step = self.step.wrapping_add(1);
        let message = decode(self.encoding, body, &Limits::default()).unwrap();
        let opened = || ServerSession::open(&message, self.encoding).unwrap();
        let mut kept = self.kept.take().unwrap_or_else(opened);
        let mut restored =
            self.stored.as_ref().map_or_else(opened, |record| ServerSession::decode(record).unwrap());
        let (handled, events, bytes) = self.one_step(&mut kept, &message, body);
        assert_eq!(self.one_step(&mut restored, &message, body), (handled, events.clone(), bytes.clone()));
        assert_eq!(kept.encode(), restored.encode());
        for event in &events {
            if let (Event::NoncesChanged { nonces, server_scheme }, Some(account)) =
                (event, &mut self.account)
            {
                account.nonces = nonces.clone();
                if let (Some(scheme), Some(server)) = (server_scheme, &mut account.server) {
                    server.scheme = *scheme;
                }
            }
        }
        if events.contains(&Event::WantsCommands) {
            self.drafts.clear();
        }
        if handled == Handled::Repeated {
            assert_eq!(self.stored.as_deref(), Some(&kept.encode()[..]), "a repetition changes nothing");
        }
        self.stored = Some(kept.encode());
        self.kept = Some(kept);
        Answer { handled, events, bytes, encoding: self.encoding }
    }

    fn one_step(
        &self,
        session: &mut ServerSession,
        message: &Message<'_>,
        body: &[u8],
    ) -> (Handled, Vec<Event>, Vec<u8>) {
        let input = Input {
            now: self.now,
            encoding: self.encoding,
            message,
            body,
            account: self.account.as_ref(),
            dev_info: &self.dev_info,
            entropy: [self.step; 32],
        };
        let handled = session.handle_message(&self.settings, input);
        let mut events = Vec::new();
        let mut drafts = self.drafts.clone();
        while let Some(event) = session.poll_event() {
            match &event {
                Event::WantsCommands => {
                    for (tag, draft) in drafts.drain(..) {
                        session.enqueue(tag, draft).unwrap();
                    }
                }
                Event::WantsChunk { offset, len, .. } => {
                    let offset = usize::try_from(*offset).unwrap();
                    session.supply_chunk(&self.artifact[offset..offset + len]);
                }
                _ => {}
            }
            events.push(event);
        }
        let mut reply = Vec::new();
        session.write_reply(&self.settings, &mut reply);
        events.extend(std::iter::from_fn(|| session.poll_event()));
        (handled, events, reply)
    }

    pub(crate) fn restore(&mut self, record: &[u8]) {
        self.stored = Some(record.to_vec());
        self.kept = Some(ServerSession::decode(record).unwrap());
    }

    pub(crate) fn record_len(&self) -> usize {
        self.stored.as_ref().map_or(0, Vec::len)
    }
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        decode(self.encoding, &self.bytes, &Limits::default()).unwrap()
    }

    /// `CmdRef`, `Cmd` and code of each Status, in order; with `#` and the item where one is named.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let message = self.message();
        let format = |status: &Status<'_>| {
            let named = if status.cmd == "SyncHdr" { None } else { status.source_refs.first() };
            let item = named.map(|uri| format!(" #{uri}")).unwrap_or_default();
            format!("{} {} {}{item}", status.cmd_ref, status.cmd, status.data.0)
        };
        let statuses = message.body.commands.iter().filter_map(|command| match command {
            Command::Status(status) => Some(format(status)),
            _ => None,
        });
        statuses.collect()
    }

    /// The commands that are no Status: name, `CmdID` and targets.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.message().body.commands.iter().filter_map(describe).collect()
    }

    pub(crate) fn is_final(&self) -> bool {
        self.message().body.is_final
    }

    /// Type and nonce of the challenge in the Status for SyncHdr.
    pub(crate) fn chal(&self) -> Option<(String, Option<Vec<u8>>)> {
        let message = self.message();
        let Some(Command::Status(status)) = message.body.commands.first() else { return None };
        let chal = status.chal.as_ref()?;
        let nonce = chal.next_nonce.as_deref().map(|nonce| auth::parse_base64(nonce).unwrap());
        Some((chal.type_.as_deref().unwrap_or_default().to_owned(), nonce))
    }

    pub(crate) fn cred(&self) -> Option<String> {
        self.message().hdr.cred.map(|cred| cred.data.into_owned())
    }
}

fn describe(command: &Command<'_>) -> Option<String> {
    let items = |cmd_id: &str, name: &str, items: &[syncml::Item<'_>]| {
        let uris = items.iter().filter_map(|item| item.target.as_ref().or(item.source.as_ref()));
        let uris: Vec<&str> = uris.map(|location| location.loc_uri.as_ref()).collect();
        let more = if items.iter().any(|item| item.more_data) { " more" } else { "" };
        Some(format!("{cmd_id} {name} {}{more}", uris.join(" ")).trim_end().to_owned())
    };
    match command {
        Command::Status(_) => None,
        Command::Add(c) => items(&c.cmd_id, "Add", &c.items),
        Command::Replace(c) => items(&c.cmd_id, "Replace", &c.items),
        Command::Delete(c) => items(&c.cmd_id, "Delete", &c.items),
        Command::Get(c) => items(&c.cmd_id, "Get", &c.items),
        Command::Exec(c) => items(&c.cmd_id, "Exec", &c.items),
        Command::Copy(c) => items(&c.cmd_id, "Copy", &c.items),
        Command::Alert(c) => items(&c.cmd_id, &format!("Alert {}", c.code.unwrap_or(0)), &c.items),
        Command::Sequence(group) | Command::Atomic(group) => {
            let inner: Vec<String> = group.commands.iter().filter_map(describe).collect();
            let name = if matches!(command, Command::Atomic(_)) { "Atomic" } else { "Sequence" };
            Some(format!("{} {name} ({})", group.cmd_id, inner.join(", ")))
        }
        other => Some(format!("{other:?}")),
    }
}

/// Alert 1201 and DevInfo, numbered from `first`, and Final.
pub(crate) fn package_1(first: u32) -> String {
    format!(
        "<Alert><CmdID>{first}</CmdID><Data>1201</Data></Alert><Replace><CmdID>{}</CmdID>\
         <Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>{DEVICE}</Data></Item>\
         <Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Example Works</Data></Item>\
         </Replace><Final/>",
        first + 1
    )
}

pub(crate) fn status(cmd_id: u32, msg_ref: u32, cmd_ref: &str, cmd: &str, code: u16) -> String {
    format!(
        "<Status><CmdID>{cmd_id}</CmdID><MsgRef>{msg_ref}</MsgRef><CmdRef>{cmd_ref}</CmdRef><Cmd>{cmd}</Cmd>\
         <Data>{code}</Data></Status>"
    )
}

/// A Status for our header with a challenge in it.
pub(crate) fn header_status(msg_ref: u32, code: u16, type_: &str, nonce: Option<&[u8]>) -> String {
    let nonce = nonce.map(|nonce| {
        format!("<NextNonce xmlns=\"syncml:metinf\">{}</NextNonce>", auth::format_base64(nonce))
    });
    format!(
        "<Status><CmdID>1</CmdID><MsgRef>{msg_ref}</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Chal><Meta>\
         <Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">{type_}</Type>{}</Meta></Chal>\
         <Data>{code}</Data></Status>",
        nonce.unwrap_or_default()
    )
}

pub(crate) fn cred(type_: &str, data: &str) -> String {
    format!(
        "<Cred><Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">{type_}</Type>\
         </Meta><Data>{data}</Data></Cred>"
    )
}

pub(crate) fn md5(nonce: &[u8]) -> String {
    cred(auth::MD5, &auth::md5_credential_base64(&digest(), nonce))
}

pub(crate) fn get(uris: &[&'static str]) -> Draft {
    Draft::Get(uris.iter().map(|uri| (*uri).into()).collect())
}
