//! A notification as it came.

use subtle::ConstantTimeEq as _;

use crate::{
    Initiator, Notification, ParseError, ServerKey, UiMode, Version,
    notification::{DIGEST, HEADER},
};

/// A notification as it came: believed only once [`Received::verify`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The digest that came with it.
    pub digest: [u8; 16],
    /// What it says.
    pub notification: Notification<'a>,
    /// The octets that the digest covers.
    trigger: &'a [u8],
}

impl<'a> Received<'a> {
    /// Reads a notification. The bits for future use are not looked at.
    ///
    /// # Errors
    ///
    /// [`ParseError`] says what was expected at which byte.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let short = |expected| ParseError::Short { expected, at: octets.len() };
        let (digest, trigger) =
            octets.split_first_chunk::<DIGEST>().ok_or_else(|| short("a digest of 16 octets"))?;
        let (&header, body) =
            trigger.split_first_chunk::<HEADER>().ok_or_else(|| short("a trigger's header of 8 octets"))?;
        let [first, second, _, _, _, high, low, id_length] = header;
        let session_id = u16::from_be_bytes([high, low]);
        if session_id == 0 {
            return Err(ParseError::SessionId { at: DIGEST + 5 });
        }
        if id_length == 0 {
            return Err(ParseError::NoServerId { at: DIGEST + 7 });
        }
        let (id, vendor) =
            body.split_at_checked(id_length.into()).ok_or_else(|| short("the rest of the server id"))?;
        let server_id = std::str::from_utf8(id)
            .map_err(|error| ParseError::ServerId { at: DIGEST + HEADER + error.valid_up_to() })?;
        let notification = Notification {
            version: Version(u16::from(first) << 2 | u16::from(second >> 6)),
            ui_mode: UiMode::from_bits(second >> 4),
            initiator: if second & 0b1000 == 0 { Initiator::Client } else { Initiator::Server },
            session_id,
            server_id,
            vendor,
        };
        Ok(Self { digest: *digest, notification, trigger })
    }

    /// Whether it was made by who knows the server's password, with this nonce. Takes as long for every digest.
    pub fn verify(&self, key: &ServerKey, nonce: &[u8]) -> bool {
        self.digest.ct_eq(&key.digest(nonce, self.trigger)).into()
    }
}
