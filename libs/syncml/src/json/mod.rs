//! A message as JSON, to look at.
//!
//! Members have the specification's names and the order of the DTD; what is absent from the message is absent
//! here, what may repeat is an array, and the commands are one array of objects with one member each, named
//! after the command. Numbers are numbers, ids are strings. Octets in `Data` that are no text are
//! `{"base64": "…"}`. There is no way back: two messages that differ have different JSON, but nothing reads it.

mod text;

use base64::{Engine, prelude::BASE64_STANDARD};
use text::Object;

use crate::{
    Alert, Command, Cred, Data, Group, Item, ItemCommand, Location, Map, Message, Meta, Results, Search,
    Status, Str, Sync, SyncHdr, tag::Tag,
};

/// The message as JSON text, indented by two spaces, without a line feed at the end.
///
/// ```
/// let message = syncml::Message::default();
/// assert!(syncml::json::to_json(&message).starts_with("{\n  \"SyncHdr\": {\n"));
/// ```
#[must_use]
pub fn to_json(message: &Message<'_>) -> String {
    let mut out = String::new();
    Object::write(&mut out, 0, |root| {
        root.object(Tag::SyncHdr.name(), |out| sync_hdr(out, &message.hdr));
        root.object(Tag::SyncBody.name(), |out| {
            commands(out, &message.body.commands);
            out.bool(Tag::Final.name(), message.body.is_final);
        });
    });
    out
}

fn sync_hdr(out: &mut Object<'_>, hdr: &SyncHdr<'_>) {
    out.text(Tag::VerDTD.name(), &hdr.ver_dtd);
    out.text(Tag::VerProto.name(), &hdr.ver_proto);
    out.text(Tag::SessionID.name(), &hdr.session_id);
    out.number(Tag::MsgID.name(), Some(hdr.msg_id.into()));
    location(out, Tag::Target, Some(&hdr.target));
    location(out, Tag::Source, Some(&hdr.source));
    some(out, Tag::RespURI, hdr.resp_uri.as_ref());
    flag(out, Tag::NoResp, hdr.no_resp);
    cred(out, hdr.cred.as_ref());
    meta(out, Tag::Meta, hdr.meta.as_deref());
}

fn commands(out: &mut Object<'_>, commands: &[Command<'_>]) {
    out.array("commands", commands, |item, command| {
        item.object(|out| out.object(command.name(), |out| command_members(out, command)));
    });
}

fn command_members(out: &mut Object<'_>, command: &Command<'_>) {
    let cmd_id = command.cmd_id();
    if !cmd_id.is_empty() {
        out.text(Tag::CmdID.name(), cmd_id);
    }
    match command {
        Command::Add(command)
        | Command::Copy(command)
        | Command::Delete(command)
        | Command::Exec(command)
        | Command::Get(command)
        | Command::Move(command)
        | Command::Put(command)
        | Command::Replace(command) => item_command(out, command),
        Command::Alert(command) => alert(out, command),
        Command::Atomic(command) | Command::Sequence(command) => group(out, command),
        Command::Map(command) => map(out, command),
        Command::Results(command) => results(out, command),
        Command::Search(command) => search(out, command),
        Command::Status(command) => status(out, command),
        Command::Sync(command) => sync(out, command),
    }
}

fn item_command(out: &mut Object<'_>, command: &ItemCommand<'_>) {
    flag(out, Tag::NoResp, command.no_resp);
    flag(out, Tag::Archive, command.archive);
    flag(out, Tag::SftDel, command.sft_del);
    some(out, Tag::Lang, command.lang.as_ref());
    cred(out, command.cred.as_ref());
    meta(out, Tag::Meta, command.meta.as_deref());
    some(out, Tag::Correlator, command.correlator.as_ref());
    items(out, &command.items);
}

fn alert(out: &mut Object<'_>, alert: &Alert<'_>) {
    flag(out, Tag::NoResp, alert.no_resp);
    cred(out, alert.cred.as_ref());
    out.number(Tag::Data.name(), alert.code.map(Into::into));
    some(out, Tag::Correlator, alert.correlator.as_ref());
    items(out, &alert.items);
}

fn group(out: &mut Object<'_>, group: &Group<'_>) {
    flag(out, Tag::NoResp, group.no_resp);
    meta(out, Tag::Meta, group.meta.as_deref());
    commands(out, &group.commands);
}

fn results(out: &mut Object<'_>, results: &Results<'_>) {
    out.number(Tag::MsgRef.name(), results.msg_ref.map(Into::into));
    some(out, Tag::CmdRef, results.cmd_ref.as_ref());
    meta(out, Tag::Meta, results.meta.as_deref());
    some(out, Tag::TargetRef, results.target_ref.as_ref());
    some(out, Tag::SourceRef, results.source_ref.as_ref());
    items(out, &results.items);
}

fn status(out: &mut Object<'_>, status: &Status<'_>) {
    out.number(Tag::MsgRef.name(), status.msg_ref.map(Into::into));
    if !status.cmd_ref.is_empty() {
        out.text(Tag::CmdRef.name(), &status.cmd_ref);
    }
    if !status.cmd.is_empty() {
        out.text(Tag::Cmd.name(), &status.cmd);
    }
    texts(out, Tag::TargetRef, &status.target_refs);
    texts(out, Tag::SourceRef, &status.source_refs);
    cred(out, status.cred.as_ref());
    meta(out, Tag::Chal, status.chal.as_deref());
    out.number(Tag::Data.name(), Some(status.data.0.into()));
    items(out, &status.items);
}

fn map(out: &mut Object<'_>, map: &Map<'_>) {
    location(out, Tag::Target, Some(&map.target));
    location(out, Tag::Source, Some(&map.source));
    cred(out, map.cred.as_ref());
    meta(out, Tag::Meta, map.meta.as_deref());
    out.array(Tag::MapItem.name(), &map.items, |item, (target, source)| {
        item.object(|out| {
            location(out, Tag::Target, Some(target));
            location(out, Tag::Source, Some(source));
        });
    });
}

fn search(out: &mut Object<'_>, search: &Search<'_>) {
    flag(out, Tag::NoResp, search.no_resp);
    flag(out, Tag::NoResults, search.no_results);
    cred(out, search.cred.as_ref());
    location(out, Tag::Target, search.target.as_ref());
    out.array(Tag::Source.name(), &search.sources, |item, source| {
        item.object(|out| location_members(out, source));
    });
    some(out, Tag::Lang, search.lang.as_ref());
    meta(out, Tag::Meta, search.meta.as_deref());
    data(out, search.data.as_ref());
}

fn sync(out: &mut Object<'_>, sync: &Sync<'_>) {
    flag(out, Tag::NoResp, sync.no_resp);
    cred(out, sync.cred.as_ref());
    location(out, Tag::Target, sync.target.as_ref());
    location(out, Tag::Source, sync.source.as_ref());
    meta(out, Tag::Meta, sync.meta.as_deref());
    out.number(Tag::NumberOfChanges.name(), sync.number_of_changes.map(Into::into));
    commands(out, &sync.commands);
}

fn items(out: &mut Object<'_>, items: &[Item<'_>]) {
    out.array(Tag::Item.name(), items, |element, item| {
        element.object(|out| {
            location(out, Tag::Target, item.target.as_ref());
            location(out, Tag::Source, item.source.as_ref());
            some(out, Tag::SourceParent, item.source_parent.as_ref());
            some(out, Tag::TargetParent, item.target_parent.as_ref());
            meta(out, Tag::Meta, item.meta.as_deref());
            data(out, item.data.as_ref());
            flag(out, Tag::MoreData, item.more_data);
        });
    });
}

fn data(out: &mut Object<'_>, data: Option<&Data<'_>>) {
    match data {
        Some(Data::Text(text)) => out.text(Tag::Data.name(), text),
        Some(Data::Bytes(octets)) => {
            out.object(Tag::Data.name(), |out| out.text("base64", &BASE64_STANDARD.encode(octets)));
        }
        None => {}
    }
}

fn location(out: &mut Object<'_>, tag: Tag, location: Option<&Location<'_>>) {
    if let Some(location) = location {
        out.object(tag.name(), |out| location_members(out, location));
    }
}

fn location_members(out: &mut Object<'_>, location: &Location<'_>) {
    out.text(Tag::LocURI.name(), &location.loc_uri);
    some(out, Tag::LocName, location.loc_name.as_ref());
}

fn cred(out: &mut Object<'_>, cred: Option<&Cred<'_>>) {
    if let Some(cred) = cred {
        out.object(Tag::Cred.name(), |out| {
            meta(out, Tag::Meta, cred.meta.as_deref());
            out.text(Tag::Data.name(), &cred.data);
        });
    }
}

fn meta(out: &mut Object<'_>, tag: Tag, meta: Option<&Meta<'_>>) {
    let Some(meta) = meta else { return };
    out.object(tag.name(), |out| {
        some(out, Tag::FieldLevel, meta.field_level.as_ref());
        some(out, Tag::Format, meta.format.as_ref());
        some(out, Tag::Type, meta.type_.as_ref());
        some(out, Tag::Mark, meta.mark.as_ref());
        out.number(Tag::Size.name(), meta.size);
        if let Some(anchor) = &meta.anchor {
            out.object(Tag::Anchor.name(), |out| {
                some(out, Tag::Last, anchor.last.as_ref());
                out.text(Tag::Next.name(), &anchor.next);
            });
        }
        some(out, Tag::Version, meta.version.as_ref());
        some(out, Tag::NextNonce, meta.next_nonce.as_ref());
        out.number(Tag::MaxMsgSize.name(), meta.max_msg_size);
        out.number(Tag::MaxObjSize.name(), meta.max_obj_size);
        texts(out, Tag::EMI, &meta.emi);
        if let Some(mem) = &meta.mem {
            out.object(Tag::Mem.name(), |out| {
                flag(out, Tag::SharedMem, mem.shared_mem);
                out.text(Tag::FreeMem.name(), &mem.free_mem);
                out.text(Tag::FreeID.name(), &mem.free_id);
            });
        }
    });
}

fn some(out: &mut Object<'_>, tag: Tag, text: Option<&Str<'_>>) {
    if let Some(text) = text {
        out.text(tag.name(), text);
    }
}

fn texts(out: &mut Object<'_>, tag: Tag, texts: &[Str<'_>]) {
    out.array(tag.name(), texts, |item, text| item.text(text));
}

fn flag(out: &mut Object<'_>, tag: Tag, is_set: bool) {
    if is_set {
        out.bool(tag.name(), true);
    }
}

#[cfg(test)]
mod tests;
