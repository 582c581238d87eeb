//! The frame of a WAP push without a session (WSP, connectionless), as devices expect it on UDP port 2948 or in an SMS.
//!
//! ```text
//! 01        transaction id
//! 06        Push
//! 03        octets of the headers
//! C4        Content-Type: application/vnd.syncml.notification (0x44)
//! AF 87     X-WAP-Application-ID: x-wap-application:syncml.dm (0x07)
//! ```

use crate::ParseError;

/// The port of WAP push without a session, not secured.
pub const PORT: u16 = 2948;

/// The user data header that goes before the frame in an SMS of one part: application ports 2948 and 0xC002.
pub const SMS_HEADER: [u8; 7] = [0x06, 0x05, 0x04, 0x0B, 0x84, 0xC0, 0x02];

const PUSH: u8 = 0x06;
/// Content type 0x44 as a short integer.
const CONTENT_TYPE: u8 = 0x44 | 0x80;
/// Field 0x2F and value 0x07, both as short integers.
const APPLICATION_ID: [u8; 2] = [0x2F | 0x80, 0x07 | 0x80];

/// A push as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push<'a> {
    /// Any number of the sender's.
    pub transaction_id: u8,
    /// What is in it: see [`crate::Received::parse`].
    pub notification: &'a [u8],
}

/// A notification in its frame.
pub fn encode(transaction_id: u8, notification: &[u8]) -> Vec<u8> {
    let [field, value] = APPLICATION_ID;
    [&[transaction_id, PUSH, 3, CONTENT_TYPE, field, value], notification].concat()
}

/// Reads a frame. Headers behind content type and application id are left alone.
///
/// # Errors
///
/// [`ParseError`] says what was expected at which byte.
pub fn parse(octets: &[u8]) -> Result<Push<'_>, ParseError> {
    let [transaction_id, type_, length, rest @ ..] = octets else {
        return Err(ParseError::Short { expected: "a push's header of 3 octets", at: octets.len() });
    };
    expect(*type_, PUSH, "the type 0x06 of a push", 1)?;
    if *length < 3 || length & 0x80 != 0 {
        let expected = "3 to 127 octets of headers";
        return Err(ParseError::Unexpected { expected, at: 2, got: *length });
    }
    let (headers, notification) = rest
        .split_at_checked(usize::from(*length))
        .ok_or(ParseError::Short { expected: "the rest of the headers", at: octets.len() })?;
    if let [content_type, field, value, ..] = headers {
        expect(*content_type, CONTENT_TYPE, "the content type 0xc4 of a notification", 3)?;
        expect(*field, APPLICATION_ID[0], "the field 0xaf of the application id", 4)?;
        expect(*value, APPLICATION_ID[1], "the application id 0x87 of device management", 5)?;
    }
    Ok(Push { transaction_id: *transaction_id, notification })
}

fn expect(got: u8, want: u8, expected: &'static str, at: usize) -> Result<(), ParseError> {
    if got == want { Ok(()) } else { Err(ParseError::Unexpected { expected, at, got }) }
}
