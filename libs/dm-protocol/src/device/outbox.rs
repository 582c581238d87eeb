//! What the device has to say, until it fits into a message.

use std::borrow::Cow;

use dm_tree::{Format, Reading, full};
use serde::{Deserialize, Serialize};
use syncml::{
    Alert, Command, Data, Encoding, Item, ItemCommand, Location, Meta, Results, Status, StatusCode,
};

use super::GenericAlert;

/// One command to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Out {
    Status(OutStatus),
    Results(OutResults),
    /// 1200 or 1201.
    Opening(u16),
    /// One of the alerts to deliver.
    Event(usize, GenericAlert),
    DevInfo(Vec<OutItem>),
    /// 1225: the object at this address never came to its end.
    NoEndOfData(String),
    Abort,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutStatus {
    pub(super) msg_ref: u32,
    pub(super) cmd_ref: String,
    pub(super) cmd: String,
    pub(super) target_ref: Option<String>,
    pub(super) source_ref: Option<String>,
    pub(super) code: u16,
    /// Answers of the user.
    pub(super) items: Vec<String>,
    /// The node that was at fault.
    pub(super) culprit: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutResults {
    pub(super) msg_ref: u32,
    pub(super) cmd_ref: String,
    pub(super) items: Vec<OutItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutItem {
    pub(super) source: String,
    /// Where it is not the default.
    pub(super) format: Option<Format>,
    pub(super) type_: Option<String>,
    pub(super) data: Option<OutData>,
}

/// A value in the form in which it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OutData {
    Text(String),
    /// WBXML only.
    Bytes(Vec<u8>),
}

impl OutData {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// A part from `offset` of at most `len` octets; of text, whole characters, but one at least.
    pub(super) fn part(&self, offset: usize, len: usize) -> Data<'_> {
        match self {
            Self::Text(text) => {
                let rest = text.get(offset..).unwrap_or_default();
                let fits = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= len);
                let first = rest.chars().next().map_or(0, char::len_utf8);
                Data::Text(Cow::Borrowed(&rest[..fits.last().unwrap_or(first)]))
            }
            Self::Bytes(bytes) => {
                let rest = bytes.get(offset..).unwrap_or_default();
                Data::Bytes(Cow::Borrowed(&rest[..len.max(1).min(rest.len())]))
            }
        }
    }

    fn whole(&self) -> Data<'_> {
        match self {
            Self::Text(text) => Data::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Data::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

impl OutItem {
    /// What was read, as the answer to an item that asked for `asked` (a list has addresses of its own).
    pub(super) fn of(reading: Reading, asked: Option<&str>, encoding: Encoding) -> Self {
        let mut format = reading.format.filter(|format| *format != Format::Chr);
        let data = reading.value.map(|value| {
            let is_text = format != Some(Format::Bin);
            match Data::from_octets(Cow::Owned(value)) {
                Data::Text(text) if is_text => OutData::Text(text.into_owned()),
                data if encoding == Encoding::Xml => {
                    // Octets travel as base64 there, and chunks are cut from the text that travels.
                    format = Some(Format::B64);
                    OutData::Text(crate::auth::format_base64(data.as_bytes()))
                }
                data => {
                    format = Some(Format::Bin);
                    OutData::Bytes(data.as_bytes().to_vec())
                }
            }
        });
        let source = asked.map_or(reading.uri, str::to_owned);
        Self { source, format, type_: reading.type_, data }
    }

    fn meta(&self, size: Option<u64>) -> Option<Box<Meta<'_>>> {
        if self.format.is_none() && self.type_.is_none() && size.is_none() {
            return None;
        }
        Some(Box::new(Meta {
            format: self.format.map(|format| format.as_str().into()),
            type_: self.type_.as_deref().map(Cow::Borrowed),
            size,
            ..Meta::default()
        }))
    }

    fn item(&self) -> Item<'_> {
        Item {
            source: Some(at(&self.source)),
            meta: self.meta(None),
            data: self.data.as_ref().map(OutData::whole),
            ..Item::default()
        }
    }
}

impl OutResults {
    /// A part of the only item, as a command.
    pub(super) fn chunk(&self, cmd_id: &str, offset: usize, len: usize) -> (Command<'_>, usize) {
        let Some((item, data)) = self.items.first().and_then(|item| Some((item, item.data.as_ref()?))) else {
            return (self.command(cmd_id), 0);
        };
        let part = data.part(offset, len);
        let taken = part.as_bytes().len();
        let chunk = Item {
            source: Some(at(&item.source)),
            meta: item.meta((offset == 0).then_some(data.len() as u64)),
            data: Some(part),
            more_data: offset + taken < data.len(),
            ..Item::default()
        };
        (self.of_items(cmd_id, vec![chunk]), taken)
    }

    fn command(&self, cmd_id: &str) -> Command<'_> {
        self.of_items(cmd_id, self.items.iter().map(OutItem::item).collect())
    }

    fn of_items<'a>(&'a self, cmd_id: &str, items: Vec<Item<'a>>) -> Command<'a> {
        Command::Results(Results {
            cmd_id: cmd_id.to_owned().into(),
            msg_ref: Some(self.msg_ref),
            cmd_ref: Some((&*self.cmd_ref).into()),
            items,
            ..Results::default()
        })
    }
}

impl Out {
    pub(super) fn command(&self, cmd_id: &str) -> Command<'_> {
        let id = || cmd_id.to_owned().into();
        match self {
            Self::Status(status) => Command::Status(status.command(cmd_id)),
            Self::Results(results) => results.command(cmd_id),
            Self::Opening(code) => {
                Command::Alert(Alert { cmd_id: id(), code: Some(*code), ..Alert::default() })
            }
            Self::Event(_, alert) => Command::Alert(event(alert, cmd_id)),
            Self::DevInfo(items) => Command::Replace(ItemCommand {
                cmd_id: id(),
                items: items.iter().map(OutItem::item).collect(),
                ..ItemCommand::default()
            }),
            Self::NoEndOfData(uri) => Command::Alert(Alert {
                cmd_id: id(),
                code: Some(syncml::alert::NO_END_OF_DATA),
                items: vec![Item { target: Some(at(uri)), ..Item::default() }],
                ..Alert::default()
            }),
            Self::Abort => Command::Alert(Alert {
                cmd_id: id(),
                code: Some(syncml::alert::SESSION_ABORT),
                ..Alert::default()
            }),
        }
    }
}

impl OutStatus {
    fn command(&self, cmd_id: &str) -> Status<'_> {
        let mut items: Vec<Item<'_>> = self
            .items
            .iter()
            .map(|text| Item { data: Some(Data::from(&**text)), ..Item::default() })
            .collect();
        if let Some(culprit) = &self.culprit {
            items.push(Item { target: Some(at(culprit)), ..Item::default() });
        }
        Status {
            cmd_id: cmd_id.to_owned().into(),
            msg_ref: Some(self.msg_ref),
            cmd_ref: (&*self.cmd_ref).into(),
            cmd: (&*self.cmd).into(),
            target_refs: self.target_ref.iter().map(|text| Cow::Borrowed(&**text)).collect(),
            source_refs: self.source_ref.iter().map(|text| Cow::Borrowed(&**text)).collect(),
            data: StatusCode(self.code),
            items,
            ..Status::default()
        }
    }
}

fn event<'a>(alert: &'a GenericAlert, cmd_id: &str) -> Alert<'a> {
    let meta = Meta {
        type_: alert.type_.as_deref().map(Cow::Borrowed),
        format: alert.format.as_deref().map(Cow::Borrowed),
        mark: alert.mark.as_deref().map(Cow::Borrowed),
        ..Meta::default()
    };
    let source = alert.source.as_deref().map(|uri| Location { loc_uri: full(uri).into(), loc_name: None });
    let item = Item {
        source,
        meta: (meta != Meta::default()).then(|| Box::new(meta)),
        data: alert.data.as_deref().map(Data::from),
        ..Item::default()
    };
    Alert {
        cmd_id: cmd_id.to_owned().into(),
        code: Some(alert.code),
        correlator: alert.correlator.as_deref().map(Cow::Borrowed),
        items: vec![item],
        ..Alert::default()
    }
}

fn at(uri: &str) -> Location<'_> {
    Location { loc_uri: uri.into(), loc_name: None }
}
