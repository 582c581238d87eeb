//! The commands, in the order of the DTD.

use super::{
    Sink,
    header::{cred, location, met_inf, meta},
};
use crate::{
    Alert, Command, Data, Group, Item, ItemCommand, Map, Meta, Results, Search, Status, Sync, chars, tag::Tag,
};

pub(super) fn command<S: Sink>(out: &mut S, command: &Command<'_>) {
    match command {
        Command::Add(command) => item_command(out, Tag::Add, command),
        Command::Alert(command) => alert(out, command),
        Command::Atomic(command) => group(out, Tag::Atomic, command),
        Command::Copy(command) => item_command(out, Tag::Copy, command),
        Command::Delete(command) => item_command(out, Tag::Delete, command),
        Command::Exec(command) => item_command(out, Tag::Exec, command),
        Command::Get(command) => item_command(out, Tag::Get, command),
        Command::Map(command) => map(out, command),
        Command::Move(command) => item_command(out, Tag::Move, command),
        Command::Put(command) => item_command(out, Tag::Put, command),
        Command::Replace(command) => item_command(out, Tag::Replace, command),
        Command::Results(command) => results(out, command),
        Command::Search(command) => search(out, command),
        Command::Sequence(command) => group(out, Tag::Sequence, command),
        Command::Status(command) => status(out, command),
        Command::Sync(command) => sync(out, command),
    }
}

fn item_command<S: Sink>(out: &mut S, tag: Tag, command: &ItemCommand<'_>) {
    out.start(tag);
    out.unless_empty(Tag::CmdID, &command.cmd_id);
    out.flag(Tag::NoResp, command.no_resp);
    out.flag(Tag::Archive, command.archive);
    out.flag(Tag::SftDel, command.sft_del);
    out.some(Tag::Lang, command.lang.as_deref());
    cred(out, command.cred.as_ref());
    meta(out, command.meta.as_deref());
    out.some(Tag::Correlator, command.correlator.as_deref());
    // As libwbxml writes it, which is what the devices in the field were tried against.
    let is_opaque = matches!(tag, Tag::Add | Tag::Replace);
    items(out, &command.items, command.meta.as_deref(), is_opaque);
    out.end(tag);
}

fn alert<S: Sink>(out: &mut S, alert: &Alert<'_>) {
    out.start(Tag::Alert);
    out.unless_empty(Tag::CmdID, &alert.cmd_id);
    out.flag(Tag::NoResp, alert.no_resp);
    cred(out, alert.cred.as_ref());
    if let Some(code) = alert.code {
        out.number(Tag::Data, code.into());
    }
    out.some(Tag::Correlator, alert.correlator.as_deref());
    items(out, &alert.items, None, false);
    out.end(Tag::Alert);
}

fn group<S: Sink>(out: &mut S, tag: Tag, group: &Group<'_>) {
    out.start(tag);
    out.unless_empty(Tag::CmdID, &group.cmd_id);
    out.flag(Tag::NoResp, group.no_resp);
    meta(out, group.meta.as_deref());
    for inner in &group.commands {
        command(out, inner);
    }
    out.end(tag);
}

fn results<S: Sink>(out: &mut S, results: &Results<'_>) {
    out.start(Tag::Results);
    out.unless_empty(Tag::CmdID, &results.cmd_id);
    if let Some(msg_ref) = results.msg_ref {
        out.number(Tag::MsgRef, msg_ref.into());
    }
    out.some(Tag::CmdRef, results.cmd_ref.as_deref());
    meta(out, results.meta.as_deref());
    out.some(Tag::TargetRef, results.target_ref.as_deref());
    out.some(Tag::SourceRef, results.source_ref.as_deref());
    items(out, &results.items, results.meta.as_deref(), false);
    out.end(Tag::Results);
}

fn status<S: Sink>(out: &mut S, status: &Status<'_>) {
    out.start(Tag::Status);
    out.unless_empty(Tag::CmdID, &status.cmd_id);
    if let Some(msg_ref) = status.msg_ref {
        out.number(Tag::MsgRef, msg_ref.into());
    }
    out.unless_empty(Tag::CmdRef, &status.cmd_ref);
    out.unless_empty(Tag::Cmd, &status.cmd);
    for target_ref in &status.target_refs {
        out.text(Tag::TargetRef, target_ref);
    }
    for source_ref in &status.source_refs {
        out.text(Tag::SourceRef, source_ref);
    }
    cred(out, status.cred.as_ref());
    if let Some(chal) = status.chal.as_deref() {
        out.start(Tag::Chal);
        meta(out, Some(chal));
        out.end(Tag::Chal);
    }
    out.number(Tag::Data, status.data.0.into());
    items(out, &status.items, None, false);
    out.end(Tag::Status);
}

fn items<S: Sink>(out: &mut S, items: &[Item<'_>], command_meta: Option<&Meta<'_>>, is_opaque: bool) {
    for item in items {
        out.start(Tag::Item);
        if let Some(target) = &item.target {
            location(out, Tag::Target, target);
        }
        if let Some(source) = &item.source {
            location(out, Tag::Source, source);
        }
        parent(out, Tag::SourceParent, item.source_parent.as_deref());
        parent(out, Tag::TargetParent, item.target_parent.as_deref());
        meta_and_data(out, item.meta.as_deref(), command_meta, item.data.as_ref(), is_opaque);
        out.flag(Tag::MoreData, item.more_data);
        out.end(Tag::Item);
    }
}

/// `Meta` and `Data`, which an encoding that carries no octets must change together.
fn meta_and_data<S: Sink>(
    out: &mut S,
    own: Option<&Meta<'_>>,
    inherited: Option<&Meta<'_>>,
    data: Option<&Data<'_>>,
    is_opaque: bool,
) {
    let is_base64 = !S::CARRIES_BYTES
        && match data {
            Some(Data::Bytes(_)) => true,
            Some(Data::Text(text)) => !chars::all_legal(text),
            None => false,
        };
    if is_base64 {
        let empty = Meta::default();
        out.start(Tag::Meta);
        met_inf(out, own.or(inherited).unwrap_or(&empty), Some("b64"));
        out.end(Tag::Meta);
    } else {
        meta(out, own);
    }
    if let Some(data) = data {
        out.data(data, is_opaque);
    }
}

fn parent<S: Sink>(out: &mut S, tag: Tag, loc_uri: Option<&str>) {
    if let Some(loc_uri) = loc_uri {
        out.start(tag);
        out.text(Tag::LocURI, loc_uri);
        out.end(tag);
    }
}

fn map<S: Sink>(out: &mut S, map: &Map<'_>) {
    out.start(Tag::Map);
    out.unless_empty(Tag::CmdID, &map.cmd_id);
    location(out, Tag::Target, &map.target);
    location(out, Tag::Source, &map.source);
    cred(out, map.cred.as_ref());
    meta(out, map.meta.as_deref());
    for (target, source) in &map.items {
        out.start(Tag::MapItem);
        location(out, Tag::Target, target);
        location(out, Tag::Source, source);
        out.end(Tag::MapItem);
    }
    out.end(Tag::Map);
}

fn search<S: Sink>(out: &mut S, search: &Search<'_>) {
    out.start(Tag::Search);
    out.unless_empty(Tag::CmdID, &search.cmd_id);
    out.flag(Tag::NoResp, search.no_resp);
    out.flag(Tag::NoResults, search.no_results);
    cred(out, search.cred.as_ref());
    if let Some(target) = &search.target {
        location(out, Tag::Target, target);
    }
    for source in &search.sources {
        location(out, Tag::Source, source);
    }
    out.some(Tag::Lang, search.lang.as_deref());
    meta_and_data(out, search.meta.as_deref(), None, search.data.as_ref(), false);
    out.end(Tag::Search);
}

fn sync<S: Sink>(out: &mut S, sync: &Sync<'_>) {
    out.start(Tag::Sync);
    out.unless_empty(Tag::CmdID, &sync.cmd_id);
    out.flag(Tag::NoResp, sync.no_resp);
    cred(out, sync.cred.as_ref());
    if let Some(target) = &sync.target {
        location(out, Tag::Target, target);
    }
    if let Some(source) = &sync.source {
        location(out, Tag::Source, source);
    }
    meta(out, sync.meta.as_deref());
    if let Some(number) = sync.number_of_changes {
        out.number(Tag::NumberOfChanges, number.into());
    }
    for inner in &sync.commands {
        command(out, inner);
    }
    out.end(Tag::Sync);
}
