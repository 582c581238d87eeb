//! Values that the device sends, whole or in chunks.

use syncml::{Item, Meta, StatusCode, Str};

use super::super::{
    Event,
    object::{Chunk, Inbound, InboundOf, leaf, read_value, transported},
    session::{Input, ServerSession},
    settings::Settings,
};

impl ServerSession {
    /// Takes in a value, whole or a chunk of it. Gives the Status that is due for it.
    pub(super) fn handle_object(
        &mut self,
        settings: &Settings,
        input: Input<'_>,
        what: InboundOf,
        size: Option<u64>,
        item: &Item<'_>,
    ) -> Option<StatusCode> {
        let data = transported(item.data.as_ref());
        let goes_on = self.record.inbound.as_ref().is_some_and(|open| open.what.is_same(&what));
        if !goes_on {
            self.break_off_inbound();
            if !item.more_data {
                self.step.progress |= matches!(what, InboundOf::Value { .. });
                self.deliver(input, what, data);
                return None;
            }
            let (inbound, judged) = Inbound::open(what, size, settings.max_obj_size);
            if let Err(code) = judged {
                self.report_inbound(&inbound.what, code);
                self.record.inbound = Some(inbound);
                return Some(code);
            }
            self.record.inbound = Some(inbound);
        }
        let lost = self.record.inbound.as_ref().map(|open| open.what.clone());
        match Inbound::push(&mut self.record.inbound, data, item.more_data) {
            Chunk::Accepted => {
                // To begin objects for ever would be no progress; to go on with one comes to its end.
                self.step.progress |= goes_on;
                Some(StatusCode::CHUNK_ACCEPTED)
            }
            Chunk::Complete(inbound) => {
                self.step.progress = true;
                self.deliver(input, inbound.what, &inbound.data);
                None
            }
            Chunk::Refused(code) => {
                if let Some(what) = lost {
                    self.report_inbound(&what, code);
                }
                Some(code)
            }
            Chunk::Dropped => None,
        }
    }

    fn deliver(&mut self, input: Input<'_>, what: InboundOf, octets: &[u8]) {
        let event = match what {
            InboundOf::Value { tag: Some(tag), uri, format, mime } => {
                Event::Result { tag, uri, leaf: leaf(octets, format, mime, input.encoding) }
            }
            InboundOf::Value { tag: None, .. } => return,
            InboundOf::Alert(mut alert) => {
                let format = alert.format.as_deref().and_then(dm_tree::Format::parse).unwrap_or_default();
                alert.data = read_value(octets, format, input.encoding).into_vec();
                Event::Alert(alert)
            }
        };
        self.step.events.push_back(event);
    }

    fn report_inbound(&mut self, what: &InboundOf, code: StatusCode) {
        if let InboundOf::Value { tag: Some(tag), uri, .. } = what {
            let target = Some(uri.clone());
            self.step.events.push_back(Event::Status { tag: *tag, target, code, items: Vec::new() });
        }
    }

    /// Something else came while an object was open: the device hears so by alert 1225.
    pub(super) fn break_off_inbound(&mut self) {
        let Some(inbound) = self.record.inbound.take() else { return };
        if !inbound.discarding {
            self.report_inbound(&inbound.what, StatusCode::SIZE_MISMATCH);
            self.step.broken_object = Some(dm_tree::full(inbound.what.uri()));
        }
    }
}

pub(super) fn item_uri<'a>(item: &'a Item<'_>) -> Option<&'a Str<'a>> {
    item.source.as_ref().or(item.target.as_ref()).map(|location| &location.loc_uri)
}

pub(super) fn format_of(meta: Option<&Meta<'_>>) -> dm_tree::Format {
    meta.and_then(|meta| meta.format.as_deref()).and_then(dm_tree::Format::parse).unwrap_or_default()
}

pub(super) fn mime_of(meta: Option<&Meta<'_>>) -> Option<Box<str>> {
    let mime = meta.and_then(|meta| meta.type_.as_deref())?.trim();
    (!mime.is_empty() && mime != "text/plain").then(|| mime.into())
}
