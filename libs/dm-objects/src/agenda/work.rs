//! What an agenda remembers between two messages, and how it takes in statuses and results.

use std::{borrow::Cow, collections::VecDeque};

use dm_protocol::server::{Draft, Tag};
use dm_tree::{Change, Format, Leaf};
use serde::{Deserialize, Serialize};
use syncml::StatusCode;

use super::{Agenda, Fact, FirmwareFact, FirmwareStage, locate::Locator, normalised, shown};
use crate::{
    dev_detail,
    fumo::{FumoState, Operation},
};

/// A version longer than this is cut: it can match no target, and the record stays small.
const VERSION_CHARS_MAX: usize = 256;

/// Everything that is learned and done in one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    /// The device has proved itself.
    pub begun: bool,
    /// The firmware task has its end.
    pub ended: bool,
    /// An Exec left in this session.
    pub exec_here: bool,
    /// The status of that Exec.
    pub exec_status: Option<u16>,
    /// The device answered an Exec with 200, and what became of it has been looked at.
    pub confirmed: bool,
    /// The code of the report, where it came in this session.
    pub report_code: Option<u16>,
    last_tag: Tag,
    /// Commands of the package that is out.
    pub sent: Vec<Sent>,
    /// Commands to hand out.
    pub outbox: VecDeque<(Tag, Draft)>,
    pub dev_detail: DevDetailReading,
    /// How many leaves the Get of DevDetail brought.
    pub dev_detail_leaves: u8,
    pub fw_v: Reading<String>,
    /// The version after the report.
    pub read_back: Reading<String>,
    pub state: Reading<FumoState>,
    /// What the State was before the Exec of this session.
    pub state_before: Option<FumoState>,
    /// There is no node where the FUMO node was thought to be.
    pub root_is_gone: bool,
    pub nodes: Reading<Nodes>,
    pub prepared: Prepared,
    pub locator: Option<Locator>,
}

/// A command that is out, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub tag: Tag,
    pub what: What,
    pub status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    DevDetail,
    FwV,
    ReadBack,
    State,
    /// The FUMO node's children.
    Nodes,
    /// A `?list=Struct` of a root.
    Struct,
    /// A Get of an interior node in search of FUMO.
    Level,
    /// PkgName or PkgVersion: nobody minds its failure.
    Label,
    /// PkgURL or PkgData, by Replace.
    Package,
    /// The same, by Add.
    PackageAdd,
    Exec(Operation),
}

/// Something a device is asked for once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reading<T> {
    #[default]
    Unasked,
    Waiting,
    Known(T),
    /// The device has no answer.
    Absent,
}

impl<T> Reading<T> {
    pub(super) fn known(&self) -> Option<&T> {
        if let Self::Known(value) = self { Some(value) } else { None }
    }

    pub(super) fn is_unasked(&self) -> bool {
        matches!(self, Self::Unasked)
    }

    /// The package is back; what did not come will not come.
    fn settle(&mut self) {
        if matches!(self, Self::Waiting) {
            *self = Self::Absent;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DevDetailReading {
    #[default]
    Unasked,
    /// As one Get with many items.
    Together,
    /// One Get a leaf: the client did not answer to many items in one.
    Singly,
    Done,
}

/// How far the package is prepared for the Exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Prepared {
    #[default]
    No,
    Replacing(Operation),
    Adding(Operation),
}

/// The children of a FUMO node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nodes {
    pub download: bool,
    pub update: bool,
    pub download_and_update: bool,
    pub pkg_name: bool,
    pub pkg_version: bool,
    pub state: bool,
}

impl Nodes {
    /// What is assumed of a node that does not tell its children.
    pub(super) const ANY: Self = Self {
        download: true,
        update: true,
        download_and_update: true,
        pkg_name: false,
        pkg_version: false,
        state: true,
    };

    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut nodes = Self::default();
        for name in names {
            nodes.note(name);
        }
        nodes
    }

    pub(super) fn note(&mut self, name: &str) {
        match name {
            "Download" => self.download = true,
            "Update" => self.update = true,
            "DownloadAndUpdate" => self.download_and_update = true,
            "PkgName" => self.pkg_name = true,
            "PkgVersion" => self.pkg_version = true,
            "State" => self.state = true,
            _ => {}
        }
    }

    /// Looks like a FUMO node: an operation that no other object has, or the usual ones beside a State.
    pub(super) fn is_fumo(self) -> bool {
        self.download_and_update || ((self.download || self.update) && (self.state || self.pkg_name))
    }
}

impl Work {
    /// Puts a command into the package.
    pub(super) fn queue(&mut self, what: What, draft: Draft) {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.sent.push(Sent { tag: self.last_tag, what, status: None });
        self.outbox.push_back((self.last_tag, draft));
    }

    /// Asks for one node.
    pub(super) fn queue_get(&mut self, what: What, uri: impl Into<Cow<'static, str>>) {
        self.queue(what, Draft::Get(vec![uri.into()]));
    }

    /// Every command of the package has its outcome: forgets the package, and answers what became of those that
    /// decide how to go on.
    pub(super) fn settle(&mut self) -> Vec<Sent> {
        self.fw_v.settle();
        self.read_back.settle();
        self.state.settle();
        self.nodes.settle();
        self.root_is_gone |=
            self.sent.iter().any(|sent| sent.what == What::Nodes && sent.status == Some(404));
        std::mem::take(&mut self.sent)
    }
}

impl Agenda {
    pub(super) fn handle_status(&mut self, tag: Tag, code: StatusCode) {
        let Some(sent) = self.work.sent.iter_mut().find(|sent| sent.tag == tag) else { return };
        // A Get of many items has a status each; the first that went well tells that the command was understood.
        if sent.status.is_none_or(|earlier| !accepted(earlier)) {
            sent.status = Some(code.0);
        }
        if let What::Exec(operation) = sent.what {
            self.handle_exec_status(operation, code);
        }
    }

    /// The answer to an Exec decides at once: its fact must not wait for the rest of the package.
    fn handle_exec_status(&mut self, operation: Operation, code: StatusCode) {
        self.work.exec_status = Some(code.0);
        let (accepted_stage, reported) = match operation {
            Operation::Download => (FirmwareStage::Downloading, FirmwareStage::Downloaded),
            Operation::Update | Operation::DownloadAndUpdate => {
                (FirmwareStage::Updating, FirmwareStage::Reported)
            }
        };
        // The report may stand before the status in one message; then it has decided.
        if self.task.as_ref().is_none_or(|task| task.stage >= reported) {
            return;
        }
        if accepted(code.0) {
            self.advance(accepted_stage);
        } else {
            let root = self.known.fumo_root.as_deref().unwrap_or_default();
            let command = format!("Exec {}/{}", shown(root), operation.node());
            self.end(FirmwareFact::Refused { code, command });
        }
    }

    pub(super) fn handle_result(&mut self, tag: Tag, uri: &str, leaf: &Leaf) {
        let Some(what) = self.work.sent.iter().find(|sent| sent.tag == tag).map(|sent| sent.what) else {
            return;
        };
        let (uri, query) = uri.split_once('?').map_or((uri, None), |(uri, query)| (uri, Some(query)));
        let uri = normalised(uri);
        self.learn(what, uri, query, leaf);
        match what {
            What::FwV => self.work.fw_v = Reading::Known(version(leaf)),
            What::ReadBack => self.work.read_back = Reading::Known(version(leaf)),
            What::DevDetail => {
                self.work.dev_detail_leaves = self.work.dev_detail_leaves.saturating_add(1);
                if uri == dev_detail::FW_V {
                    self.work.fw_v = Reading::Known(version(leaf));
                }
            }
            What::State => {
                self.work.state = FumoState::parse(&leaf.value).map_or(Reading::Absent, Reading::Known);
            }
            What::Nodes if leaf.format == Format::Node => {
                self.work.nodes = Reading::Known(Nodes::of(names(leaf)));
            }
            What::Struct | What::Level => {
                if let Some(locator) = &mut self.work.locator {
                    locator.handle_result(uri, leaf);
                }
            }
            _ => {}
        }
    }

    /// What a result tells of the tree.
    fn learn(&mut self, what: What, uri: &str, query: Option<&str>, leaf: &Leaf) {
        let change = match (leaf.format, query) {
            // A list's items carry their own address; of leaves it has no values.
            (Format::Node, _) if what == What::Struct => {
                let type_ = leaf.mime.clone().filter(|type_| !type_.contains("text/plain"));
                Change::Interior { uri: uri.to_owned(), type_ }
            }
            (_, _) if what == What::Struct => return,
            (Format::Node, None) => {
                Change::Children { uri: uri.to_owned(), names: names(leaf).map(Into::into).collect() }
            }
            (_, None) => Change::Leaf { uri: uri.to_owned(), leaf: leaf.clone() },
            (_, Some(_)) => return,
        };
        self.facts.push_back(Fact::Tree(change));
    }
}

/// A status by which a command was done, or will be.
pub(super) fn accepted(code: u16) -> bool {
    // 214 to 216 are ways of not having run.
    (100..300).contains(&code) && !(214..=216).contains(&code)
}

/// The children that an interior node's value names.
pub(super) fn names(leaf: &Leaf) -> impl Iterator<Item = &str> {
    std::str::from_utf8(&leaf.value).unwrap_or_default().split('/').filter(|name| !name.is_empty())
}

fn version(leaf: &Leaf) -> String {
    String::from_utf8_lossy(&leaf.value).trim().chars().take(VERSION_CHARS_MAX).collect()
}
