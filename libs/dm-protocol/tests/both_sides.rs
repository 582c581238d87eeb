//! A server and a device against each other, message by message, each stored and read back between any two steps.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod device_common;

use std::collections::BTreeMap;

use device_common::{DEVICE, SERVER, TestHost, URL, tree};
use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    device::{
        Answer, Challenge, ClientSecret, DeviceConfig, DeviceCredentials, DeviceEnding, DeviceSession,
        GenericAlert, Quirks, ServerSecret, Step, Version,
    },
    server::{Draft, DraftItem, DraftValue, Ending, Event, Handled, Input, ServerSession, Settings, Tag},
};
use dm_tree::{Access, Format, Leaf, Node, Tree};
use jiff::Timestamp;
use syncml::{Encoding, Limits, StatusCode, decode};

const USER: &str = "dev-0042";

/// Both sides, before or after a session.
struct Pair {
    config: DeviceConfig,
    credentials: DeviceCredentials,
    account: Account,
    settings: Settings,
    tree: Tree,
    host: TestHost,
    alerts: Vec<GenericAlert>,
    artifact: Vec<u8>,
}

/// What a session came to.
#[derive(Debug, Default)]
struct Outcome {
    /// By tag: target and code.
    statuses: BTreeMap<Tag, Vec<(Option<String>, u16)>>,
    results: Vec<(Tag, String, Leaf)>,
    alerts: Vec<String>,
    devinfo: Vec<String>,
    answers: Vec<(usize, u16)>,
    ending: Option<(DeviceEnding, Option<Ending>)>,
    /// Messages of the device.
    messages: usize,
    largest: (usize, usize),
}

impl Pair {
    fn new(encoding: Encoding, version: Version) -> Self {
        let mut config = DeviceConfig::new(DEVICE, URL);
        (config.encoding, config.version) = (encoding, version);
        Self {
            config,
            credentials: DeviceCredentials::open(SERVER),
            account: Account { client: ClientAuth::None, server: None, nonces: Nonces::default() },
            settings: Settings::default(),
            tree: tree(),
            host: TestHost::default(),
            alerts: vec![],
            artifact: vec![],
        }
    }

    fn secured(mut self, client: Option<Scheme>, server: Option<Scheme>) -> Self {
        if let Some(scheme) = client {
            let (user, password) = (USER.to_owned(), "k9-Lantern".to_owned());
            let digest = auth::user_digest(&user, &password);
            self.account.client = ClientAuth::Password { scheme, user: user.clone(), digest };
            self.credentials.client = Some(ClientSecret { user, password, scheme });
        }
        if let Some(scheme) = server {
            let password = "Quarry-7s".to_owned();
            self.credentials.server = Some(ServerSecret { password: password.clone(), scheme });
            self.account.server = Some(ServerAuth { server_id: SERVER.into(), password, scheme });
        }
        self
    }

    fn run(&mut self, session_id: &str, mut drafts: Vec<(Tag, Draft)>) -> Outcome {
        let mut outcome = Outcome::default();
        let alerts = self.alerts.clone();
        let (mut device, mut body) = DeviceSession::start(
            self.config.clone(),
            self.credentials.clone(),
            alerts,
            &self.tree,
            session_id,
        );
        let mut record: Option<Vec<u8>> = None;
        let ending = loop {
            outcome.messages += 1;
            assert!(outcome.messages < 500, "the two never come to an end: {outcome:#?}");
            // Package 1 is said before the server could state a limit, and DevInfo is one command.
            let said = decode(self.config.encoding, &body, &Limits::default()).unwrap();
            if !device_common::alert_codes(&said).contains(&1201) {
                outcome.largest.0 = outcome.largest.0.max(body.len());
            }
            let reply = self.serve(&mut record, &body, &mut drafts, &mut outcome);
            outcome.largest.1 = outcome.largest.1.max(reply.len());
            device = DeviceSession::decode(&device.encode().unwrap()).unwrap();
            let entropy = entropy(session_id, outcome.messages, 7);
            let now = Timestamp::UNIX_EPOCH;
            let step = device.handle_reply(now, entropy, &reply, &mut self.tree, &mut self.host);
            match step.unwrap() {
                Step::Send { body: next, .. } => body = next,
                Step::Done(ending) => break ending,
            }
        };
        self.credentials = device.credentials().clone();
        outcome.answers = device.alert_answers().map(|answer| (answer.index, answer.code.0)).collect();
        let server = ServerSession::decode(&record.unwrap()).unwrap();
        outcome.ending = Some((ending, server.ending()));
        outcome
    }

    fn serve(
        &mut self,
        record: &mut Option<Vec<u8>>,
        body: &[u8],
        drafts: &mut Vec<(Tag, Draft)>,
        outcome: &mut Outcome,
    ) -> Vec<u8> {
        let encoding = self.config.encoding;
        let message = decode(encoding, body, &Limits::default()).unwrap();
        let mut server = match record {
            Some(record) => ServerSession::decode(record).unwrap(),
            None => ServerSession::open(&message, encoding).unwrap(),
        };
        let mut octets = [0; 32];
        octets[..12].copy_from_slice(&entropy(&message.hdr.session_id, outcome.messages, 3));
        let account = self.account.clone();
        let input = Input {
            now: Timestamp::UNIX_EPOCH,
            encoding,
            message: &message,
            body,
            account: Some(&account),
            dev_info: &[],
            entropy: octets,
        };
        assert_eq!(server.handle_message(&self.settings, input), Handled::New);
        self.events(&mut server, drafts, outcome);
        let mut reply = Vec::new();
        server.write_reply(&self.settings, &mut reply);
        self.events(&mut server, drafts, outcome);
        *record = Some(server.encode());
        reply
    }

    fn events(&mut self, server: &mut ServerSession, drafts: &mut Vec<(Tag, Draft)>, outcome: &mut Outcome) {
        while let Some(event) = server.poll_event() {
            match event {
                Event::NoncesChanged { nonces, server_scheme } => {
                    self.account.nonces = nonces;
                    if let (Some(scheme), Some(server)) = (server_scheme, &mut self.account.server) {
                        server.scheme = scheme;
                    }
                }
                Event::DevInfo(leaves) => outcome.devinfo.extend(leaves.into_iter().map(|(uri, _)| uri)),
                Event::Alert(alert) => outcome.alerts.push(format!(
                    "{} {:?} {:?} {}",
                    alert.code,
                    alert.correlator,
                    alert.source,
                    String::from_utf8(alert.data).unwrap()
                )),
                Event::Status { tag, target, code, .. } => {
                    outcome.statuses.entry(tag).or_default().push((target, code.0));
                }
                Event::Result { tag, uri, leaf } => outcome.results.push((tag, uri, leaf)),
                Event::WantsCommands => {
                    for (tag, draft) in drafts.drain(..) {
                        server.enqueue(tag, draft).unwrap();
                    }
                }
                Event::WantsChunk { offset, len, .. } => {
                    let begin = usize::try_from(offset).unwrap();
                    let end = (begin + len).min(self.artifact.len());
                    server.supply_chunk(&self.artifact[begin..end]);
                }
                _ => {}
            }
        }
    }
}

fn entropy(session_id: &str, step: usize, side: u8) -> [u8; 12] {
    let mut out = [side; 12];
    out[1] = u8::try_from(step % 256).unwrap();
    for (octet, byte) in out[2..].iter_mut().zip(session_id.bytes()) {
        *octet = byte;
    }
    out
}

/// Octets came as base64 in XML, where a server cannot tell them from text that is base64 by nature.
fn octets(leaf: &Leaf) -> Vec<u8> {
    match leaf.format {
        Format::B64 => auth::parse_base64(leaf.as_str().unwrap()).unwrap(),
        _ => leaf.value.to_vec(),
    }
}

fn leaf(target: &'static str, format: Format, value: &[u8]) -> DraftItem {
    DraftItem { target: target.into(), format, type_: None, value: DraftValue::Inline(value.to_vec()) }
}

fn text(target: &'static str, value: &str) -> DraftItem {
    leaf(target, Format::Chr, value.as_bytes())
}

/// Something of everything.
fn everything() -> Vec<(Tag, Draft)> {
    let copy = Draft::Copy { source: "./Vendor/Host".into(), target: "./Vendor/Copy".into() };
    let ask = Draft::Interact { code: 1101, options: "DR=1".into(), texts: vec!["Sure?".into()] };
    vec![
        (1, Draft::Get(vec!["./DevDetail/FwV".into(), "./DevDetail/None".into()])),
        (2, Draft::Replace(text("./Vendor/Host", "new <&>"))),
        (3, Draft::Add(text("./Vendor/A/B", "deep"))),
        (
            4,
            Draft::Add(DraftItem {
                type_: Some("com.example/1.0/X".into()),
                ..leaf("./Vendor/X", Format::Node, b"")
            }),
        ),
        (5, Draft::Add(leaf("./Vendor/Bin", Format::Bin, &[0, 1, 2, 255]))),
        (6, Draft::Get(vec!["./Vendor/Octets".into(), "./Vendor".into(), "./Vendor/X?prop=Type".into()])),
        (
            7,
            Draft::Atomic(vec![
                (70, Draft::Replace(text("./Vendor/Host", "x"))),
                (71, Draft::Delete("./None".into())),
            ]),
        ),
        (8, Draft::Atomic(vec![(80, Draft::Add(text("./Vendor/C", "1"))), (81, copy)])),
        (9, Draft::Sequence(vec![(90, ask), (91, Draft::Replace(text("./Vendor/Host", "never")))])),
        (10, Draft::Exec { target: "./FwUpdate".into(), correlator: Some("c-1".into()), data: None }),
        (11, Draft::Delete("./DevInfo".into())),
        (12, Draft::Get(vec!["./DevDetail?list=StructData".into()])),
    ]
}

#[track_caller]
fn check_everything(pair: &Pair, outcome: &Outcome) {
    let code = |tag: Tag| {
        let all: Vec<u16> = outcome.statuses.get(&tag).into_iter().flatten().map(|(_, code)| *code).collect();
        all
    };
    for (tag, want) in [
        (2, 200),
        (3, 200),
        (4, 200),
        (5, 200),
        (6, 200),
        (7, 507),
        (70, 216),
        (71, 404),
        (8, 200),
        (80, 200),
        (81, 200),
        (9, 200),
        (90, 304),
        (91, 215),
        (10, 202),
        (11, 405),
        (12, 200),
    ] {
        assert_eq!(code(tag), [want], "tag {tag}");
    }
    let mut of_get = code(1);
    of_get.sort_unstable();
    assert_eq!(of_get, [200, 404]);
    let value =
        |uri: &str| outcome.results.iter().find(|(_, at, _)| at == uri).map(|(_, _, leaf)| leaf.clone());
    assert_eq!(value("DevDetail/FwV"), Some(Leaf::text("1 < 2 & 3")));
    assert_eq!(value("Vendor/Octets").map(|leaf| octets(&leaf)), Some(vec![0, 1, 254, 255]));
    assert_eq!(value("Vendor/X?prop=Type"), Some(Leaf::text("com.example/1.0/X")));
    assert_eq!(value("DevDetail/SwV"), Some(Leaf::text("7.1.4-eng")));
    let names = value("Vendor").unwrap();
    assert_eq!((names.format, names.as_str()), (Format::Node, Some("A/Bin/Host/Octets/X")));

    assert_eq!(pair.tree.text("Vendor/Host"), Some("new <&>"));
    assert_eq!(pair.tree.text("Vendor/Copy"), Some("new <&>"));
    assert_eq!(pair.tree.text("Vendor/A/B"), Some("deep"));
    assert_eq!(*pair.tree.leaf("Vendor/Bin").unwrap().value, [0, 1, 2, 255]);
    // SyncML 1.1 has no Correlator.
    let correlator = (pair.config.version != Version::V1_1).then(|| "c-1".to_owned());
    assert_eq!(pair.host.execs, [("./FwUpdate".to_owned(), correlator, None)], "an Exec runs once");
    assert_eq!(
        outcome.devinfo,
        ["DevInfo/DevId", "DevInfo/DmV", "DevInfo/Lang", "DevInfo/Man", "DevInfo/Mod"]
    );
    assert_eq!(outcome.alerts, ["1226 Some(\"c-0\") Some(\"FwUpdate\") 200"]);
    assert_eq!(outcome.answers, [(0, 200)]);
    assert_eq!(outcome.ending, Some((DeviceEnding::Done, Some(Ending::Done))));
}

fn with_event(mut pair: Pair) -> Pair {
    pair.alerts = vec![GenericAlert {
        code: 1226,
        correlator: Some("c-0".into()),
        source: Some("./FwUpdate".into()),
        type_: Some("Reversed-Domain-Name: org.example.update".into()),
        format: Some("int".into()),
        data: Some("200".into()),
        ..GenericAlert::default()
    }];
    pair.host.answer = Some(Answer { code: StatusCode(304), items: vec![] });
    pair
}

#[test]
fn a_whole_conversation_in_every_encoding_version_and_authentication() {
    const SCHEMES: [Option<Scheme>; 3] = [None, Some(Scheme::Basic), Some(Scheme::Md5)];
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for version in [Version::V1_1, Version::V1_2] {
            for client in SCHEMES {
                for server in SCHEMES {
                    for challenge in [Challenge::Never, Challenge::WhenNeeded, Challenge::Always] {
                        let mut pair = with_event(Pair::new(encoding, version).secured(client, server));
                        pair.config.quirks.challenge = challenge;
                        println!("{encoding} {version:?} {client:?} {server:?} {challenge:?}");
                        let outcome = pair.run("1", everything());
                        check_everything(&pair, &outcome);
                        let asks = challenge != Challenge::Never;
                        if client == Some(Scheme::Md5) {
                            assert!(pair.credentials.client_nonce.is_some());
                            assert_eq!(pair.credentials.client_nonce, pair.account.nonces.client);
                        }
                        if server == Some(Scheme::Md5) && asks {
                            assert!(pair.credentials.server_nonce.is_some());
                            assert_eq!(pair.credentials.server_nonce, pair.account.nonces.server);
                        }
                        // With the nonces of the first, the next session needs no challenge.
                        let (host, alerts) = (TestHost::default(), vec![]);
                        (pair.host, pair.alerts) = (host, alerts);
                        let get = vec![(1, Draft::Get(vec!["./DevDetail/FwV".into()]))];
                        let outcome = pair.run("2", get);
                        assert_eq!(outcome.ending, Some((DeviceEnding::Done, Some(Ending::Done))));
                        let is_challenged = challenge == Challenge::Always && server.is_some();
                        assert_eq!(outcome.messages, if is_challenged { 3 } else { 2 });
                        assert_eq!(outcome.results.len(), 1);
                        // And one with nothing to do is one exchange.
                        let outcome = pair.run("3", vec![]);
                        assert_eq!((outcome.messages, outcome.ending.unwrap().0), (1, DeviceEnding::Done));
                    }
                }
            }
        }
    }
}

#[test]
fn habits_of_clients_do_not_disturb_a_server() {
    let usual = Quirks::default;
    for (name, quirks) in [
        ("each message", Quirks { authenticates_each_message: true, ..usual() }),
        ("no Final", Quirks { omits_final_in_package_1: true, ..usual() }),
        ("Correlator first", Quirks { correlator_before_data: true, ..usual() }),
        ("no CmdID", Quirks { omits_status_cmd_id: true, ..usual() }),
        ("no TargetRef", Quirks { omits_target_ref: true, ..usual() }),
        ("no LocName", Quirks { omits_loc_name: true, ..usual() }),
        ("no large objects", Quirks { large_objects: false, ..usual() }),
        ("Results apart", Quirks { results_apart: true, ..usual() }),
    ] {
        for encoding in [Encoding::Xml, Encoding::Wbxml] {
            let md5 = Some(Scheme::Md5);
            let mut pair = with_event(Pair::new(encoding, Version::V1_2).secured(md5, md5));
            pair.config.quirks = quirks.clone();
            println!("{encoding} {name}");
            let outcome = pair.run("1", everything());
            check_everything(&pair, &outcome);
        }
    }
}

#[test]
fn small_messages_carry_the_same_conversation() {
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for (device_takes, server_takes) in [(1024, 1 << 16), (1 << 16, 1024), (1024, 1024), (2048, 5000)] {
            let md5 = Some(Scheme::Md5);
            let mut pair = with_event(Pair::new(encoding, Version::V1_2).secured(md5, md5));
            pair.config.max_msg_size = Some(device_takes);
            pair.settings.max_msg_size = server_takes;
            println!("{encoding} device takes {device_takes}, server {server_takes}");
            let outcome = pair.run("1", everything());
            check_everything(&pair, &outcome);
            // A server that has to be brief does not state its own limit.
            let server_takes = if device_takes < 2048 { u32::MAX } else { server_takes };
            let (device, server) = outcome.largest;
            assert!(server <= device_takes as usize, "{:?}", outcome.largest);
            assert!(device <= server_takes as usize, "{:?}", outcome.largest);
        }
    }
}

#[test]
fn large_objects_go_both_ways() {
    let artifact_octets: Vec<u8> = (0..15_000_u32).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
    let words: String = (0..2_000).map(|n| if n % 9 == 0 { "<ż&" } else { "word " }).collect();
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for size in [2048, 5000] {
            println!("{encoding} {size}");
            let mut pair = Pair::new(encoding, Version::V1_2).secured(Some(Scheme::Md5), Some(Scheme::Md5));
            (pair.config.max_msg_size, pair.settings.max_msg_size) = (Some(size), size);
            pair.artifact.clone_from(&artifact_octets);
            let log = Node::leaf(Leaf::text(&words)).permanent(Access::GET);
            pair.tree.install("Vendor/Log", log, Timestamp::UNIX_EPOCH).unwrap();
            let artifact = DraftItem {
                value: DraftValue::Artifact { digest: [1; 32], size: artifact_octets.len() as u64 },
                ..leaf("./Vendor/Octets", Format::Bin, b"")
            };
            let outcome = pair.run(
                "1",
                vec![
                    (1, Draft::Replace(artifact)),
                    (2, Draft::Add(text("./Vendor/Words", &words))),
                    (3, Draft::Get(vec!["./Vendor/Log".into(), "./DevInfo/Man".into()])),
                    (4, Draft::Get(vec!["./Vendor/Octets".into()])),
                    (5, Draft::Get(vec!["./DevInfo/Mod".into()])),
                ],
            );
            assert_eq!(outcome.ending, Some((DeviceEnding::Done, Some(Ending::Done))));
            for tag in 1..=5 {
                assert!(outcome.statuses[&tag].iter().all(|(_, code)| *code == 200), "{tag}: {outcome:?}");
            }
            assert_eq!(*pair.tree.leaf("Vendor/Octets").unwrap().value, artifact_octets);
            assert_eq!(pair.tree.text("Vendor/Words"), Some(&*words));
            let value = |uri: &str| {
                outcome.results.iter().find(|(_, at, _)| at == uri).map(|(_, _, leaf)| octets(leaf))
            };
            assert_eq!(value("Vendor/Octets").as_deref(), Some(&*artifact_octets));
            assert_eq!(value("Vendor/Log").as_deref(), Some(words.as_bytes()));
            assert_eq!(value("DevInfo/Mod").as_deref(), Some(&b"EW-42"[..]));
            let (device, server) = outcome.largest;
            assert!(device <= size as usize && server <= size as usize, "{:?}", outcome.largest);
        }
    }
}

#[test]
fn an_object_larger_than_the_device_takes_is_refused() {
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let mut pair = Pair::new(encoding, Version::V1_2);
        (pair.config.max_msg_size, pair.config.max_obj_size) = (Some(2000), Some(10_000));
        let big = vec![b'x'; 20_000];
        let outcome = pair.run(
            "1",
            vec![
                (1, Draft::Replace(leaf("./Vendor/Host", Format::Chr, &big))),
                (2, Draft::Get(vec!["./Vendor/Host".into()])),
            ],
        );
        assert_eq!(outcome.statuses[&1].iter().map(|(_, code)| *code).collect::<Vec<_>>(), [413]);
        assert_eq!(outcome.results[0].2, Leaf::text("old"));
        assert_eq!(outcome.ending, Some((DeviceEnding::Done, Some(Ending::Done))));
    }
}

#[test]
fn wrong_secrets_end_the_session_on_both_sides() {
    for scheme in [Scheme::Basic, Scheme::Md5] {
        let mut pair = Pair::new(Encoding::Xml, Version::V1_2).secured(Some(scheme), None);
        pair.credentials.client.as_mut().unwrap().password = "wrong".into();
        let outcome = pair.run("1", everything());
        let (device, server) = outcome.ending.unwrap();
        assert_eq!(
            (device, server),
            (DeviceEnding::Unauthenticated, Some(Ending::Unauthenticated)),
            "{scheme:?}"
        );
        assert!(outcome.statuses.is_empty() && outcome.messages <= 4);

        let mut pair = Pair::new(Encoding::Xml, Version::V1_2).secured(None, Some(scheme));
        pair.account.server.as_mut().unwrap().password = "wrong".into();
        let outcome = pair.run("1", everything());
        assert_eq!(outcome.ending.unwrap().1, Some(Ending::ServerRefused), "{scheme:?}");
        assert!(pair.host.execs.is_empty());
        assert_eq!(pair.tree, tree(), "a server that is not known changes nothing");
    }
}

#[test]
fn a_device_without_lists_or_atomic_gets_its_server_to_know() {
    let mut pair = Pair::new(Encoding::Wbxml, Version::V1_1);
    pair.config.quirks.atomic = false;
    let rules = dm_tree::Rules { lists: false, ..dm_tree::Rules::default() };
    let mut tree = Tree::new(std::sync::Arc::new(rules));
    for (uri, node) in pair.tree.walk().filter(|(uri, _)| uri != ".") {
        tree.install(&uri, node.clone(), Timestamp::UNIX_EPOCH).unwrap();
    }
    pair.tree = tree;
    let atomic = Draft::Atomic(vec![(20, Draft::Replace(text("./Vendor/Host", "x")))]);
    let outcome = pair.run("1", vec![(1, Draft::Get(vec!["./DevDetail?list=Struct".into()])), (2, atomic)]);
    let code = |tag: Tag| outcome.statuses[&tag][0].1;
    assert_eq!((code(1), code(2), code(20)), (406, 406, 215));
    assert_eq!(pair.tree.text("Vendor/Host"), Some("old"));
}
