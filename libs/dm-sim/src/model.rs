//! The models of a simulated fleet: what their trees look like, and what each does differently.

use std::sync::Arc;

use dm_objects::fumo;
use dm_tree::{Access, Acl, AclCommand, Format, Leaf, Node, Rules, Tree, TreeError, UriLimits};
use jiff::Timestamp;

use syncml::Encoding;

/// The protocol version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// DM 1.1.2
    V11,
    /// DM 1.2
    V12,
}

/// One model.
#[derive(Clone, Debug)]
pub struct Model {
    /// `DevInfo/Man`
    pub maker: &'static str,
    /// `DevInfo/Mod`
    pub name: &'static str,
    /// Its share of a fleet, as a weight.
    pub share: f64,
    /// The firmware it leaves the factory with.
    pub factory_version: &'static str,
    /// Where its FUMO node is.
    pub fumo_root: &'static str,
    /// It has Download and Update.
    pub has_two_operations: bool,
    /// It has DownloadAndUpdate.
    pub has_one_operation: bool,
    /// It answers `?list=Struct`.
    pub lists: bool,
    /// What it speaks.
    pub version: Version,
    /// It only writes this.
    pub encoding: Option<Encoding>,
    /// Nodes of settings beside the standard objects.
    pub settings: usize,
    /// The largest message it takes, in octets.
    pub max_msg_size: u32,
    /// Its alerts do not echo the correlator.
    pub forgets_correlator: bool,
    /// Its alerts name the executed node instead of the FUMO node.
    pub reports_from_operation: bool,
}

const PLAIN: Model = Model {
    maker: "Acme",
    name: "A1",
    share: 3.0,
    factory_version: "1.0.0",
    fumo_root: "FUMO",
    has_two_operations: false,
    has_one_operation: true,
    lists: false,
    version: Version::V12,
    encoding: None,
    settings: 40,
    max_msg_size: 16 * 1024,
    forgets_correlator: false,
    reports_from_operation: false,
};

/// All models of a fleet.
pub const CATALOGUE: [Model; 6] = [
    PLAIN,
    Model {
        name: "A2 Tab",
        share: 2.0,
        fumo_root: "FUMO/FwPkg",
        has_two_operations: true,
        settings: 120,
        max_msg_size: 64 * 1024,
        reports_from_operation: true,
        ..PLAIN
    },
    Model {
        maker: "Globex",
        name: "Meter 4",
        share: 2.0,
        factory_version: "4.1-r2",
        fumo_root: "FwUpdate/Flash",
        has_two_operations: true,
        has_one_operation: false,
        settings: 8,
        max_msg_size: 4 * 1024,
        encoding: Some(Encoding::Wbxml),
        ..PLAIN
    },
    Model {
        maker: "Globex",
        name: "Gateway 9",
        share: 1.0,
        factory_version: "9.0.3",
        fumo_root: "FwUpdate/Package1",
        version: Version::V11,
        settings: 60,
        forgets_correlator: true,
        ..PLAIN
    },
    Model {
        maker: "Initech",
        name: "Phone 7",
        share: 2.0,
        factory_version: "IN7.2024.11",
        lists: true,
        settings: 240,
        max_msg_size: 128 * 1024,
        has_two_operations: true,
        ..PLAIN
    },
    Model {
        maker: "Initech",
        name: "Car 2",
        share: 1.0,
        factory_version: "C2-118",
        fumo_root: "Vendor/FotaObject",
        encoding: Some(Encoding::Xml),
        settings: 90,
        ..PLAIN
    },
];

impl Model {
    /// The tree of a device of this model as it leaves the factory; one for all of them.
    ///
    /// # Errors
    ///
    /// None for the models of the catalogue.
    pub fn tree(&self, server_id: &str, server_url: &str, now: Timestamp) -> Result<Tree, TreeError> {
        let rules = Rules {
            uri: UriLimits { depth_max: 16, total_chars_max: 255, segment_chars_max: 64 },
            lists: self.lists,
            tnds: self.lists,
            implicit_add: true,
            value_octets_max: 64 << 20,
            nodes_max: 4_096,
        };
        let mut plan = Planter { tree: Tree::new(Arc::new(rules)), now };
        plan.root(server_id)?;
        plan.dev_info(self)?;
        plan.dev_detail(self)?;
        plan.account(server_id, server_url)?;
        plan.fumo(self)?;
        plan.settings(self)?;
        Ok(plan.tree)
    }
}

struct Planter {
    tree: Tree,
    now: Timestamp,
}

impl Planter {
    fn leaf(&mut self, uri: &str, format: Format, value: &str, access: Access) -> Result<(), TreeError> {
        let leaf = Leaf { format, mime: None, value: value.as_bytes().into() };
        self.tree.install(uri, Node::leaf(leaf).permanent(access), self.now)
    }

    fn chr(&mut self, uri: &str, value: &str) -> Result<(), TreeError> {
        self.leaf(uri, Format::Chr, value, Access::GET)
    }

    fn interior(&mut self, uri: &str, type_: &str, access: Access) -> Result<(), TreeError> {
        self.tree.install(uri, Node::interior().with_type(type_).permanent(access), self.now)
    }

    /// Everyone reads; the server of the account does the rest.
    fn root(&mut self, server_id: &str) -> Result<(), TreeError> {
        let acl = [AclCommand::Replace, AclCommand::Delete, AclCommand::Exec]
            .into_iter()
            .fold(Acl::root_default(), |acl, command| acl.with(command, server_id));
        let root = Node::interior().permanent(Access::ADD | Access::GET | Access::REPLACE);
        self.tree.install(".", root.with_acl(acl), self.now)
    }

    fn dev_info(&mut self, model: &Model) -> Result<(), TreeError> {
        self.interior("DevInfo", dm_objects::dev_info::MOI, Access::GET)?;
        let dm_v = if model.version == Version::V11 { "1.1.2" } else { "1.2" };
        let leaves =
            [("DevId", ""), ("Man", model.maker), ("Mod", model.name), ("DmV", dm_v), ("Lang", "en-US")];
        leaves.into_iter().try_for_each(|(name, value)| self.chr(&format!("DevInfo/{name}"), value))
    }

    fn dev_detail(&mut self, model: &Model) -> Result<(), TreeError> {
        self.interior("DevDetail", dm_objects::dev_detail::MOI, Access::GET)?;
        for (uri, value) in [
            (dm_objects::dev_detail::FW_V, model.factory_version),
            (dm_objects::dev_detail::SW_V, "1"),
            (dm_objects::dev_detail::HW_V, "rev-b"),
            (dm_objects::dev_detail::DEV_TYP, "simulated"),
            (dm_objects::dev_detail::OEM, model.maker),
            (dm_objects::dev_detail::MAX_DEPTH, "16"),
            (dm_objects::dev_detail::MAX_TOT_LEN, "255"),
            (dm_objects::dev_detail::MAX_SEG_LEN, "64"),
        ] {
            self.chr(uri, value)?;
        }
        self.leaf(dm_objects::dev_detail::LRG_OBJ, Format::Bool, "true", Access::GET)
    }

    fn account(&mut self, server_id: &str, server_url: &str) -> Result<(), TreeError> {
        let account = "DMAcc/Flotilla";
        self.interior(account, dm_objects::dm_acc::MOI, Access::GET)?;
        for (node, value) in [
            ("AppID", "w7"),
            ("ServerID", server_id),
            ("Name", "Flotilla"),
            ("AppAddr/1/Addr", server_url),
            ("AppAddr/1/AddrType", "URI"),
            ("AppAuth/c/AAuthLevel", "CLCRED"),
            ("AppAuth/s/AAuthLevel", "SRVCRED"),
        ] {
            self.chr(&format!("{account}/{node}"), value)?;
        }
        Ok(())
    }

    fn fumo(&mut self, model: &Model) -> Result<(), TreeError> {
        let root = model.fumo_root;
        let writable = Access::GET | Access::REPLACE;
        let runnable = Access::GET | Access::EXEC;
        // Only some devices say what the node is.
        self.interior(root, if model.lists { fumo::MOI } else { "" }, Access::GET)?;
        self.leaf(&format!("{root}/PkgName"), Format::Chr, "", writable)?;
        self.leaf(&format!("{root}/PkgVersion"), Format::Chr, "", writable)?;
        self.leaf(&format!("{root}/State"), Format::Int, "10", Access::GET)?;
        if model.has_one_operation {
            self.interior(&format!("{root}/DownloadAndUpdate"), "", runnable)?;
            self.leaf(&format!("{root}/DownloadAndUpdate/PkgURL"), Format::Chr, "", writable)?;
        }
        if model.has_two_operations {
            self.interior(&format!("{root}/Download"), "", runnable)?;
            self.leaf(&format!("{root}/Download/PkgURL"), Format::Chr, "", writable)?;
            self.interior(&format!("{root}/Update"), "", runnable)?;
            self.leaf(&format!("{root}/Update/PkgData"), Format::Bin, "", Access::REPLACE)?;
        }
        Ok(())
    }

    /// A dozen settings an interior node, readable and writable.
    fn settings(&mut self, model: &Model) -> Result<(), TreeError> {
        const GROUPS: [&str; 5] = ["Network", "Power", "Security", "Sensors", "Storage"];
        for index in 0..model.settings {
            let (group, profile) = (GROUPS[index / 12 % GROUPS.len()], index / 60);
            let uri = format!("Vendor/Settings/{group}/Profile{profile}/Item{:02}", index % 12);
            self.leaf(
                &uri,
                Format::Chr,
                &format!("{group} {}", index * 7 % 100),
                Access::GET | Access::REPLACE,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_realistic_tree() {
        for model in &CATALOGUE {
            let tree = model.tree("s", "http://dm.example/dm", Timestamp::UNIX_EPOCH).unwrap();
            assert!((45..400).contains(&tree.count()), "{} has {} nodes", model.name, tree.count());
            assert_eq!(tree.text("DevDetail/FwV"), Some(model.factory_version));
            assert_eq!(tree.text(&format!("./{}/State", model.fumo_root)), Some("10"));
        }
    }
}
