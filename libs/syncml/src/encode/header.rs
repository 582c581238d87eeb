//! The header, and what items and commands share with it, in the order of the DTD.

use super::Sink;
use crate::{Cred, Location, Meta, SyncHdr, tag::Tag};

pub(super) fn begin<S: Sink>(out: &mut S, hdr: &SyncHdr<'_>) {
    out.begin(&hdr.ver_dtd);
    out.start(Tag::SyncHdr);
    out.text(Tag::VerDTD, &hdr.ver_dtd);
    out.text(Tag::VerProto, &hdr.ver_proto);
    out.text(Tag::SessionID, &hdr.session_id);
    out.number(Tag::MsgID, hdr.msg_id.into());
    location(out, Tag::Target, &hdr.target);
    location(out, Tag::Source, &hdr.source);
    out.some(Tag::RespURI, hdr.resp_uri.as_deref());
    out.flag(Tag::NoResp, hdr.no_resp);
    cred(out, hdr.cred.as_ref());
    meta(out, hdr.meta.as_deref());
    out.end(Tag::SyncHdr);
    out.start(Tag::SyncBody);
}

pub(super) fn finish<S: Sink>(out: &mut S, is_final: bool) {
    out.flag(Tag::Final, is_final);
    out.end(Tag::SyncBody);
    out.end(Tag::SyncML);
}

pub(super) fn location<S: Sink>(out: &mut S, tag: Tag, location: &Location<'_>) {
    out.start(tag);
    out.text(Tag::LocURI, &location.loc_uri);
    out.some(Tag::LocName, location.loc_name.as_deref());
    out.end(tag);
}

pub(super) fn cred<S: Sink>(out: &mut S, cred: Option<&Cred<'_>>) {
    let Some(cred) = cred else { return };
    out.start(Tag::Cred);
    meta(out, cred.meta.as_deref());
    out.text(Tag::Data, &cred.data);
    out.end(Tag::Cred);
}

pub(super) fn meta<S: Sink>(out: &mut S, meta: Option<&Meta<'_>>) {
    let Some(meta) = meta else { return };
    out.start(Tag::Meta);
    met_inf(out, meta, meta.format.as_deref());
    out.end(Tag::Meta);
}

/// The children of `Meta`, with another `Format` than its own.
pub(super) fn met_inf<S: Sink>(out: &mut S, meta: &Meta<'_>, format: Option<&str>) {
    out.some(Tag::FieldLevel, meta.field_level.as_deref());
    out.some(Tag::Format, format);
    out.some(Tag::Type, meta.type_.as_deref());
    out.some(Tag::Mark, meta.mark.as_deref());
    number(out, Tag::Size, meta.size);
    if let Some(anchor) = &meta.anchor {
        out.start(Tag::Anchor);
        out.some(Tag::Last, anchor.last.as_deref());
        out.text(Tag::Next, &anchor.next);
        out.end(Tag::Anchor);
    }
    out.some(Tag::Version, meta.version.as_deref());
    out.some(Tag::NextNonce, meta.next_nonce.as_deref());
    number(out, Tag::MaxMsgSize, meta.max_msg_size);
    number(out, Tag::MaxObjSize, meta.max_obj_size);
    for emi in &meta.emi {
        out.text(Tag::EMI, emi);
    }
    if let Some(mem) = &meta.mem {
        out.start(Tag::Mem);
        out.flag(Tag::SharedMem, mem.shared_mem);
        out.text(Tag::FreeMem, &mem.free_mem);
        out.text(Tag::FreeID, &mem.free_id);
        out.end(Tag::Mem);
    }
}

fn number<S: Sink>(out: &mut S, tag: Tag, number: Option<u64>) {
    if let Some(number) = number {
        out.number(tag, number);
    }
}
