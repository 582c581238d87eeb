//! Alert codes by name (wire.md 3.6). [`crate::Alert::code`] stays a number: devices send others.

/// Show a text to the user.
pub const DISPLAY: u16 = 1100;
/// Ask the user yes or no.
pub const CONFIRM_OR_REJECT: u16 = 1101;
/// Ask the user for a text.
pub const TEXT_INPUT: u16 = 1102;
/// Let the user choose one.
pub const SINGLE_CHOICE: u16 = 1103;
/// Let the user choose any number.
pub const MULTIPLE_CHOICE: u16 = 1104;
/// A session that the server asked for; in package 1.
pub const SERVER_INITIATED_MGMT: u16 = 1200;
/// A session that the device began of itself; in package 1.
pub const CLIENT_INITIATED_MGMT: u16 = 1201;
/// Asks for the next message of a package.
pub const NEXT_MESSAGE: u16 = 1222;
/// Ends the session at once.
pub const SESSION_ABORT: u16 = 1223;
/// An event of the device; what kind is said by its item's Type.
pub const CLIENT_EVENT: u16 = 1224;
/// The last chunk of a large object did not come.
pub const NO_END_OF_DATA: u16 = 1225;
/// An event of a management object, such as the end of a firmware update.
pub const GENERIC_ALERT: u16 = 1226;
