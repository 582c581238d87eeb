//! Keys. What stands in braces chooses the node of a cluster, so a name must not bring braces of its own.

use std::fmt::Write;

use dm_protocol::DevId;
use storage::{SessionKey, StoreError, TenantId, limits::LimitKey};

/// Octets of a session's id at most, as in every backend.
const SESSION_OCTETS_MAX: usize = 255;

/// Makes keys.
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// `<prefix>s/<tenant>/{<device>/<session>}`
    pub(crate) fn session(&self, operation: &'static str, key: &SessionKey) -> Result<String, StoreError> {
        let octets = key.session.len();
        if octets > SESSION_OCTETS_MAX {
            let reason =
                format!("expected a session id of at most {SESSION_OCTETS_MAX} octets, got {octets}");
            return Err(StoreError::too_large(operation, reason));
        }
        let mut text = self.begin("s/", &key.tenant, &key.device);
        text.push('/');
        push_escaped(&mut text, &key.session);
        text.push('}');
        Ok(text)
    }

    /// `<prefix>d/<tenant>/{<device>}`
    pub(crate) fn device(&self, tenant: &TenantId, device: &DevId) -> String {
        let mut text = self.begin("d/", tenant, device);
        text.push('}');
        text
    }

    /// `<prefix>w/<tenant>/{<device>}`
    pub(crate) fn work(&self, tenant: &TenantId, device: &DevId) -> String {
        let mut text = self.begin("w/", tenant, device);
        text.push('}');
        text
    }

    /// `<prefix>l/<scope>/<tenant>/{.<name>}`
    pub(crate) fn limit(&self, key: &LimitKey) -> String {
        let scope = key.scope.name();
        let names = scope.len() + key.tenant.0.len() + key.name.len();
        let mut text = String::with_capacity(self.prefix.len() + names + 32);
        text.push_str(&self.prefix);
        text.push_str("l/");
        text.push_str(scope);
        text.push('/');
        push_escaped(&mut text, &key.tenant.0);
        // An empty tag would be none.
        text.push_str("/{.");
        push_escaped(&mut text, &key.name);
        text.push('}');
        text
    }

    fn begin(&self, kind: &str, tenant: &TenantId, device: &DevId) -> String {
        let names = tenant.0.len() + device.as_str().len();
        let mut text = String::with_capacity(self.prefix.len() + names + 32);
        text.push_str(&self.prefix);
        text.push_str(kind);
        push_escaped(&mut text, &tenant.0);
        text.push_str("/{");
        push_escaped(&mut text, device.as_str());
        text
    }
}

/// A name, with what has a meaning in keys written as `%` and two digits: two names never become one.
fn push_escaped(text: &mut String, name: &str) {
    for character in name.chars() {
        if matches!(character, '%' | '/' | '{' | '}') {
            // Writing to a string does not fail.
            let _ = write!(text, "%{:02X}", u32::from(character));
        } else {
            text.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(device: &str, session: &str) -> String {
        let key = SessionKey {
            tenant: TenantId::default(),
            device: DevId::parse(device).unwrap(),
            session: session.into(),
        };
        Keys::new("test:").session("test", &key).unwrap()
    }

    #[test]
    fn names_cannot_forge_a_tag_or_meet() {
        for (device, id, want) in [
            ("IMEI:1", "17", "test:s/default/{IMEI:1/17}"),
            ("IMEI:1/1", "7", "test:s/default/{IMEI:1%2F1/7}"),
            ("IMEI:1", "1/7", "test:s/default/{IMEI:1/1%2F7}"),
            ("}{x}", "", "test:s/default/{%7D%7Bx%7D/}"),
            ("%7D", "", "test:s/default/{%257D/}"),
        ] {
            assert_eq!(session(device, id), want);
        }
    }

    #[test]
    fn refuses_a_session_id_that_is_too_long() {
        let key = SessionKey {
            tenant: TenantId::default(),
            device: DevId::parse("IMEI:1").unwrap(),
            session: "x".repeat(SESSION_OCTETS_MAX + 1).into(),
        };
        let error = Keys::new("").session("test", &key).unwrap_err();
        assert_eq!(error.kind, storage::ErrorKind::TooLarge);
    }
}
