//! A device to talk to, and the words to talk to it with: a server's messages are written here by hand.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use dm_protocol::device::{
    Answer, DeviceConfig, DeviceCredentials, DeviceError, DeviceSession, Exec, GenericAlert, Host,
    Interaction, Step,
};
use dm_tree::{Access, Acl, Format, Leaf, Node, Rules, Tree};
use jiff::Timestamp;
use syncml::{
    Alert, Command, Data, Group, Item, ItemCommand, Limits, Location, Message, Meta, Results, Status,
    StatusCode, SyncBody, SyncHdr, decode, encode,
};

pub const DEVICE: &str = "IMEI:350000000000006";
pub const URL: &str = "https://dm.example.org/dm";
pub const SERVER: &str = "dm.example.org";

/// Runs what the test says, and remembers what was asked.
#[derive(Default)]
pub struct TestHost {
    pub execs: Vec<(String, Option<String>, Option<Vec<u8>>)>,
    pub asked: Vec<String>,
    pub answer: Option<Answer>,
}

impl Host for TestHost {
    fn exec(&mut self, tree: &mut Tree, exec: Exec<'_>) -> StatusCode {
        let correlator = exec.correlator.map(str::to_owned);
        self.execs.push((exec.uri.to_string(), correlator, exec.data.map(<[u8]>::to_vec)));
        tree.set("FwUpdate/State", b"30", Timestamp::UNIX_EPOCH).unwrap();
        StatusCode::ACCEPTED
    }

    fn interact(&mut self, interaction: &Interaction<'_>) -> Answer {
        self.asked.push(format!("{interaction:?}"));
        self.answer
            .clone()
            .unwrap_or(Answer { code: StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED, items: vec![] })
    }
}

pub fn tree() -> Tree {
    let now = Timestamp::UNIX_EPOCH;
    let mut tree = Tree::new(Arc::new(Rules::default()));
    let leaf = |text| Node::leaf(Leaf::text(text)).permanent(Access::GET);
    for (uri, node) in [
        ("DevInfo/DevId", leaf(DEVICE)),
        ("DevInfo/Man", leaf("Example Works")),
        ("DevInfo/Mod", leaf("EW-42")),
        ("DevInfo/DmV", leaf("1.2")),
        ("DevInfo/Lang", leaf("en")),
        ("DevDetail/SwV", leaf("7.1.4-eng")),
        ("DevDetail/FwV", leaf("1 < 2 & 3")),
        ("Vendor", Node::interior().with_acl(Acl::open())),
        ("Vendor/Host", Node::leaf(Leaf::text("old"))),
        ("Vendor/Octets", Node::leaf(Leaf::new(Format::Bin, &[0, 1, 254, 255]))),
        ("FwUpdate", Node::interior().permanent(Access::GET | Access::EXEC).with_acl(Acl::open())),
        ("FwUpdate/State", Node::leaf(Leaf::new(Format::Int, b"10")).permanent(Access::GET)),
    ] {
        tree.install(uri, node, now).unwrap();
    }
    tree
}

/// A device in a session, and the server's side of it as far as messages go.
pub struct Talk {
    pub session: DeviceSession,
    pub tree: Tree,
    pub host: TestHost,
    pub config: DeviceConfig,
    /// The device's last message.
    pub body: Vec<u8>,
    pub uri: String,
    pub msg_id: u32,
    /// Every step through storage and back.
    pub is_stored: bool,
}

pub fn start(config: &DeviceConfig, credentials: &DeviceCredentials, alerts: Vec<GenericAlert>) -> Talk {
    let tree = tree();
    let (session, body) = DeviceSession::start(config.clone(), credentials.clone(), alerts, &tree, "2A");
    let host = TestHost::default();
    let uri = config.server_url.clone();
    Talk { session, tree, host, config: config.clone(), body, uri, msg_id: 0, is_stored: false }
}

pub fn plain() -> Talk {
    let mut config = DeviceConfig::new(DEVICE, URL);
    config.encoding = syncml::Encoding::Xml;
    start(&config, &DeviceCredentials::open(SERVER), vec![])
}

impl Talk {
    /// What the device said last.
    pub fn said(&self) -> Message<'static> {
        decode(self.config.encoding, &self.body, &Limits::default()).unwrap().into_owned()
    }

    /// The header of the server's next message.
    pub fn hdr(&mut self) -> SyncHdr<'static> {
        self.msg_id += 1;
        SyncHdr {
            ver_dtd: "1.2".into(),
            ver_proto: "DM/1.2".into(),
            session_id: "2A".into(),
            msg_id: self.msg_id,
            target: Location { loc_uri: DEVICE.into(), loc_name: None },
            source: Location { loc_uri: URL.into(), loc_name: None },
            ..SyncHdr::default()
        }
    }

    pub fn send(&mut self, message: &Message<'_>) -> Result<Step, DeviceError> {
        let mut body = Vec::new();
        encode(self.config.encoding, message, &mut body);
        if self.is_stored {
            self.session = DeviceSession::decode(&self.session.encode().unwrap()).unwrap();
        }
        let entropy = [u8::try_from(self.msg_id % 251).unwrap(); 12];
        let now = Timestamp::UNIX_EPOCH;
        let step = self.session.handle_reply(now, entropy, &body, &mut self.tree, &mut self.host)?;
        if let Step::Send { uri, body } = &step {
            (self.uri, self.body) = (uri.clone(), body.clone());
        }
        Ok(step)
    }

    /// The server says that, and gets what the device says to it.
    pub fn tell(&mut self, commands: Vec<Command<'static>>, is_final: bool) -> Message<'static> {
        let hdr = self.hdr();
        let step = self.send(&message(hdr, commands, is_final)).unwrap();
        assert!(matches!(step, Step::Send { .. }), "the device has something to say, got {step:?}");
        self.said()
    }

    /// The server says that, and the session is over.
    pub fn end(&mut self, commands: Vec<Command<'static>>) -> dm_protocol::device::DeviceEnding {
        let hdr = self.hdr();
        match self.send(&message(hdr, commands, true)).unwrap() {
            Step::Done(ending) => ending,
            Step::Send { .. } => panic!("expected the end, got {:#?}", self.said()),
        }
    }
}

pub fn message(hdr: SyncHdr<'static>, commands: Vec<Command<'static>>, is_final: bool) -> Message<'static> {
    Message { hdr, body: SyncBody { commands, is_final } }
}

/// The Status of the header for the device's message `msg_ref`.
pub fn header_ok(msg_ref: u32, code: u16) -> Command<'static> {
    status(msg_ref, "0", "SyncHdr", code)
}

pub fn status(msg_ref: u32, cmd_ref: &str, cmd: &str, code: u16) -> Command<'static> {
    Command::Status(Status {
        cmd_id: "1".into(),
        msg_ref: Some(msg_ref),
        cmd_ref: cmd_ref.to_owned().into(),
        cmd: cmd.to_owned().into(),
        data: StatusCode(code),
        ..Status::default()
    })
}

pub fn at(uri: &str) -> Option<Location<'static>> {
    Some(Location { loc_uri: uri.to_owned().into(), loc_name: None })
}

pub fn item(uri: &str, data: Option<&str>) -> Item<'static> {
    Item { target: at(uri), data: data.map(|data| Data::Text(data.to_owned().into())), ..Item::default() }
}

pub fn items(cmd_id: &str, items: Vec<Item<'static>>) -> ItemCommand<'static> {
    ItemCommand { cmd_id: cmd_id.to_owned().into(), items, ..ItemCommand::default() }
}

pub fn get(cmd_id: &str, uris: &[&str]) -> Command<'static> {
    Command::Get(items(cmd_id, uris.iter().map(|uri| item(uri, None)).collect()))
}

pub fn replace(cmd_id: &str, uri: &str, data: &str) -> Command<'static> {
    Command::Replace(items(cmd_id, vec![item(uri, Some(data))]))
}

pub fn add(cmd_id: &str, uri: &str, data: &str) -> Command<'static> {
    Command::Add(items(cmd_id, vec![item(uri, Some(data))]))
}

pub fn delete(cmd_id: &str, uri: &str) -> Command<'static> {
    Command::Delete(items(cmd_id, vec![item(uri, None)]))
}

pub fn exec(cmd_id: &str, uri: &str, correlator: Option<&str>) -> Command<'static> {
    let correlator = correlator.map(|text| text.to_owned().into());
    Command::Exec(ItemCommand { correlator, ..items(cmd_id, vec![item(uri, None)]) })
}

pub fn alert(cmd_id: &str, code: u16, texts: &[&str]) -> Command<'static> {
    let items = texts
        .iter()
        .map(|text| Item { data: Some(Data::Text((*text).to_owned().into())), ..Item::default() });
    Command::Alert(Alert {
        cmd_id: cmd_id.to_owned().into(),
        code: Some(code),
        items: items.collect(),
        ..Alert::default()
    })
}

pub fn group(cmd_id: &str, commands: Vec<Command<'static>>) -> Group<'static> {
    Group { cmd_id: cmd_id.to_owned().into(), commands, ..Group::default() }
}

/// A chunk of an object for a node.
pub fn chunk(cmd_id: &str, uri: &str, data: &str, size: Option<u64>, more_data: bool) -> Command<'static> {
    let meta = Meta { format: Some("b64".into()), size, ..Meta::default() };
    let item = Item { meta: Some(Box::new(meta)), more_data, ..item(uri, Some(data)) };
    Command::Replace(items(cmd_id, vec![item]))
}

/// The Statuses of a message as `CmdRef Cmd [TargetRef] code`, without the header's.
pub fn statuses(message: &Message<'_>) -> Vec<String> {
    let all = message.body.commands.iter().filter_map(|command| match command {
        Command::Status(status) if &*status.cmd_ref != "0" => Some(status),
        _ => None,
    });
    all.map(|s| {
        let target = s.target_refs.first().map(|target| format!(" {target}")).unwrap_or_default();
        format!("{} {}{target} {}", s.cmd_ref, s.cmd, s.data.0)
    })
    .collect()
}

/// The code of the header's Status, which must come first.
pub fn header_code(message: &Message<'_>) -> u16 {
    match message.body.commands.first() {
        Some(Command::Status(status)) if &*status.cmd_ref == "0" => status.data.0,
        other => panic!("expected the header's Status first, got {other:?}"),
    }
}

pub fn results<'m, 'a>(message: &'m Message<'a>) -> Vec<&'m Results<'a>> {
    let all = message.body.commands.iter().filter_map(|command| match command {
        Command::Results(results) => Some(results),
        _ => None,
    });
    all.collect()
}

pub fn alert_codes(message: &Message<'_>) -> Vec<u16> {
    let all = message.body.commands.iter().filter_map(|command| match command {
        Command::Alert(alert) => alert.code,
        _ => None,
    });
    all.collect()
}
