//! What the engine takes from the settings.

use std::{sync::Arc, time::Duration};

use service_kit::settings::{DialectSettings, Enrol, LimitsSettings, Settings};

use storage::limits::{LoginPolicy, Rate};

use crate::address::DM_PATH;

/// What the engine takes from the settings.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    pub(super) public_url: Arc<str>,
    pub(super) server_id: String,
    pub(super) max_msg_size: u64,
    pub(super) max_obj_size: u64,
    pub(super) reply_size_max: u64,
    pub(super) auth_attempts: u64,
    pub(super) enrol: Enrol,
    pub(super) session_keep: Duration,
    pub(super) dialect: DialectSettings,
    pub(super) logins: LoginPolicy,
    pub(super) per_device: Option<Rate>,
    pub(super) key_required: bool,
}

impl EngineSettings {
    /// Takes them. `public_url` is the address by which devices reach the front-end.
    pub fn new(settings: &Settings, public_url: &str) -> Self {
        let session = &settings.session;
        Self {
            public_url: public_url.trim_end_matches('/').into(),
            server_id: session.server_id.clone(),
            max_msg_size: session.max_msg_size.value(),
            max_obj_size: session.max_obj_size.value(),
            reply_size_max: session.reply_size_max.value(),
            auth_attempts: session.auth_attempts.value(),
            enrol: session.enrol,
            session_keep: session.session_keep.value(),
            dialect: settings.dialect.clone(),
            logins: login_policy(&settings.limits),
            key_required: session.key_required,
            per_device: settings.limits.per_device.uses().map(Rate::from),
        }
    }

    pub(super) fn machine(&self) -> dm_protocol::server::Settings {
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        dm_protocol::server::Settings {
            max_msg_size: narrow(self.max_msg_size),
            max_obj_size: narrow(self.max_obj_size),
            reply_size_max: narrow(self.reply_size_max),
            auth_attempts_max: u8::try_from(self.auth_attempts).unwrap_or(u8::MAX),
            resp_uri: Some(format!("{}{DM_PATH}?s=", self.public_url)),
            server_uri: self.server_id.clone(),
            ..Default::default()
        }
    }
}

/// When wrong credentials of devices lock out.
fn login_policy(settings: &LimitsSettings) -> LoginPolicy {
    LoginPolicy {
        per_pair: settings.login_failures.as_bound(),
        per_device: settings.login_failures_per_device.as_bound(),
        per_address: settings.login_failures_per_address.as_bound(),
        window: settings.login_window.value(),
        lock: settings.login_lock.value(),
        lock_max: settings.login_lock_max.value(),
    }
}
