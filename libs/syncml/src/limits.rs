//! What a message may cost before it is refused.

/// Bounds that hold while a message is decoded; each is checked before the memory it guards is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the whole message. Default 4 MiB.
    pub message_bytes_max: usize,
    /// Elements open at one time, also those that are skipped and those inside `Data`. Default 64, which is
    /// also what no real message comes near; more than 128 is taken as 128, since commands nest on the stack.
    pub depth_max: usize,
    /// Commands, counted at all levels. Default 4,096.
    pub commands_max: usize,
    /// Items of all commands together, and with them everything else that may repeat: `TargetRef`,
    /// `SourceRef`, `MapItem`, `EMI` and the sources of a Search. Default 16,384.
    pub items_max: usize,
    /// Octets of one text outside of `Data`: an address, an id, a type, a credential. Default 16 KiB.
    pub text_bytes_max: usize,
    /// Characters of a `SessionID`. The specification has 4; Windows sends up to 6. Default 32.
    pub session_id_chars_max: usize,
    /// Octets that are copied because text came in pieces (entities, string tables, elements inside `Data`),
    /// over the whole message. It bounds what references to one long string can add up to. Default 4 MiB.
    pub copied_bytes_max: usize,
}

/// See [`Limits::depth_max`].
pub(crate) const DEPTH_CAP: usize = 128;

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 4 << 20,
            depth_max: 64,
            commands_max: 4_096,
            items_max: 16_384,
            text_bytes_max: 16 << 10,
            session_id_chars_max: 32,
            copied_bytes_max: 4 << 20,
        }
    }
}
