//! The message type that both encodings share.
//!
//! A [`Message`] borrows from the bytes it was decoded from; text is owned only where an entity, a
//! character reference or a string-table reference forced a copy. [`Message::into_owned`] ends the borrow.
//!
//! Field order follows the DTD (OMA-SyncML-RepPro 1.2), which is the order of writing; reading accepts any.

use std::borrow::Cow;

/// Text of a message: borrowed from the input wherever it stands there unescaped.
pub type Str<'a> = Cow<'a, str>;

/// One SyncML message (RepPro 1.2, section 5.1): a header, the commands, and whether the package ends here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks to whom, in which session, and with which credentials.
    pub hdr: SyncHdr<'a>,
    /// The commands, in the order of the message.
    pub body: SyncBody<'a>,
}

/// The header of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncHdr<'a> {
    /// `1.1` or `1.2`. It decides the namespace and the public id that are written.
    pub ver_dtd: Str<'a>,
    /// `DM/1.1`, `DM/1.2` or `DM/1.3`.
    pub ver_proto: Str<'a>,
    /// Opaque; at most 32 characters are accepted, and echoed unchanged.
    pub session_id: Str<'a>,
    /// From 1, one more with each message of its sender in the session.
    pub msg_id: u32,
    /// The server's URL (from a device) or the device's id (from the server).
    pub target: Location<'a>,
    /// The device's id (from a device) or the server's URL or id (from the server).
    pub source: Location<'a>,
    /// Where the next message of the session goes.
    pub resp_uri: Option<Str<'a>>,
    /// The sender wants no Status for this message. Not used by DM; tolerated.
    pub no_resp: bool,
    /// Credentials of the sender.
    pub cred: Option<Cred<'a>>,
    /// `MaxMsgSize` and `MaxObjSize` of the sender.
    pub meta: Option<Box<Meta<'a>>>,
}

/// The commands of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncBody<'a> {
    /// In the order of the message.
    pub commands: Vec<Command<'a>>,
    /// `<Final/>`: the sender's package ends with this message.
    pub is_final: bool,
}

/// `Target` or `Source`, in the header or in an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location<'a> {
    /// A tree address in an item; an address or an identity in the header. Trimmed of white space.
    pub loc_uri: Str<'a>,
    /// A display name; in the header, the user name that belongs to the credentials.
    pub loc_name: Option<Str<'a>>,
}

/// `Cred`: credentials (legal in SyncHdr only, although the DTD has them in commands).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cred<'a> {
    /// `Type` is the scheme (`syncml:auth-basic`, `syncml:auth-md5`), `Format` is `b64`.
    pub meta: Option<Box<Meta<'a>>>,
    /// The credential, in base64.
    pub data: Str<'a>,
}

/// Meta information (MetInf 1.2). The `MetInf` wrapper is read and never written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Not used by DM.
    pub field_level: Option<Str<'a>>,
    /// `b64 bin bool chr int node null xml date time float`, as it was written. Default `chr`.
    pub format: Option<Str<'a>>,
    /// A media type, a management object's id, an alert type, or an authentication scheme.
    pub type_: Option<Str<'a>>,
    /// Severity of a generic alert.
    pub mark: Option<Str<'a>>,
    /// Octets of the whole object as transported; in the first chunk of a large object.
    pub size: Option<u64>,
    /// Not used by DM.
    pub anchor: Option<Anchor<'a>>,
    /// Not used by DM.
    pub version: Option<Str<'a>>,
    /// The next nonce in base64, whichever way the peer sent it (WBXML may carry raw octets).
    pub next_nonce: Option<Str<'a>>,
    /// The largest message, in octets as encoded, that the sender can take.
    pub max_msg_size: Option<u64>,
    /// The largest object, in octets, that the sender can take.
    pub max_obj_size: Option<u64>,
    /// Experimental meta information. Not used by DM.
    pub emi: Vec<Str<'a>>,
    /// Not used by DM.
    pub mem: Option<Mem<'a>>,
}

/// Synchronisation anchors. Not used by DM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchor<'a> {
    /// The anchor of the last synchronisation.
    pub last: Option<Str<'a>>,
    /// The anchor of this one.
    pub next: Str<'a>,
}

/// Free memory of a data store. Not used by DM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mem<'a> {
    /// The memory is shared with other stores.
    pub shared_mem: bool,
    /// Free octets.
    pub free_mem: Str<'a>,
    /// Free item ids.
    pub free_id: Str<'a>,
}

/// The content of `Data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Characters, none of them NUL. Child elements of `Data` (a TNDS document written unescaped) are kept as
    /// the text of their markup.
    Text(Str<'a>),
    /// Octets that only WBXML can carry raw (OPAQUE). XML writes them in base64 and says so in `Format`.
    /// [`Data::from_octets`] says which octets are text.
    Bytes(Cow<'a, [u8]>),
}

/// One item of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item<'a> {
    /// The node a server's command is for.
    pub target: Option<Location<'a>>,
    /// The node a device's item comes from.
    pub source: Option<Location<'a>>,
    /// Not used by DM.
    pub source_parent: Option<Str<'a>>,
    /// Not used by DM.
    pub target_parent: Option<Str<'a>>,
    /// Wins over the command's own `Meta`.
    pub meta: Option<Box<Meta<'a>>>,
    /// The value. `None` and empty are different things.
    pub data: Option<Data<'a>>,
    /// More chunks of this object follow in the next message.
    pub more_data: bool,
}

/// A SyncML status code (RepPro 1.2, section 10). Devices send codes the specification never named, so it stays open.
///
/// The default, 0, stands for a Status that came without its `Data`.
#[derive(
    Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct StatusCode(pub u16);

/// A command of the body.
///
/// `cmd_id` is empty where the peer left `CmdID` out; such a command is answered 400 (or, for a Status, taken).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Creates nodes.
    Add(ItemCommand<'a>),
    /// Tells of an event, or talks to the user.
    Alert(Alert<'a>),
    /// All of its commands, or none.
    Atomic(Group<'a>),
    /// Copies a leaf's value.
    Copy(ItemCommand<'a>),
    /// Deletes subtrees.
    Delete(ItemCommand<'a>),
    /// Runs what a node stands for.
    Exec(ItemCommand<'a>),
    /// Asks for values, properties or lists.
    Get(ItemCommand<'a>),
    /// Not used by DM.
    Map(Map<'a>),
    /// Not used by DM.
    Move(ItemCommand<'a>),
    /// Not used by DM.
    Put(ItemCommand<'a>),
    /// Overwrites values or properties.
    Replace(ItemCommand<'a>),
    /// The answer to a Get.
    Results(Results<'a>),
    /// Not used by DM.
    Search(Search<'a>),
    /// Its commands in their order.
    Sequence(Group<'a>),
    /// The outcome of a command.
    Status(Status<'a>),
    /// Not used by DM.
    Sync(Sync<'a>),
}

/// Add, Copy, Delete, Exec, Get, Move, Put or Replace: a list of items with common options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemCommand<'a> {
    /// Unique within the message; never `0`.
    pub cmd_id: Str<'a>,
    /// No Status is wanted.
    pub no_resp: bool,
    /// Delete only. Not used by DM.
    pub archive: bool,
    /// Delete only. Not used by DM.
    pub sft_del: bool,
    /// Get and Put only. Not used by DM.
    pub lang: Option<Str<'a>>,
    /// Not legal in DM; read and ignored.
    pub cred: Option<Cred<'a>>,
    /// Holds for all items that have none of their own.
    pub meta: Option<Box<Meta<'a>>>,
    /// Exec only: echoed by the generic alert that reports its end.
    pub correlator: Option<Str<'a>>,
    /// One or more.
    pub items: Vec<Item<'a>>,
}

/// Alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alert<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// No Status is wanted.
    pub no_resp: bool,
    /// Not legal in DM; read and ignored.
    pub cred: Option<Cred<'a>>,
    /// The alert code; `None` where `Data` is missing.
    pub code: Option<u16>,
    /// Of the Exec this generic alert reports on.
    pub correlator: Option<Str<'a>>,
    /// What the code says they are.
    pub items: Vec<Item<'a>>,
}

/// Atomic or Sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// No Status is wanted.
    pub no_resp: bool,
    /// Holds for all commands inside that have none of their own.
    pub meta: Option<Box<Meta<'a>>>,
    /// In their order.
    pub commands: Vec<Command<'a>>,
}

/// Results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// The message answered; absent means 1.
    pub msg_ref: Option<u32>,
    /// The Get answered; absent means 1.
    pub cmd_ref: Option<Str<'a>>,
    /// Holds for all items that have none of their own.
    pub meta: Option<Box<Meta<'a>>>,
    /// Repeats the Get's target.
    pub target_ref: Option<Str<'a>>,
    /// Repeats the Get's source.
    pub source_ref: Option<Str<'a>>,
    /// One a value.
    pub items: Vec<Item<'a>>,
}

/// Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// Unique within the message; some peers leave it out.
    pub cmd_id: Str<'a>,
    /// The message answered; some peers leave it out.
    pub msg_ref: Option<u32>,
    /// The command answered; `0` is the SyncHdr.
    pub cmd_ref: Str<'a>,
    /// The name of the command answered, such as `SyncHdr` or `Get`.
    pub cmd: Str<'a>,
    /// Which of the command's targets this is for; empty means all.
    pub target_refs: Vec<Str<'a>>,
    /// Which of the command's sources this is for; empty means all.
    pub source_refs: Vec<Str<'a>>,
    /// Not used by DM.
    pub cred: Option<Cred<'a>>,
    /// A challenge, or the nonce for next time. The `Meta` inside `Chal`.
    pub chal: Option<Box<Meta<'a>>>,
    /// The outcome.
    pub data: StatusCode,
    /// Answers to user interaction, or the node that was at fault.
    pub items: Vec<Item<'a>>,
}

/// Map. Not used by DM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// The recipient's data store.
    pub target: Location<'a>,
    /// The sender's data store.
    pub source: Location<'a>,
    /// Not used by DM.
    pub cred: Option<Cred<'a>>,
    /// Not used by DM.
    pub meta: Option<Box<Meta<'a>>>,
    /// Pairs of ids: target, source.
    pub items: Vec<(Location<'a>, Location<'a>)>,
}

/// Search. Not used by DM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// No Status is wanted.
    pub no_resp: bool,
    /// No Results are wanted.
    pub no_results: bool,
    /// Not used by DM.
    pub cred: Option<Cred<'a>>,
    /// Where the results go.
    pub target: Option<Location<'a>>,
    /// Where to search.
    pub sources: Vec<Location<'a>>,
    /// The language of the results.
    pub lang: Option<Str<'a>>,
    /// The query grammar.
    pub meta: Option<Box<Meta<'a>>>,
    /// The query.
    pub data: Option<Data<'a>>,
}

/// Sync. Not used by DM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync<'a> {
    /// Unique within the message.
    pub cmd_id: Str<'a>,
    /// No Status is wanted.
    pub no_resp: bool,
    /// Not used by DM.
    pub cred: Option<Cred<'a>>,
    /// The recipient's data store.
    pub target: Option<Location<'a>>,
    /// The sender's data store.
    pub source: Option<Location<'a>>,
    /// Not used by DM.
    pub meta: Option<Box<Meta<'a>>>,
    /// How many changes follow.
    pub number_of_changes: Option<u32>,
    /// In their order.
    pub commands: Vec<Command<'a>>,
}
