//! What the device says by itself: alerts, and its DevInfo.

use syncml::{Alert, Item, ItemCommand, Meta, StatusCode, Str, alert};

use super::{
    super::{
        DeviceAlert, Event,
        object::{InboundOf, leaf, transported},
        session::{Input, ServerSession},
        settings::Settings,
    },
    objects::{format_of, item_uri, mime_of},
};

impl ServerSession {
    pub(super) fn handle_alert(&mut self, settings: &Settings, input: Input<'_>, alert: &Alert<'_>) {
        let code = match alert.code {
            _ if alert.cmd_id.is_empty() => StatusCode::BAD_REQUEST,
            None => StatusCode::INCOMPLETE_COMMAND,
            Some(alert::SERVER_INITIATED_MGMT | alert::CLIENT_INITIATED_MGMT) => {
                self.break_off_inbound();
                StatusCode::OK
            }
            Some(alert::NEXT_MESSAGE | alert::SESSION_ABORT) => StatusCode::OK,
            Some(alert::NO_END_OF_DATA) => {
                self.lose_outbound(StatusCode::SIZE_MISMATCH);
                StatusCode::OK
            }
            Some(alert::CLIENT_EVENT | alert::GENERIC_ALERT) => {
                return self.handle_device_alert(settings, input, alert);
            }
            Some(_) => StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED,
        };
        self.owe(input.message, &alert.cmd_id, "Alert", alert.no_resp, code);
    }

    fn handle_device_alert(&mut self, settings: &Settings, input: Input<'_>, alert: &Alert<'_>) {
        let mut codes = Vec::with_capacity(alert.items.len());
        for item in &alert.items {
            let code = judge_alert(alert.code, item);
            let code = if code == StatusCode::OK {
                let what = InboundOf::Alert(device_alert(alert, item));
                let size = item.meta.as_ref().and_then(|meta| meta.size);
                self.handle_object(settings, input, what, size, item).unwrap_or(StatusCode::OK)
            } else {
                code
            };
            codes.push(code);
        }
        self.owe_items(input.message, &alert.cmd_id, "Alert", alert.no_resp, &alert.items, &codes);
    }

    pub(super) fn handle_replace(&mut self, input: Input<'_>, replace: &ItemCommand<'_>) {
        self.break_off_inbound();
        let mut leaves = Vec::new();
        let mut codes = Vec::new();
        for (index, item) in replace.items.iter().enumerate() {
            let uri = item_uri(item).map(|uri| dm_tree::normalise(uri)).unwrap_or_default();
            if replace.cmd_id.is_empty() || item.more_data || !uri.starts_with("DevInfo/") {
                codes.resize(index, StatusCode::OK);
                codes.push(StatusCode::COMMAND_NOT_ALLOWED);
                continue;
            }
            let meta = item.meta.as_deref().or(replace.meta.as_deref());
            let octets = transported(item.data.as_ref());
            // Every session begins with DevInfo, and nearly always with the same.
            if is_known(input.dev_info, uri, octets) && is_plain(meta) {
                continue;
            }
            leaves.push((uri.to_owned(), leaf(octets, format_of(meta), mime_of(meta), input.encoding)));
        }
        if !leaves.is_empty() {
            self.step.events.push_back(Event::DevInfo(leaves));
        }
        if !codes.is_empty() {
            codes.resize(replace.items.len(), StatusCode::OK);
        }
        self.owe_items(input.message, &replace.cmd_id, "Replace", replace.no_resp, &replace.items, &codes);
    }
}

fn is_plain(meta: Option<&Meta<'_>>) -> bool {
    format_of(meta) == dm_tree::Format::Chr && mime_of(meta).is_none()
}

/// Whether the caller has this value of DevInfo already.
fn is_known(known: &[(&str, &str)], uri: &str, octets: &[u8]) -> bool {
    known.iter().any(|(known_uri, value)| *known_uri == uri && value.as_bytes() == octets)
}

/// Whether an alert's item can be understood; what it means is for others to say.
fn judge_alert(code: Option<u16>, item: &Item<'_>) -> StatusCode {
    let meta = item.meta.as_deref();
    let format = meta.and_then(|meta| meta.format.as_deref());
    if meta.and_then(|meta| meta.type_.as_deref()).is_none_or(|type_| type_.trim().is_empty()) {
        // An event of no type cannot be understood; a generic alert of none may still be known by its source.
        return match code {
            Some(alert::CLIENT_EVENT) => StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED,
            _ if item.source.is_some() => StatusCode::OK,
            _ => StatusCode::INCOMPLETE_COMMAND,
        };
    }
    if format.is_some_and(|format| dm_tree::Format::parse(format).is_none()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE_OR_FORMAT;
    }
    StatusCode::OK
}

fn device_alert(alert: &Alert<'_>, item: &Item<'_>) -> DeviceAlert {
    let meta = item.meta.as_deref();
    let owned = |text: Option<&Str<'_>>| text.map(|text| text.as_ref().to_owned());
    DeviceAlert {
        code: alert.code.unwrap_or(alert::GENERIC_ALERT),
        correlator: owned(alert.correlator.as_ref()),
        source: item.source.as_ref().map(|source| dm_tree::normalise(&source.loc_uri).to_owned()),
        type_: owned(meta.and_then(|meta| meta.type_.as_ref())),
        format: owned(meta.and_then(|meta| meta.format.as_ref())),
        mark: owned(meta.and_then(|meta| meta.mark.as_ref())),
        data: Vec::new(),
    }
}
