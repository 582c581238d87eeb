//! The digest that proves who asks (DM Notification 1.2, section 6.2).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};

/// `MD5(server id ":" server password)`: what both sides make digests with. [`fmt::Debug`] does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey([u8; 16]);

impl ServerKey {
    /// The key of a server's account on a device.
    pub fn derive(server_id: &str, password: &str) -> Self {
        Self(md5(&[server_id.as_bytes(), b":", password.as_bytes()]))
    }

    /// The digest of a trigger, made with the nonce that the device gave last; no octets where it never gave one.
    pub(crate) fn digest(&self, nonce: &[u8], trigger: &[u8]) -> [u8; 16] {
        let key = STANDARD.encode(self.0);
        let trigger = STANDARD.encode(md5(&[trigger]));
        md5(&[key.as_bytes(), b":", nonce, b":", trigger.as_bytes()])
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(..)")
    }
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
