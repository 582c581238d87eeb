//! Devices that visit and have nothing to do, and the messages they send.

use std::{path::Path, sync::Arc};

use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, auth};
use jiff::Timestamp;
use service_kit::{Metrics, Settings, client::ClientAddress, metrics::SessionMetrics};
use session_service::{Engine, EngineSettings, Received, Stores};
use storage::{Device, DeviceStore, Embedded, Inventory, TenantId, embedded::Options};
use syncml::{
    Alert, Command, Cred, Data, Encoding, Item, ItemCommand, Limits, Location, Message, Meta, Status,
    StatusCode, SyncBody, SyncHdr, decode, encode,
};

/// One device and where it stands with the server.
pub struct Visitor {
    id: String,
    nonce: Vec<u8>,
    visits: u32,
}

/// The two messages of an empty visit.
pub struct Visit {
    pub first: Vec<u8>,
    pub second: Vec<u8>,
}

pub async fn open(dir: &Path, devices: usize) -> (Embedded, Vec<Visitor>) {
    let store = Embedded::open(dir, &Options::default()).unwrap();
    let visitors: Vec<Visitor> = (0..devices)
        .map(|at| Visitor {
            id: format!("IMEI:{:015}", 350_000_000_000_000 + at as u64),
            nonce: Vec::new(),
            visits: 0,
        })
        .collect();
    let rows: Vec<Device> = visitors.iter().map(device).collect();
    for rows in rows.chunks(1000) {
        store.add(&TenantId::default(), rows).await.unwrap();
    }
    (store, visitors)
}

pub fn engine(store: Embedded) -> Arc<Engine> {
    let settings = EngineSettings::new(&Settings::default(), "http://127.0.0.1:8080");
    Engine::new(&settings, Stores::of(store), SessionMetrics::new(&Metrics::new("bench")))
}

fn device(visitor: &Visitor) -> Device {
    let digest = auth::user_digest("user", "password");
    let client = ClientAuth::Password { scheme: Scheme::Md5, user: "user".into(), digest };
    Device {
        id: DevId::parse(&visitor.id).unwrap(),
        ordinal: 0,
        account: Account { client, server: None, nonces: Nonces::default() },
        tags: Default::default(),
        added: Timestamp::now(),
        last_seen: None,
        inventory: Inventory::default(),
        fumo_root: None,
        dev_detail_read: Some(Timestamp::now()),
        notify_address: None,
    }
}

/// One step as the front-end does it, from octets to octets.
pub async fn step(engine: &Arc<Engine>, body: &[u8]) -> Vec<u8> {
    let message = decode(Encoding::Wbxml, body, &Limits::default()).unwrap();
    let received = Received {
        now: Timestamp::now(),
        encoding: Encoding::Wbxml,
        message: &message,
        body,
        client: ClientAddress::of([127, 0, 0, 1].into()),
        key: None,
    };
    engine.step(received).await.unwrap().body
}

impl Visitor {
    /// The next visit, made with the nonce of the last.
    pub fn visit(&mut self) -> Visit {
        self.visits += 1;
        let digest = auth::user_digest("user", "password");
        let data = auth::md5_credential_base64(&digest, &self.nonce);
        let meta = Meta { format: Some("b64".into()), type_: Some(auth::MD5.into()), ..Meta::default() };
        let cred = Cred { meta: Some(Box::new(meta)), data: data.into() };
        let leaves = [
            ("./DevInfo/DevId", &*self.id),
            ("./DevInfo/Man", "Example Works"),
            ("./DevInfo/Mod", "EW-42"),
            ("./DevInfo/DmV", "1.2"),
            ("./DevInfo/Lang", "en"),
        ];
        let items = leaves.iter().map(|(uri, value)| Item {
            source: Some(Location { loc_uri: (*uri).into(), loc_name: None }),
            data: Some(Data::Text((*value).into())),
            ..Item::default()
        });
        let replace = ItemCommand { cmd_id: "2".into(), items: items.collect(), ..ItemCommand::default() };
        let alert = Alert { cmd_id: "1".into(), code: Some(1201), ..Alert::default() };
        let first = self.message(1, Some(cred), vec![Command::Alert(alert), Command::Replace(replace)]);
        let status = Status {
            cmd_id: "1".into(),
            msg_ref: Some(1),
            cmd_ref: "0".into(),
            cmd: "SyncHdr".into(),
            data: StatusCode::OK,
            ..Status::default()
        };
        Visit { first, second: self.message(2, None, vec![Command::Status(status)]) }
    }

    fn message(&self, msg_id: u32, cred: Option<Cred<'_>>, commands: Vec<Command<'_>>) -> Vec<u8> {
        let location = |uri| Location { loc_uri: uri, loc_name: None };
        let hdr = SyncHdr {
            ver_dtd: "1.2".into(),
            ver_proto: "DM/1.2".into(),
            session_id: self.visits.to_string().into(),
            msg_id,
            target: location("http://127.0.0.1:8080/dm".into()),
            source: location(self.id.as_str().into()),
            cred,
            meta: Some(Box::new(Meta { max_msg_size: Some(16_384), ..Meta::default() })),
            ..SyncHdr::default()
        };
        let mut out = Vec::new();
        encode(Encoding::Wbxml, &Message { hdr, body: SyncBody { commands, is_final: true } }, &mut out);
        out
    }

    /// Takes the next nonce from the answer to the first message, and makes sure that it let the device in.
    pub fn learn(&mut self, answer: &[u8]) {
        let message = decode(Encoding::Wbxml, answer, &Limits::default()).unwrap();
        let Some(Command::Status(status)) = message.body.commands.first() else { panic!("no Status first") };
        assert_eq!(status.data, StatusCode::AUTHENTICATION_ACCEPTED, "{} is let in", self.id);
        let chal = status.chal.as_ref().expect("MD5 has a next nonce");
        self.nonce = auth::parse_base64(chal.next_nonce.as_deref().unwrap()).unwrap();
    }
}

/// Visits that have nothing but their header answered.
pub fn check_empty(answer: &[u8]) {
    let message = decode(Encoding::Wbxml, answer, &Limits::default()).unwrap();
    assert!(
        message.body.commands.iter().all(|command| matches!(command, Command::Status(_))),
        "an empty visit"
    );
}
