//! What a server decides about all of its sessions.

/// Bounds and identity of the server, the same for all of its sessions. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest message the server takes, in octets, as stated in `MaxMsgSize`. It only tells the device;
    /// what is larger must be refused before it is decoded. Default 256 KiB: some clients end a session when
    /// an answer does not fit a small one, so it should not be small.
    pub max_msg_size: u32,
    /// The largest object a device may send, in octets as transported, as stated in `MaxObjSize`. A larger one
    /// is answered 413. An object in transit is kept in the session's record. Default 1 MiB.
    pub max_obj_size: u32,
    /// The largest answer, in octets, also for a device that stated a larger `MaxMsgSize` or none; it is what
    /// splits a large object into chunks. Default 64 KiB.
    pub reply_size_max: u32,
    /// Messages without a good credential in one session until the device is cut off with 401 and no
    /// challenge. At least 2, because a nonce may be stale. Default 3.
    pub auth_attempts_max: u8,
    /// Messages in a row that bring nothing forward until the session is aborted with alert 1223. Default 10.
    pub idle_rounds_max: u8,
    /// The address that the device shall use for the rest of the session; the session's key is appended to it
    /// (`https://dm.example.org/dm?s=` becomes `https://dm.example.org/dm?s=5b0c…`). Default `None`: no `RespURI`.
    pub resp_uri: Option<String>,
    /// `Source/LocURI` of answers to a device whose account names no server id. Default `flotilla`.
    pub server_uri: String,
    /// Accept credentials made with the special nonces of resynchronisation (DM Notification 1.2, section 5).
    /// It weakens the protection against replay. Default off.
    pub nonce_resync: bool,
    /// Accept only credentials made with the nonce that the last session left, and challenge nobody: somebody is guessing at
    /// this device's password, and does not know that nonce. Default off.
    pub known_nonce_only: bool,
    /// How long, in seconds, the message that opened a session and is sent again octet by octet is taken for a
    /// repetition rather than for a new session of the same number. Default 10.
    pub repeat_window_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_msg_size: 256 << 10,
            max_obj_size: 1 << 20,
            reply_size_max: 64 << 10,
            auth_attempts_max: 3,
            idle_rounds_max: 10,
            resp_uri: None,
            server_uri: "flotilla".into(),
            nonce_resync: false,
            known_nonce_only: false,
            repeat_window_s: 10,
        }
    }
}
