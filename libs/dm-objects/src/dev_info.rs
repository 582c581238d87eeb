//! DevInfo (DM StdObj 1.2, section 5.3.2): what a device says of itself in package 1 of every session.

use dm_tree::{Change, Leaf};

/// The management object's id.
pub const MOI: &str = "urn:oma:mo:oma-dm-devinfo:1.0";
/// The root.
pub const ROOT: &str = "DevInfo";
/// The device's unique name.
pub const DEV_ID: &str = "DevInfo/DevId";
/// The maker.
pub const MAN: &str = "DevInfo/Man";
/// The model.
pub const MOD: &str = "DevInfo/Mod";
/// The version of the management client, in its maker's words.
pub const DM_V: &str = "DevInfo/DmV";
/// The language, as in RFC 1766.
pub const LANG: &str = "DevInfo/Lang";

/// The standard leaves, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevInfo {
    /// [`DEV_ID`]
    pub dev_id: Option<String>,
    /// [`MAN`]
    pub man: Option<String>,
    /// [`MOD`]
    pub model: Option<String>,
    /// [`DM_V`]
    pub dm_v: Option<String>,
    /// [`LANG`]
    pub lang: Option<String>,
}

impl DevInfo {
    /// Reads a list of leaves, as an event of the session has them. Unknown ones are passed over.
    pub fn from_leaves<'a>(leaves: impl IntoIterator<Item = (&'a str, &'a Leaf)>) -> Self {
        let mut read = Self::default();
        for (uri, leaf) in leaves {
            read.take(uri, leaf);
        }
        read
    }

    /// Reads what changes say.
    pub fn from_changes<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Self {
        Self::from_leaves(crate::leaves(changes))
    }

    fn take(&mut self, uri: &str, leaf: &Leaf) {
        // Both `DevId` and `DevID` are sent.
        let field = if uri.eq_ignore_ascii_case(DEV_ID) {
            &mut self.dev_id
        } else if uri.eq_ignore_ascii_case(MAN) {
            &mut self.man
        } else if uri.eq_ignore_ascii_case(MOD) {
            &mut self.model
        } else if uri.eq_ignore_ascii_case(DM_V) {
            &mut self.dm_v
        } else if uri.eq_ignore_ascii_case(LANG) {
            &mut self.lang
        } else {
            return;
        };
        *field = crate::text(leaf);
    }
}
