//! The device of a run: its tree, what it counts, and how it speaks.

use std::{collections::BTreeMap, sync::Arc};

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    device::{
        Answer, Challenge, ClientSecret, DeviceConfig, DeviceCredentials, Exec, Host, Interaction, Quirks,
        ServerSecret, Version,
    },
};
use dm_sim::{Chance, Encoding};
use dm_tree::{Access, Acl, Format, Leaf, Node, Rules, Tree};
use jiff::Timestamp;
use syncml::StatusCode;

pub(crate) const DEVICE: &str = "IMEI:350000000000006";
pub(crate) const SERVER_ID: &str = "dm.example.org";

/// A device that counts what was run on it.
#[derive(Default)]
pub(crate) struct Counter {
    /// By argument, which names the Exec.
    pub(crate) runs: BTreeMap<String, u32>,
}

impl Host for Counter {
    fn exec(&mut self, _tree: &mut Tree, exec: Exec<'_>) -> StatusCode {
        let name = String::from_utf8_lossy(exec.data.unwrap_or_default());
        *self.runs.entry(name.into_owned()).or_default() += 1;
        StatusCode::ACCEPTED
    }

    fn interact(&mut self, _interaction: &Interaction<'_>) -> Answer {
        Answer { code: StatusCode::OK, items: vec!["1".into()] }
    }
}

pub(crate) fn tree(now: Timestamp) -> Tree {
    let mut tree = Tree::new(Arc::new(Rules::default()));
    let text = |value: &str| Node::leaf(Leaf::text(value)).permanent(Access::GET | Access::REPLACE);
    for (uri, value) in [
        ("./DevInfo/DevId", DEVICE),
        ("./DevInfo/Man", "Example Works"),
        ("./DevInfo/Mod", "EW-42"),
        ("./DevInfo/DmV", "1.2"),
        ("./DevInfo/Lang", "en"),
        ("./DevDetail/FwV", "7.1.4"),
        ("./DevDetail/LrgObj", "true"),
    ] {
        tree.install(uri, text(value), now).unwrap();
    }
    for size in [1, 300, 3000, 9000] {
        let value: Vec<u8> = (0..size).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect();
        let leaf = Leaf { format: Format::Chr, mime: None, value: value.into() };
        tree.install(&format!("./Log/{size}"), Node::leaf(leaf), now).unwrap();
    }
    let value: Vec<u8> = (0..2500_u32).map(|index| index.to_le_bytes()[0]).collect();
    let leaf = Leaf { format: Format::Bin, mime: None, value: value.into() };
    tree.install("./Log/bin", Node::leaf(leaf), now).unwrap();
    tree.install("./Store", Node::interior().permanent(Access::ADD | Access::GET), now).unwrap();
    let access = Access::EXEC | Access::GET;
    let run = Node::interior().permanent(access).with_acl(Acl::parse("Exec=*&Get=*").unwrap());
    tree.install("./Run", run, now).unwrap();
    tree
}

pub(crate) fn config(chance: &mut Chance) -> DeviceConfig {
    let mut config = DeviceConfig::new(DEVICE, "https://dm.example.org/dm");
    config.encoding = if chance.hits(0.5) { Encoding::Xml } else { Encoding::Wbxml };
    config.version = if chance.hits(0.3) { Version::V1_1 } else { Version::V1_2 };
    let least = if config.encoding == Encoding::Xml { 1600 } else { 800 };
    config.max_msg_size = chance.hits(0.8).then(|| least + u32::try_from(chance.below(5000)).unwrap());
    config.max_obj_size = chance.hits(0.3).then(|| 2000 + u32::try_from(chance.below(20_000)).unwrap());
    config.quirks = Quirks {
        challenge: [Challenge::Never, Challenge::WhenNeeded, Challenge::Always]
            [usize::try_from(chance.below(3)).unwrap()],
        authenticates_each_message: chance.hits(0.3),
        omits_final_in_package_1: chance.hits(0.2),
        correlator_before_data: chance.hits(0.5),
        omits_status_cmd_id: chance.hits(0.2),
        omits_target_ref: chance.hits(0.2),
        omits_loc_name: chance.hits(0.5),
        large_objects: chance.hits(0.8),
        atomic: chance.hits(0.8),
        results_apart: chance.hits(0.5),
    };
    config
}

/// What either side knows of the other's secrets at the beginning.
pub(crate) fn secrets(chance: &mut Chance) -> (DeviceCredentials, Account) {
    let mut device = DeviceCredentials::open(SERVER_ID);
    let mut account = Account { client: ClientAuth::None, server: None, nonces: Nonces::default() };
    let scheme = |basic: bool| if basic { Scheme::Basic } else { Scheme::Md5 };
    if chance.hits(0.9) {
        let scheme = scheme(chance.hits(0.3));
        device.client = Some(ClientSecret { user: "dev".into(), password: "k9-Lantern".into(), scheme });
        let digest = auth::user_digest("dev", "k9-Lantern");
        account.client = ClientAuth::Password { scheme, user: "dev".into(), digest };
    }
    if chance.hits(0.8) {
        let wanted = scheme(chance.hits(0.3));
        device.server = Some(ServerSecret { password: "Quarry-7s".into(), scheme: wanted });
        let first_tried = scheme(chance.hits(0.3));
        account.server = Some(ServerAuth {
            server_id: SERVER_ID.into(),
            password: "Quarry-7s".into(),
            scheme: first_tried,
        });
    }
    if chance.hits(0.5) {
        device.client_nonce = Some(b"provisioned".to_vec());
        account.nonces.client = Some(b"provisioned".to_vec());
        device.server_nonce = Some(b"provisioned too".to_vec());
        account.nonces.server = Some(b"provisioned too".to_vec());
    }
    (device, account)
}
