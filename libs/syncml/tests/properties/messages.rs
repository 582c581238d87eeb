//! Any message, as decoding could give it.
//!
//! What decoding never gives is left out: white space around texts, characters that XML cannot carry, and
//! octets that are text.

use proptest::{collection::vec, option::of, prelude::*};
use syncml::{
    Alert, Anchor, Command, Cred, Data, Group, Item, ItemCommand, Location, Map, Mem, Message, Meta, Results,
    Search, Status, StatusCode, Str, Sync, SyncBody, SyncHdr,
};

type Data_ = Data<'static>;

/// A message whose `Data` both encodings carry as it is.
pub(super) fn message() -> BoxedStrategy<Message<'static>> {
    any_message(text_data().boxed())
}

/// A message whose `Data` may be octets.
pub(super) fn octets_message() -> BoxedStrategy<Message<'static>> {
    let octets = vec(any::<u8>(), 0..24).prop_map(|octets| Data::from_octets(octets.into()));
    any_message(prop_oneof![text_data(), octets].boxed())
}

fn any_message(data: BoxedStrategy<Data_>) -> BoxedStrategy<Message<'static>> {
    (hdr(), vec(command(data), 0..5), any::<bool>())
        .prop_map(|(hdr, commands, is_final)| Message { hdr, body: SyncBody { commands, is_final } })
        .boxed()
}

/// Characters of every kind that XML, WBXML or a careless writer could trip over.
fn text() -> BoxedStrategy<Str<'static>> {
    prop_oneof![
        4 => "[./A-Za-z0-9:?=_-]{0,16}",
        1 => "[<>&'\"\\]é€\u{85}\u{FEFF}\u{FFFD}\u{10000} \t\n\r;#]{0,12}",
    ]
    .prop_map(|text: String| text.trim_matches([' ', '\t', '\n', '\r']).to_owned().into())
    .boxed()
}

fn text_data() -> BoxedStrategy<Data_> {
    prop_oneof![
        3 => "[ -~\t\n\r]{0,24}",
        1 => "[<>&'\"\\]é€\u{85}\u{FEFF}\u{FFFD}\u{10000} \t\n\r;#]{0,12}",
        1 => Just("<MgmtTree xmlns=\"syncml:dmddf1.2\"><VerDTD>1.2</VerDTD></MgmtTree>".to_owned()),
        1 => Just("]]>".to_owned()),
    ]
    .prop_map(Data::from)
    .boxed()
}

fn location() -> BoxedStrategy<Location<'static>> {
    (text(), of(text())).prop_map(|(loc_uri, loc_name)| Location { loc_uri, loc_name }).boxed()
}

fn meta() -> BoxedStrategy<Box<Meta<'static>>> {
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()));
    let numbers = (of(any::<u64>()), of(any::<u64>()), of(0..10_000_u64));
    let anchor = (of(text()), text()).prop_map(|(last, next)| Anchor { last, next });
    let mem = (any::<bool>(), text(), text()).prop_map(|(shared_mem, free_mem, free_id)| Mem {
        shared_mem,
        free_mem,
        free_id,
    });
    (texts, numbers, of(anchor), vec(text(), 0..3), of(mem))
        .prop_map(|(texts, numbers, anchor, emi, mem)| {
            let (field_level, format, type_, mark, version, next_nonce) = texts;
            let (size, max_msg_size, max_obj_size) = numbers;
            Box::new(Meta {
                field_level,
                format,
                type_,
                mark,
                size,
                anchor,
                version,
                next_nonce,
                max_msg_size,
                max_obj_size,
                emi,
                mem,
            })
        })
        .boxed()
}

fn cred() -> BoxedStrategy<Cred<'static>> {
    (of(meta()), text()).prop_map(|(meta, data)| Cred { meta, data }).boxed()
}

fn hdr() -> BoxedStrategy<SyncHdr<'static>> {
    let versions = prop_oneof![
        Just(("1.2", "DM/1.2")),
        Just(("1.1", "DM/1.1")),
        Just(("1.2", "DM/1.3")),
        Just(("", ""))
    ];
    let ids = ("[0-9A-F]{0,32}", any::<u32>(), location(), location());
    (versions, ids, of(text()), any::<bool>(), of(cred()), of(meta()))
        .prop_map(
            |((ver_dtd, ver_proto), (session_id, msg_id, target, source), resp_uri, no_resp, cred, meta)| {
                SyncHdr {
                    ver_dtd: ver_dtd.into(),
                    ver_proto: ver_proto.into(),
                    session_id: session_id.into(),
                    msg_id,
                    target,
                    source,
                    resp_uri,
                    no_resp,
                    cred,
                    meta,
                }
            },
        )
        .boxed()
}

fn item(data: BoxedStrategy<Data_>) -> BoxedStrategy<Item<'static>> {
    (of(location()), of(location()), of(text()), of(text()), of(meta()), of(data), any::<bool>())
        .prop_map(|(target, source, source_parent, target_parent, meta, data, more_data)| Item {
            target,
            source,
            source_parent,
            target_parent,
            meta,
            data,
            more_data,
        })
        .boxed()
}

fn item_command(data: BoxedStrategy<Data_>) -> BoxedStrategy<ItemCommand<'static>> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (text(), flags, of(text()), of(cred()), of(meta()), of(text()), vec(item(data), 0..4))
        .prop_map(|(cmd_id, (no_resp, archive, sft_del), lang, cred, meta, correlator, items)| ItemCommand {
            cmd_id,
            no_resp,
            archive,
            sft_del,
            lang,
            cred,
            meta,
            correlator,
            items,
        })
        .boxed()
}

fn alert(data: BoxedStrategy<Data_>) -> BoxedStrategy<Alert<'static>> {
    (text(), any::<bool>(), of(cred()), of(any::<u16>()), of(text()), vec(item(data), 0..3))
        .prop_map(|(cmd_id, no_resp, cred, code, correlator, items)| Alert {
            cmd_id,
            no_resp,
            cred,
            code,
            correlator,
            items,
        })
        .boxed()
}

fn results(data: BoxedStrategy<Data_>) -> BoxedStrategy<Results<'static>> {
    (text(), of(any::<u32>()), of(text()), of(meta()), of(text()), of(text()), vec(item(data), 0..3))
        .prop_map(|(cmd_id, msg_ref, cmd_ref, meta, target_ref, source_ref, items)| Results {
            cmd_id,
            msg_ref,
            cmd_ref,
            meta,
            target_ref,
            source_ref,
            items,
        })
        .boxed()
}

fn status(data: BoxedStrategy<Data_>) -> BoxedStrategy<Status<'static>> {
    let refs = (vec(text(), 0..3), vec(text(), 0..3));
    let ids = (text(), of(any::<u32>()), text(), text());
    (ids, refs, of(cred()), of(meta()), any::<u16>(), vec(item(data), 0..2))
        .prop_map(|((cmd_id, msg_ref, cmd_ref, cmd), (target_refs, source_refs), cred, chal, data, items)| {
            Status {
                cmd_id,
                msg_ref,
                cmd_ref,
                cmd,
                target_refs,
                source_refs,
                cred,
                chal,
                data: StatusCode(data),
                items,
            }
        })
        .boxed()
}

fn map() -> BoxedStrategy<Map<'static>> {
    (text(), location(), location(), of(cred()), of(meta()), vec((location(), location()), 0..3))
        .prop_map(|(cmd_id, target, source, cred, meta, items)| Map {
            cmd_id,
            target,
            source,
            cred,
            meta,
            items,
        })
        .boxed()
}

fn search(data: BoxedStrategy<Data_>) -> BoxedStrategy<Search<'static>> {
    let flags = (any::<bool>(), any::<bool>());
    (text(), flags, of(cred()), of(location()), vec(location(), 0..3), of(text()), of(meta()), of(data))
        .prop_map(|(cmd_id, (no_resp, no_results), cred, target, sources, lang, meta, data)| Search {
            cmd_id,
            no_resp,
            no_results,
            cred,
            target,
            sources,
            lang,
            meta,
            data,
        })
        .boxed()
}

fn command(data: BoxedStrategy<Data_>) -> BoxedStrategy<Command<'static>> {
    let plain = prop_oneof![
        6 => (0..8_u8, item_command(data.clone())).prop_map(|(kind, command)| match kind {
            0 => Command::Add(command),
            1 => Command::Copy(command),
            2 => Command::Delete(command),
            3 => Command::Exec(command),
            4 => Command::Get(command),
            5 => Command::Move(command),
            6 => Command::Put(command),
            _ => Command::Replace(command),
        }),
        2 => alert(data.clone()).prop_map(Command::Alert),
        2 => results(data.clone()).prop_map(Command::Results),
        3 => status(data.clone()).prop_map(Command::Status),
        1 => map().prop_map(Command::Map),
        1 => search(data).prop_map(Command::Search),
    ];
    plain
        .prop_recursive(2, 8, 3, |inner| {
            let group = (text(), any::<bool>(), of(meta()), vec(inner.clone(), 0..3))
                .prop_map(|(cmd_id, no_resp, meta, commands)| Group { cmd_id, no_resp, meta, commands });
            let ids = (text(), any::<bool>(), of(cred()), of(location()), of(location()));
            let sync = (ids, of(meta()), of(any::<u32>()), vec(inner, 0..3)).prop_map(
                |((cmd_id, no_resp, cred, target, source), meta, number_of_changes, commands)| Sync {
                    cmd_id,
                    no_resp,
                    cred,
                    target,
                    source,
                    meta,
                    number_of_changes,
                    commands,
                },
            );
            prop_oneof![
                (any::<bool>(), group).prop_map(|(is_atomic, group)| {
                    if is_atomic { Command::Atomic(group) } else { Command::Sequence(group) }
                }),
                sync.prop_map(Command::Sync),
            ]
        })
        .boxed()
}
