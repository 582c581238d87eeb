//! What a notification says, and its octets.

use crate::{BuildError, ServerKey};

/// Octets of the digest.
pub(crate) const DIGEST: usize = 16;
/// Octets of the trigger before the server id.
pub(crate) const HEADER: usize = 8;

/// The version of the notification: ten times its number, ten bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub(crate) u16);

impl Version {
    /// 1.0
    pub const V1_0: Self = Self(10);
    /// 1.1, which servers of DM 1.2 send: some clients take no other.
    pub const V1_1: Self = Self(11);
    /// 1.2
    pub const V1_2: Self = Self(12);

    /// Ten times the number.
    pub fn tenths(self) -> u16 {
        self.0
    }
}

/// What the device's user sees of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UiMode {
    /// The device decides.
    #[default]
    NotSpecified,
    /// Nothing.
    Background,
    /// That it happens.
    Informative,
    /// The user is asked first.
    Interaction,
}

impl UiMode {
    /// All, by their two bits.
    pub const ALL: [Self; 4] = [Self::NotSpecified, Self::Background, Self::Informative, Self::Interaction];

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self::ALL[usize::from(bits & 3)]
    }
}

/// Who wanted the session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The device, or its user.
    Client,
    /// The server.
    Server,
}

/// What a trigger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// Of the notification, not of DM.
    pub version: Version,
    /// What the user sees.
    pub ui_mode: UiMode,
    /// Who wanted it.
    pub initiator: Initiator,
    /// The session that the device is to open; never 0. A new one for each request, the same when a request is repeated.
    pub session_id: u16,
    /// The server, as in the device's account: 1 to 255 octets. Some clients refuse more than 23.
    pub server_id: &'a str,
    /// What a vendor adds; covered by the digest.
    pub vendor: &'a [u8],
}

impl<'a> Notification<'a> {
    /// The server asks for a session, and the device decides what its user sees.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for an id that has no place in the header.
    pub fn new(server_id: &'a str, session_id: u16) -> Result<Self, BuildError> {
        if !(1..=255).contains(&server_id.len()) {
            return Err(BuildError::ServerId(server_id.len()));
        }
        if session_id == 0 {
            return Err(BuildError::SessionId);
        }
        Ok(Self {
            version: Version::V1_1,
            ui_mode: UiMode::NotSpecified,
            initiator: Initiator::Server,
            session_id,
            server_id,
            vendor: &[],
        })
    }

    /// The same with this UI mode.
    #[must_use]
    pub fn with_ui_mode(self, ui_mode: UiMode) -> Self {
        Self { ui_mode, ..self }
    }

    /// The same in this version.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The same from this initiator.
    #[must_use]
    pub fn with_initiator(self, initiator: Initiator) -> Self {
        Self { initiator, ..self }
    }

    /// The session id as the device writes it into its messages: upper-case hexadecimal without leading zeros.
    pub fn session_id_text(&self) -> String {
        format!("{:X}", self.session_id)
    }

    /// The whole notification. `nonce` is the raw nonce that the device gave the server last, empty where it never did.
    pub fn encode(&self, key: &ServerKey, nonce: &[u8]) -> Vec<u8> {
        let trigger = self.trigger();
        [&key.digest(nonce, &trigger)[..], &trigger].concat()
    }

    /// Header and body, without the digest.
    fn trigger(&self) -> Vec<u8> {
        let Version(version) = self.version;
        let initiator = u8::from(self.initiator == Initiator::Server);
        let [high, low] = self.session_id.to_be_bytes();
        // A server id is of 1 to 255 octets by `new`; one put into the field later is cut to what the length can say.
        let id = &self.server_id.as_bytes()[..self.server_id.len().min(255)];
        let mut trigger = vec![
            (version >> 2) as u8,
            ((version & 3) << 6) as u8 | (self.ui_mode as u8) << 4 | initiator << 3,
            0,
            0,
            0,
            high,
            low,
            id.len() as u8,
        ];
        debug_assert_eq!(trigger.len(), HEADER);
        trigger.extend_from_slice(id);
        trigger.extend_from_slice(self.vendor);
        trigger
    }
}
