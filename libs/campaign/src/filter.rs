//! Which devices a campaign is for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

/// Which devices a campaign is for: those that meet every condition. An empty list is no condition.
///
/// Values are compared exactly; one that ends in `*` matches what begins like it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// `maker`: any of these in `./DevInfo/Man`.
    pub maker: Vec<String>,
    /// `model`: any of these in `./DevInfo/Mod`.
    pub model: Vec<String>,
    /// `firmware`: any of these in `./DevDetail/FwV`: the versions the package updates from.
    pub firmware: Vec<String>,
    /// `firmware_not`: none of these in `./DevDetail/FwV`.
    pub firmware_not: Vec<String>,
    /// `tags_all`: all of these labels.
    pub tags_all: BTreeSet<String>,
    /// `tags_any`: at least one of these labels.
    pub tags_any: BTreeSet<String>,
    /// `tags_none`: none of these labels.
    pub tags_none: BTreeSet<String>,
    /// `[target.tree]`: for each address, any of these values in the stored tree.
    pub tree: BTreeMap<String, Vec<String>>,
    /// `ids`: only these devices.
    pub ids: BTreeSet<String>,
    /// `ids_not`: not these devices.
    pub ids_not: BTreeSet<String>,
}

/// What a filter asks of a device. Texts that are not known are empty.
#[derive(Clone, Copy)]
pub struct DeviceFacts<'a> {
    /// Its name.
    pub id: &'a str,
    /// `./DevInfo/Man`
    pub maker: &'a str,
    /// `./DevInfo/Mod`
    pub model: &'a str,
    /// `./DevDetail/FwV`
    pub firmware: &'a str,
    /// Its labels.
    pub tags: &'a BTreeSet<String>,
    /// Values of the stored tree, asked for by the addresses of [`Filter::tree_addresses`].
    pub tree: &'a dyn Fn(&str) -> Option<Cow<'a, str>>,
}

/// Why a device is not a member. The names are stable: reports and scripts count by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It is not among the ids.
    NotListed,
    /// It is among those left out.
    Excluded,
    /// Another maker, or not known.
    Maker,
    /// Another model, or not known.
    Model,
    /// Not a version the package updates from, or not known.
    Firmware,
    /// A version that was left out.
    FirmwareExcluded,
    /// It has the target version.
    AlreadyCurrent,
    /// It lacks a label.
    Tags,
    /// It has a label that was left out.
    TagExcluded,
    /// A value of its tree is another.
    TreeValue,
    /// A value of its tree is not known.
    TreeUnknown,
    /// It is in another campaign that has not ended for it.
    InOtherCampaign,
}

impl Refusal {
    /// Its name in answers and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::Excluded => "excluded",
            Self::Maker => "maker",
            Self::Model => "model",
            Self::Firmware => "firmware",
            Self::FirmwareExcluded => "firmware-excluded",
            Self::AlreadyCurrent => "already-current",
            Self::Tags => "tags",
            Self::TagExcluded => "tag-excluded",
            Self::TreeValue => "tree-value",
            Self::TreeUnknown => "tree-unknown",
            Self::InOtherCampaign => "in-other-campaign",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Filter {
    /// Whether the device is one; the first condition that it does not meet, if not. Conditions on the tree come last,
    /// because asking for them may cost a read.
    ///
    /// # Errors
    ///
    /// The reason why it is not.
    pub fn matches(&self, device: &DeviceFacts<'_>) -> Result<(), Refusal> {
        let require = |holds: bool, refusal| if holds { Ok(()) } else { Err(refusal) };
        require(self.ids.is_empty() || self.ids.contains(device.id), Refusal::NotListed)?;
        require(!self.ids_not.contains(device.id), Refusal::Excluded)?;
        require(any_of(&self.maker, device.maker), Refusal::Maker)?;
        require(any_of(&self.model, device.model), Refusal::Model)?;
        require(any_of(&self.firmware, device.firmware), Refusal::Firmware)?;
        require(
            !self.firmware_not.iter().any(|pattern| is_like(pattern, device.firmware)),
            Refusal::FirmwareExcluded,
        )?;
        require(self.tags_all.is_subset(device.tags), Refusal::Tags)?;
        require(self.tags_any.is_empty() || !self.tags_any.is_disjoint(device.tags), Refusal::Tags)?;
        require(self.tags_none.is_disjoint(device.tags), Refusal::TagExcluded)?;
        for (address, values) in &self.tree {
            let value = (device.tree)(address).ok_or(Refusal::TreeUnknown)?;
            require(any_of(values, &value), Refusal::TreeValue)?;
        }
        Ok(())
    }

    /// The addresses that [`DeviceFacts::tree`] will be asked for.
    pub fn tree_addresses(&self) -> impl Iterator<Item = &str> {
        self.tree.keys().map(String::as_str)
    }
}

fn any_of(patterns: &[String], value: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| is_like(pattern, value))
}

fn is_like(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => pattern == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(filter: &Filter) -> Option<Refusal> {
        let tags = BTreeSet::from(["pilot".to_owned(), "east".to_owned()]);
        let tree = |address: &str| (address == "./DevDetail/HwV").then_some(Cow::Borrowed("rev-b"));
        let device = DeviceFacts {
            id: "IMEI:1",
            maker: "Acme",
            model: "SM-G960",
            firmware: "1.2",
            tags: &tags,
            tree: &tree,
        };
        filter.matches(&device).err()
    }

    fn texts<C: FromIterator<String>>(texts: &[&str]) -> C {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn each_condition_refuses_by_its_own_reason() {
        let none = Filter::default;
        let tree = |address: &str, value: &str| BTreeMap::from([(address.to_owned(), texts(&[value]))]);
        let cases = [
            (none(), None),
            (Filter { maker: texts(&["Acme", "Other"]), ..none() }, None),
            (Filter { maker: texts(&["Other"]), ..none() }, Some(Refusal::Maker)),
            (Filter { model: texts(&["SM-G9*"]), ..none() }, None),
            (Filter { model: texts(&["SM-G8*"]), ..none() }, Some(Refusal::Model)),
            (Filter { firmware: texts(&["1.1"]), ..none() }, Some(Refusal::Firmware)),
            (Filter { firmware_not: texts(&["1.*"]), ..none() }, Some(Refusal::FirmwareExcluded)),
            (Filter { tags_all: texts(&["pilot", "east"]), ..none() }, None),
            (Filter { tags_all: texts(&["pilot", "west"]), ..none() }, Some(Refusal::Tags)),
            (Filter { tags_any: texts(&["pilot", "west"]), ..none() }, None),
            (Filter { tags_any: texts(&["west"]), ..none() }, Some(Refusal::Tags)),
            (Filter { tags_none: texts(&["east"]), ..none() }, Some(Refusal::TagExcluded)),
            (Filter { ids: texts(&["IMEI:2"]), ..none() }, Some(Refusal::NotListed)),
            (Filter { ids_not: texts(&["IMEI:1"]), ..none() }, Some(Refusal::Excluded)),
            (Filter { tree: tree("./DevDetail/HwV", "rev-b"), ..none() }, None),
            (Filter { tree: tree("./DevDetail/HwV", "rev-c"), ..none() }, Some(Refusal::TreeValue)),
            (Filter { tree: tree("./DevDetail/OEM", "x"), ..none() }, Some(Refusal::TreeUnknown)),
        ];
        for (filter, want) in cases {
            assert_eq!(refusal(&filter), want, "{filter:?}");
        }
    }
}
