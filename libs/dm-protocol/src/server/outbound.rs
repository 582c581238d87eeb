//! From what the caller wants done to commands on the wire.

use std::borrow::Cow;

use syncml::{Alert, Command, Data, Encoding, Group, Item, ItemCommand, Location, Meta, Str};

use super::{Draft, DraftItem, DraftValue, EnqueueError};
use crate::auth;

/// How deep Sequence and Atomic may stand in each other.
const DEPTH_MAX: usize = 4;
/// Commands in one group, with all inside.
const GROUP_MAX: usize = 1024;

/// Checks what no device could understand (RepPro 1.2, section 6.6).
pub(crate) fn check(draft: &Draft) -> Result<(), EnqueueError> {
    if draft.size() > GROUP_MAX {
        return Err(EnqueueError::Malformed { expected: "at most 1024 commands in a group" });
    }
    check_at(draft, Place { depth: 0, in_atomic: false })
}

#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    in_atomic: bool,
}

fn check_at(draft: &Draft, place: Place) -> Result<(), EnqueueError> {
    let expected = |expected| Err(EnqueueError::Malformed { expected });
    match draft {
        Draft::Get(uris) if uris.is_empty() => expected("an address in a Get"),
        Draft::Get(_) if place.in_atomic => expected("an Atomic without Get"),
        Draft::Exec { .. } if place.in_atomic => expected("an Atomic without Exec"),
        Draft::Atomic(_) if place.in_atomic => expected("an Atomic outside of another"),
        Draft::Interact { code, .. } if !(1100..=1104).contains(code) => {
            expected("an interaction of code 1100 to 1104")
        }
        Draft::Add(item) | Draft::Replace(item)
            if place.depth > 0 && matches!(item.value, DraftValue::Artifact { .. }) =>
        {
            expected("an artifact outside of groups, since a group cannot be split")
        }
        Draft::Sequence(_) | Draft::Atomic(_) if place.depth >= DEPTH_MAX => {
            expected("at most four groups in each other")
        }
        Draft::Sequence(inner) | Draft::Atomic(inner) => {
            let in_atomic = place.in_atomic || matches!(draft, Draft::Atomic(_));
            let place = Place { depth: place.depth + 1, in_atomic };
            inner.iter().try_for_each(|(_, draft)| check_at(draft, place))
        }
        _ => Ok(()),
    }
}

/// Makes the command, with all inside it, and numbers it from `next_id` on.
pub(crate) fn command<'a>(draft: &'a Draft, encoding: Encoding, next_id: &mut u32) -> Command<'a> {
    let cmd_id = decimal(*next_id);
    *next_id += 1;
    let plain = |items| ItemCommand { cmd_id: cmd_id.clone(), items, ..ItemCommand::default() };
    match draft {
        Draft::Add(item) => Command::Add(plain(vec![whole(item, encoding, true)])),
        Draft::Replace(item) => Command::Replace(plain(vec![whole(item, encoding, false)])),
        Draft::Delete(uri) => Command::Delete(plain(vec![target(uri)])),
        Draft::Get(uris) => Command::Get(plain(uris.iter().map(|uri| target(uri)).collect())),
        Draft::Copy { source, target: to } => {
            let item = Item { source: Some(location(source)), ..target(to) };
            Command::Copy(plain(vec![item]))
        }
        Draft::Exec { target: node, correlator, data } => {
            let data = data.as_deref().map(|text| Data::from_text(text.into()));
            let correlator = correlator.as_deref().map(Cow::Borrowed);
            Command::Exec(ItemCommand { correlator, ..plain(vec![Item { data, ..target(node) }]) })
        }
        Draft::Interact { code, options, texts } => {
            let texts = std::iter::once(options).chain(texts);
            let item = |text: &'a String| Item { data: Some(text.as_str().into()), ..Item::default() };
            let items = texts.map(item).collect();
            Command::Alert(Alert { cmd_id, code: Some(*code), items, ..Alert::default() })
        }
        Draft::Sequence(inner) => Command::Sequence(group(cmd_id, inner, encoding, next_id)),
        Draft::Atomic(inner) => Command::Atomic(group(cmd_id, inner, encoding, next_id)),
    }
}

/// SyncML 1.1 has no `Correlator`: such a device's report is known by its source and type.
pub(crate) fn leave_out_correlators(command: &mut Command<'_>) {
    match command {
        Command::Exec(exec) => exec.correlator = None,
        Command::Atomic(group) | Command::Sequence(group) => {
            group.commands.iter_mut().for_each(leave_out_correlators);
        }
        _ => {}
    }
}

fn group<'a>(
    cmd_id: Str<'a>,
    inner: &'a [(super::Tag, Draft)],
    encoding: Encoding,
    next_id: &mut u32,
) -> Group<'a> {
    let commands = inner.iter().map(|(_, draft)| command(draft, encoding, next_id)).collect();
    Group { cmd_id, commands, ..Group::default() }
}

/// A chunk of an object: its octets, whether it is the first, and whether more follow.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) is_first: bool,
    pub(crate) more: bool,
}

/// Makes the Add or Replace that carries a chunk. The first says how large the object is, all repeat what it is.
pub(crate) fn chunk_command<'a>(
    draft: &'a Draft,
    encoding: Encoding,
    cmd_id: u32,
    piece: Piece<'a>,
) -> Option<Command<'a>> {
    let item = draft.item()?;
    let is_add = matches!(draft, Draft::Add(_));
    let mut meta = meta(item, encoding, is_add).unwrap_or_default();
    meta.size = (piece.is_first && piece.more).then(|| item.transported_len(encoding));
    let item = Item {
        meta: (*meta != Meta::default()).then_some(meta),
        data: Some(data(item, piece.octets, encoding)),
        more_data: piece.more,
        ..target(&item.target)
    };
    let command = ItemCommand { cmd_id: decimal(cmd_id), items: vec![item], ..ItemCommand::default() };
    Some(if is_add { Command::Add(command) } else { Command::Replace(command) })
}

fn whole<'a>(item: &'a DraftItem, encoding: Encoding, is_add: bool) -> Item<'a> {
    let value = match &item.value {
        DraftValue::Inline(value) => value.as_slice(),
        DraftValue::Artifact { .. } => &[],
    };
    let has_data = !matches!(item.format, dm_tree::Format::Node | dm_tree::Format::Null);
    Item {
        meta: meta(item, encoding, is_add),
        data: has_data.then(|| data(item, value, encoding)),
        ..target(&item.target)
    }
}

/// What is said of a value. A plain text that replaces another needs nothing said, nor does a property.
fn meta<'a>(item: &'a DraftItem, encoding: Encoding, is_add: bool) -> Option<Box<Meta<'a>>> {
    let is_property = item.target.contains('?');
    let is_plain = item.format == dm_tree::Format::Chr && item.type_.is_none();
    if is_property || (is_plain && !is_add) {
        return None;
    }
    let format = if item.is_base64(encoding) { dm_tree::Format::B64 } else { item.format };
    Some(Box::new(Meta {
        format: Some(format.as_str().into()),
        type_: item.type_.as_deref().map(Cow::Borrowed),
        ..Meta::default()
    }))
}

fn data<'a>(item: &DraftItem, octets: &'a [u8], encoding: Encoding) -> Data<'a> {
    if item.is_base64(encoding) {
        return Data::Text(auth::format_base64(octets).into());
    }
    Data::from_octets(octets.into())
}

fn target<'a>(uri: &'a str) -> Item<'a> {
    Item { target: Some(location(uri)), ..Item::default() }
}

fn location(uri: &str) -> Location<'_> {
    let loc_uri = if uri.starts_with("./") && uri.len() > 2 && !uri.ends_with('/') {
        Cow::Borrowed(uri)
    } else {
        Cow::Owned(dm_tree::full(uri))
    };
    Location { loc_uri, loc_name: None }
}

/// A small number as text, without memory of its own for the numbers that are used most.
pub(crate) fn decimal(number: u32) -> Str<'static> {
    const SMALL: [&str; 16] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    SMALL.get(index).map_or_else(|| Cow::Owned(number.to_string()), |text| Cow::Borrowed(*text))
}
