//! The header, and what items and commands share with it.

use super::{Decoder, Source};
use crate::{Anchor, Cred, DecodeError, Location, Mem, Meta, SyncHdr, tag::Tag};

impl<'a, S: Source<'a>> Decoder<'_, S> {
    pub(super) fn sync_hdr(&mut self) -> Result<SyncHdr<'a>, DecodeError> {
        let mut hdr = SyncHdr::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::VerDTD => hdr.ver_dtd = self.src.text()?,
                Tag::VerProto => hdr.ver_proto = self.src.text()?,
                Tag::SessionID => {
                    hdr.session_id = self.src.text()?;
                    let chars = hdr.session_id.chars().count();
                    self.check(chars, self.limits.session_id_chars_max, "characters of a SessionID")?;
                }
                Tag::MsgID => hdr.msg_id = self.number("a MsgID in decimal")?.unwrap_or_default(),
                Tag::Target => hdr.target = self.location()?,
                Tag::Source => hdr.source = self.location()?,
                Tag::RespURI => hdr.resp_uri = Some(self.src.text()?),
                Tag::NoResp => hdr.no_resp = self.flag()?,
                Tag::Cred => hdr.cred = Some(self.cred()?),
                Tag::Meta => hdr.meta = Some(self.meta()?),
                _ => self.src.skip()?,
            }
        }
        Ok(hdr)
    }

    pub(super) fn location(&mut self) -> Result<Location<'a>, DecodeError> {
        let mut location = Location::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::LocURI => location.loc_uri = self.src.text()?,
                Tag::LocName => location.loc_name = Some(self.src.text()?),
                _ => self.src.skip()?,
            }
        }
        Ok(location)
    }

    pub(super) fn cred(&mut self) -> Result<Cred<'a>, DecodeError> {
        let mut cred = Cred::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Meta => cred.meta = Some(self.meta()?),
                Tag::Data => cred.data = self.data_text()?,
                _ => self.src.skip()?,
            }
        }
        Ok(cred)
    }

    /// The `Meta` inside `Chal`.
    pub(super) fn chal(&mut self) -> Result<Option<Box<Meta<'a>>>, DecodeError> {
        let mut chal = None;
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Meta => chal = Some(self.meta()?),
                _ => self.src.skip()?,
            }
        }
        Ok(chal)
    }

    pub(super) fn meta(&mut self) -> Result<Box<Meta<'a>>, DecodeError> {
        let mut meta = Box::<Meta<'a>>::default();
        self.met_inf(&mut meta)?;
        Ok(meta)
    }

    /// The children of `Meta`, or of the `MetInf` that some peers put around them.
    fn met_inf(&mut self, meta: &mut Meta<'a>) -> Result<(), DecodeError> {
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::MetInf => self.met_inf(meta)?,
                Tag::FieldLevel => meta.field_level = Some(self.src.text()?),
                Tag::Format => meta.format = Some(self.src.text()?),
                Tag::Type => meta.type_ = Some(self.src.text()?),
                Tag::Mark => meta.mark = Some(self.src.text()?),
                Tag::Size => meta.size = self.number("a Size in decimal")?,
                Tag::Anchor => meta.anchor = Some(self.anchor()?),
                Tag::Version => meta.version = Some(self.src.text()?),
                Tag::NextNonce => meta.next_nonce = Some(self.src.nonce()?),
                Tag::MaxMsgSize => meta.max_msg_size = self.number("a MaxMsgSize in decimal")?,
                Tag::MaxObjSize => meta.max_obj_size = self.number("a MaxObjSize in decimal")?,
                Tag::EMI => {
                    self.count_item()?;
                    meta.emi.push(self.src.text()?);
                }
                Tag::Mem => meta.mem = Some(self.mem()?),
                _ => self.src.skip()?,
            }
        }
        Ok(())
    }

    fn anchor(&mut self) -> Result<Anchor<'a>, DecodeError> {
        let mut anchor = Anchor::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::Last => anchor.last = Some(self.src.text()?),
                Tag::Next => anchor.next = self.src.text()?,
                _ => self.src.skip()?,
            }
        }
        Ok(anchor)
    }

    fn mem(&mut self) -> Result<Mem<'a>, DecodeError> {
        let mut mem = Mem::default();
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::SharedMem => mem.shared_mem = self.flag()?,
                Tag::FreeMem => mem.free_mem = self.src.text()?,
                Tag::FreeID => mem.free_id = self.src.text()?,
                _ => self.src.skip()?,
            }
        }
        Ok(mem)
    }
}
