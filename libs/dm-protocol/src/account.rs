//! What a session must know about a device to authenticate it, and itself to it.

use serde::{Deserialize, Serialize};

use crate::auth;

/// The credentials of one device and of the server towards it, opened for one step of a session.
///
/// Stored sealed; [`std::fmt::Debug`] shows no secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// How the device proves itself.
    pub client: ClientAuth,
    /// How the server proves itself to the device; `None` where it never does.
    pub server: Option<ServerAuth>,
    /// The nonces of both directions.
    pub nonces: Nonces,
}

/// An authentication scheme of DM (DM Security 1.2, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// `syncml:auth-basic`
    Basic,
    /// `syncml:auth-md5`
    Md5,
}

impl Scheme {
    /// The `Type` of its credentials and challenges.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => auth::BASIC,
            Self::Md5 => auth::MD5,
        }
    }

    /// Reads the `Type` of a credential or challenge; `None` for a scheme that is not spoken here.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Basic, Self::Md5].into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// How a device proves itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// It need not.
    None,
    /// By user name and password.
    Password {
        /// The weakest scheme that is taken: `Basic` takes both, `Md5` takes only MD5.
        scheme: Scheme,
        /// The user name.
        user: String,
        /// `MD5(user ":" password)`: enough to check both schemes, so the password is not kept.
        digest: [u8; 16],
    },
}

/// How the server proves itself to a device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAuth {
    /// The server's identifier, which is the user name of its credentials and the name in ACLs.
    pub server_id: String,
    /// The password; basic needs it whole.
    pub password: String,
    /// The scheme the device asked for last; until it has, that of the device's own credentials.
    pub scheme: Scheme,
}

/// Nonces, as raw octets. A nonce is used once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonces {
    /// What the device's next MD5 credential must be made with.
    pub client: Option<Vec<u8>>,
    /// The one that was used last. It is never accepted again; by it a copy of the message that used it is known.
    pub client_previous: Option<Vec<u8>>,
    /// What the server's next MD5 credential must be made with.
    pub server: Option<Vec<u8>>,
}

impl Nonces {
    /// The device never proved itself with a nonce of ours, so its first digest is made with none.
    pub(crate) fn is_first_contact(&self) -> bool {
        self.client.is_none() && self.client_previous.is_none()
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}
