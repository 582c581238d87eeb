//! Status codes by name (RepPro 1.2, section 10; wire.md 4).

use crate::StatusCode;

impl StatusCode {
    /// Being worked on. Not used by DM.
    pub const IN_PROGRESS: Self = Self(101);
    /// Done; for SyncHdr, authenticated for this message only; for alert 1101, yes.
    pub const OK: Self = Self(200);
    /// Added. Not used by DM; a success of Add.
    pub const ITEM_ADDED: Self = Self(201);
    /// Accepted for processing; an Exec or a generic alert whose end is reported later.
    pub const ACCEPTED: Self = Self(202);
    /// Done, and there is nothing to return. Not used by DM.
    pub const NO_CONTENT: Self = Self(204);
    /// The credentials are accepted for the whole session; for SyncHdr only.
    pub const AUTHENTICATION_ACCEPTED: Self = Self(212);
    /// The chunk of a large object is accepted and buffered.
    pub const CHUNK_ACCEPTED: Self = Self(213);
    /// The user cancelled the interaction.
    pub const OPERATION_CANCELLED: Self = Self(214);
    /// Skipped: the user decided so, the session was aborted, or the Atomic around it failed.
    pub const NOT_EXECUTED: Self = Self(215);
    /// Undone, because the Atomic around it failed.
    pub const ATOMIC_ROLLED_BACK: Self = Self(216);
    /// Done, with the access rights of the parent.
    pub const OK_WITH_INHERITED_ACL: Self = Self(217);
    /// Nothing changed; for alert 1101, no.
    pub const NOT_MODIFIED: Self = Self(304);
    /// Malformed.
    pub const BAD_REQUEST: Self = Self(400);
    /// For SyncHdr, the credentials are refused; for a command, the principal lacks the right.
    pub const INVALID_CREDENTIALS: Self = Self(401);
    /// Payment is needed. Not used by DM.
    pub const PAYMENT_NEEDED: Self = Self(402);
    /// Refused for another reason than access rights.
    pub const FORBIDDEN: Self = Self(403);
    /// The node does not exist.
    pub const NOT_FOUND: Self = Self(404);
    /// The node does not allow the command.
    pub const COMMAND_NOT_ALLOWED: Self = Self(405);
    /// An optional feature that is not there.
    pub const OPTIONAL_FEATURE_NOT_SUPPORTED: Self = Self(406);
    /// Credentials are needed and none came.
    pub const MISSING_CREDENTIALS: Self = Self(407);
    /// The user did not answer in time.
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// In conflict with another command. Not used by DM.
    pub const CONFLICT: Self = Self(409);
    /// Gone for good. Not used by DM.
    pub const GONE: Self = Self(410);
    /// A large object came without its Size.
    pub const SIZE_REQUIRED: Self = Self(411);
    /// A mandatory part of the command is missing.
    pub const INCOMPLETE_COMMAND: Self = Self(412);
    /// The object is larger than the recipient takes.
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(413);
    /// The address is longer or deeper than the device takes.
    pub const URI_TOO_LONG: Self = Self(414);
    /// The Type or the Format is not supported.
    pub const UNSUPPORTED_MEDIA_TYPE_OR_FORMAT: Self = Self(415);
    /// The interaction cannot be shown in that size.
    pub const REQUESTED_SIZE_NOT_AVAILABLE: Self = Self(416);
    /// Try again later.
    pub const RETRY_LATER: Self = Self(417);
    /// The node exists already.
    pub const ALREADY_EXISTS: Self = Self(418);
    /// The device has no room left.
    pub const DEVICE_FULL: Self = Self(420);
    /// The chunks of a large object do not add up to its Size.
    pub const SIZE_MISMATCH: Self = Self(424);
    /// The access control list says no.
    pub const PERMISSION_DENIED: Self = Self(425);
    /// Failed, for a reason that no other code names.
    pub const COMMAND_FAILED: Self = Self(500);
    /// The command is not implemented.
    pub const COMMAND_NOT_IMPLEMENTED: Self = Self(501);
    /// Out of service for now; for SyncHdr, the session ends.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// The VerDTD is not supported; for SyncHdr.
    pub const DTD_VERSION_NOT_SUPPORTED: Self = Self(505);
    /// An error while processing.
    pub const PROCESSING_ERROR: Self = Self(506);
    /// A command inside the Atomic failed.
    pub const ATOMIC_FAILED: Self = Self(507);
    /// Not used by DM.
    pub const REFRESH_REQUIRED: Self = Self(508);
    /// The store failed.
    pub const DATA_STORE_FAILURE: Self = Self(510);
    /// The server failed.
    pub const SERVER_FAILURE: Self = Self(511);
    /// The VerProto is not supported; for SyncHdr.
    pub const PROTOCOL_VERSION_NOT_SUPPORTED: Self = Self(513);
    /// Cancelled, or the cancelling failed; clients differ.
    pub const OPERATION_CANCELLED_BY_RECIPIENT: Self = Self(514);
    /// Could not be undone; the tree may be half changed.
    pub const ATOMIC_ROLL_BACK_FAILED: Self = Self(516);
    /// The answer to the Atomic does not fit a message.
    pub const ATOMIC_RESPONSE_TOO_LARGE: Self = Self(517);

    /// The 2xx codes: the command was done, or is accepted to be done.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self.0, 200..=299)
    }
}

impl std::fmt::Display for StatusCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
