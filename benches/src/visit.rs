//! An empty visit: a device comes, is challenged, proves itself by MD5, and there is nothing to do.

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, auth,
    server::{Event, Input, ServerSession, Settings},
};
use jiff::Timestamp;
use syncml::{
    Alert, Command, Cred, Data, Encoding, Item, ItemCommand, Limits, Location, Message, Meta, SyncBody,
    SyncHdr, decode, encode,
};

const DEVICE: &str = "IMEI:350000000000006";
const NONCE: &[u8] = b"sixteen octets..";

/// What the device says of itself each time, and the server has from its last visit.
const DEV_INFO: [(&str, &str); 5] = [
    ("DevInfo/DevId", DEVICE),
    ("DevInfo/Man", "Example Works"),
    ("DevInfo/Mod", "EW-42"),
    ("DevInfo/DmV", "1.2"),
    ("DevInfo/Lang", "en"),
];

/// The two messages of the device, and what the server has stored when each comes.
#[derive(Debug)]
pub struct Visit {
    encoding: Encoding,
    settings: Settings,
    account: Account,
    /// Without credentials.
    first: Vec<u8>,
    /// With those for the nonce of the account.
    second: Vec<u8>,
    /// The session after the first.
    record: Vec<u8>,
}

impl Visit {
    /// A visit in one encoding.
    pub fn new(encoding: Encoding) -> Self {
        let digest = auth::user_digest("dev-0042", "k9-Lantern");
        let client = ClientAuth::Password { scheme: Scheme::Md5, user: "dev-0042".into(), digest };
        let nonces = Nonces { client: Some(NONCE.to_vec()), ..Nonces::default() };
        let account = Account { client, server: None, nonces };
        let cred = auth::md5_credential_base64(&digest, NONCE);
        let mut visit = Self {
            encoding,
            settings: Settings::default(),
            account,
            first: package_1(encoding, 1, None),
            second: package_1(encoding, 2, Some(&cred)),
            record: Vec::new(),
        };
        visit.record = visit.challenge();
        visit
    }

    /// The first step: the device is unknown to the store, has no credentials, and is challenged. Gives the record.
    pub fn challenge(&self) -> Vec<u8> {
        self.step(&self.first, None, 1).0
    }

    /// The second step: the record is read, the device proves itself, and the session is over. Gives the record, and how
    /// many events the caller had to see to.
    pub fn accept(&self) -> (Vec<u8>, usize) {
        self.step(&self.second, Some(&self.record), 2)
    }

    /// Octets of the two messages.
    pub fn message_sizes(&self) -> [u64; 2] {
        [self.first.len() as u64, self.second.len() as u64]
    }

    fn step(&self, body: &[u8], record: Option<&[u8]>, entropy: u8) -> (Vec<u8>, usize) {
        let message = decode(self.encoding, body, &Limits::default()).expect("it was encoded here");
        let mut session = match record {
            Some(record) => ServerSession::decode(record).expect("it was encoded here"),
            None => ServerSession::open(&message, self.encoding).expect("it names a device"),
        };
        let input = Input {
            now: Timestamp::UNIX_EPOCH,
            encoding: self.encoding,
            message: &message,
            body,
            account: Some(&self.account),
            dev_info: &DEV_INFO,
            entropy: [entropy; 32],
        };
        session.handle_message(&self.settings, input);
        let mut events = 0;
        while let Some(event) = session.poll_event() {
            events += usize::from(event != Event::WantsCommands);
        }
        let mut reply = Vec::with_capacity(2048);
        session.write_reply(&self.settings, &mut reply);
        while session.poll_event().is_some() {
            events += 1;
        }
        assert!(!reply.is_empty());
        (session.encode(), events)
    }
}

fn package_1(encoding: Encoding, msg_id: u32, cred: Option<&str>) -> Vec<u8> {
    let at = |uri: &'static str| Location { loc_uri: uri.into(), loc_name: None };
    let item = |&(uri, value): &(&str, &'static str)| Item {
        source: Some(Location { loc_uri: format!("./{uri}").into(), loc_name: None }),
        data: Some(Data::from(value)),
        ..Item::default()
    };
    let items = DEV_INFO.iter().map(item).collect();
    let meta = Meta { format: Some("b64".into()), type_: Some("syncml:auth-md5".into()), ..Meta::default() };
    let message = Message {
        hdr: SyncHdr {
            ver_dtd: "1.2".into(),
            ver_proto: "DM/1.2".into(),
            session_id: "2A".into(),
            msg_id,
            target: at("https://dm.example.org/dm"),
            source: at(DEVICE),
            cred: cred.map(|data| Cred { meta: Some(Box::new(meta)), data: data.to_owned().into() }),
            meta: Some(Box::new(Meta { max_msg_size: Some(8192), ..Meta::default() })),
            ..SyncHdr::default()
        },
        body: SyncBody {
            commands: vec![
                Command::Alert(Alert { cmd_id: "1".into(), code: Some(1201), ..Alert::default() }),
                Command::Replace(ItemCommand { cmd_id: "2".into(), items, ..ItemCommand::default() }),
            ],
            is_final: true,
        },
    };
    let mut out = Vec::new();
    encode(encoding, &message, &mut out);
    out
}
