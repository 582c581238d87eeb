//! DevDetail (DM StdObj 1.2, section 5.3.3): what the server must ask a device for.

use dm_tree::{Change, Leaf};

/// The management object's id.
pub const MOI: &str = "urn:oma:mo:oma-dm-devdetail:1.0";
/// The root.
pub const ROOT: &str = "DevDetail";
/// The firmware's version.
pub const FW_V: &str = "DevDetail/FwV";
/// The software's version.
pub const SW_V: &str = "DevDetail/SwV";
/// The hardware's version.
pub const HW_V: &str = "DevDetail/HwV";
/// The kind of device.
pub const DEV_TYP: &str = "DevDetail/DevTyp";
/// The original equipment manufacturer.
pub const OEM: &str = "DevDetail/OEM";
/// Large objects are supported.
pub const LRG_OBJ: &str = "DevDetail/LrgObj";
/// The most segments in an address; 0: no limit.
pub const MAX_DEPTH: &str = "DevDetail/URI/MaxDepth";
/// The most characters in an address; 0: no limit.
pub const MAX_TOT_LEN: &str = "DevDetail/URI/MaxTotLen";
/// The most characters in a segment; 0: no limit.
pub const MAX_SEG_LEN: &str = "DevDetail/URI/MaxSegLen";

/// All that the standard names, in the order in which they are asked for.
pub const LEAVES: [&str; 9] = [FW_V, SW_V, HW_V, DEV_TYP, OEM, LRG_OBJ, MAX_DEPTH, MAX_TOT_LEN, MAX_SEG_LEN];

/// The standard leaves, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevDetail {
    /// [`FW_V`]
    pub fw_v: Option<String>,
    /// [`SW_V`]
    pub sw_v: Option<String>,
    /// [`HW_V`]
    pub hw_v: Option<String>,
    /// [`DEV_TYP`]
    pub dev_typ: Option<String>,
    /// [`OEM`]
    pub oem: Option<String>,
    /// [`LRG_OBJ`]
    pub lrg_obj: Option<bool>,
    /// [`MAX_DEPTH`]
    pub max_depth: Option<u16>,
    /// [`MAX_TOT_LEN`]
    pub max_tot_len: Option<u16>,
    /// [`MAX_SEG_LEN`]
    pub max_seg_len: Option<u16>,
}

impl DevDetail {
    /// Reads a list of leaves. Unknown ones are passed over.
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
        match uri {
            FW_V => self.fw_v = crate::text(leaf),
            SW_V => self.sw_v = crate::text(leaf),
            HW_V => self.hw_v = crate::text(leaf),
            DEV_TYP => self.dev_typ = crate::text(leaf),
            OEM => self.oem = crate::text(leaf),
            LRG_OBJ => self.lrg_obj = crate::text(leaf).as_deref().and_then(crate::parse_bool),
            MAX_DEPTH => self.max_depth = number(leaf),
            MAX_TOT_LEN => self.max_tot_len = number(leaf),
            MAX_SEG_LEN => self.max_seg_len = number(leaf),
            _ => {}
        }
    }
}

fn number(leaf: &Leaf) -> Option<u16> {
    crate::text(leaf)?.trim().parse().ok()
}
